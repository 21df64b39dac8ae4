//! Pool addresses: which of the agents that live announces each, and how other nodes are reached.
//!
//! Agents tell each other five times a second that they live (`probe`, `message`). Each computes by itself, from the same
//! names, who announces an address (`election`); no API server is asked. All of that runs on a thread of its own, which
//! no work of the agent delays, and writes to the kernel by itself. The agent only tells it what Gateways hold.

mod election;
mod entry;
mod inquiry;
mod liveness;
mod message;
mod neighbours;
mod probe;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::thread::JoinHandle;

use gateway_agent_kernel::{Announcements, PeerLink};
use tokio::sync::watch;
use tokio::time::Instant;

pub use message::Key;
pub use routes::remove_all as remove_local_routes;

/// What agents need to find each other.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node's name.
    pub node: String,
    /// Where probes are received, and the port that all agents have.
    pub listen: SocketAddr,
    /// Whether other nodes become known only as their agents report.
    pub others_appear: bool,
}

/// What the agent tells the thread.
#[derive(Clone, Debug)]
pub struct Task {
    /// Addresses of pools that Gateways hold.
    pub pool: BTreeSet<IpAddr>,
    /// Those of them that need a local route, since connections to them end in sockets of this node.
    pub sockets: BTreeSet<IpAddr>,
    /// The other nodes, with an address at which their agents hear probes.
    pub peers: BTreeMap<String, IpAddr>,
    /// None: none of them can be trusted, so that this node announces nothing unless it is alone.
    pub key: Option<Key>,
    /// When the agent last came around to its work.
    pub seen: Instant,
    /// Programs see the packets of an uplink, and tables are applied.
    pub ready: bool,
}

/// What the thread knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Pool addresses that this node announces.
    pub announced: BTreeSet<IpAddr>,
    /// Other nodes whose agents live.
    pub live: BTreeSet<String>,
    /// Other nodes of this node's links.
    pub links: BTreeMap<String, PeerLink>,
    /// What keeps it from its work.
    pub problems: BTreeSet<String>,
}

/// How the thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// Other nodes take over at once.
    HandOver,
    /// An agent of this node goes on: nobody else shall take over.
    Succeeded,
}

/// The thread. Dropped, it makes way for a successor on this node.
#[derive(Debug)]
pub struct Announcer {
    task: watch::Sender<(Task, Option<Farewell>)>,
    news: watch::Receiver<News>,
    thread: Option<JoinHandle<()>>,
}

impl Announcer {
    pub fn start(settings: Settings, announcements: Announcements, task: Task) -> std::io::Result<Self> {
        let (task, tasks) = watch::channel((task, None));
        let (tell, news) = watch::channel(News::default());
        let thread = std::thread::Builder::new()
            .name("announcer".to_owned())
            .spawn(move || probe::run(&settings, announcements, tasks, &tell))?;
        Ok(Self { task, news, thread: Some(thread) })
    }

    pub fn tell(&self, task: Task) {
        self.task.send_replace((task, None));
    }

    /// Waits for news. Can be cancelled.
    pub async fn changed(&mut self) {
        if self.news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub fn news(&mut self) -> News {
        self.news.borrow_and_update().clone()
    }

    /// Lets other nodes take over at once.
    pub fn stop(mut self) {
        self.end(Farewell::HandOver);
    }

    /// Waits for the thread's end: some milliseconds; a second if others take over who have much to learn.
    fn end(&mut self, farewell: Farewell) {
        if let Some(thread) = self.thread.take() {
            self.task.send_modify(|(_, end)| *end = Some(farewell));
            // A panic has been told by its hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.end(Farewell::Succeeded);
    }
}
