//! Between the agent and the thread that announces pool addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use gateway_agent_api::own::gateway_node::RemoteDelivery;
use gateway_agent_api::{GatewayNode, Kind, ObjectRef, Secret};
use gateway_agent_kernel::{Kernel, OBJECT, one_line};
use gateway_agent_routing::Snapshot;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use crate::announce::{Announcer, Key, News, Settings, Task};
use crate::copies;

/// Who the other agents are, and how they are known.
#[derive(Debug)]
pub struct Peers {
    /// By the names of their nodes.
    pub addresses: BTreeMap<String, IpAddr>,
    /// None: not known yet.
    pub key: Option<Key>,
}

/// The pool addresses that Gateways hold, as far as this node has to do with them.
#[derive(Debug)]
pub struct Pool {
    settings: Settings,
    peers: Peers,
    /// None: no Gateway has held a pool address so far.
    announcer: Option<Announcer>,
    news: News,
    /// Why other nodes' links, or the thread itself, are not as they should be.
    problem: Option<String>,
}

/// What tables hold for it.
#[derive(Debug)]
pub struct Wanted<'a> {
    pub pool: &'a BTreeSet<IpAddr>,
    /// Addresses whose connections end in sockets of this node.
    pub sockets: BTreeSet<IpAddr>,
    /// Programs see the packets of a device, and tables are applied.
    pub ready: bool,
}

impl Pool {
    pub fn new(settings: Settings, peers: Peers) -> Self {
        Self { settings, peers, announcer: None, news: News::default(), problem: None }
    }

    /// Replaces what is known of the other agents.
    pub fn acquaint(&mut self, peers: Peers) {
        self.peers = peers;
    }

    /// Tells the thread what there is to announce, and that the agent is at work; starts it when it is first needed.
    pub fn attend(&mut self, kernel: &Kernel, wanted: Wanted<'_>) {
        let Wanted { pool, sockets, ready } = wanted;
        let task = Task {
            pool: pool.clone(),
            sockets: sockets.intersection(pool).copied().collect(),
            peers: self.peers.addresses.clone(),
            key: self.peers.key.clone(),
            seen: Instant::now(),
            ready,
        };
        if let Some(announcer) = &self.announcer {
            return announcer.tell(task);
        }
        if pool.is_empty() {
            return;
        }
        let started =
            kernel.announcements(OBJECT).map_err(|error| one_line(&error)).and_then(|announcements| {
                Announcer::start(self.settings.clone(), announcements, task)
                    .map_err(|error| error.to_string())
            });
        self.problem =
            started.as_ref().err().map(|error| format!("pool addresses are not announced: {error}"));
        self.announcer = started.ok();
    }

    /// Waits for news of the thread. Can be cancelled.
    pub async fn changed(&mut self) {
        match &mut self.announcer {
            Some(announcer) => announcer.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Takes the news over.
    pub fn look(&mut self, kernel: &mut Kernel) {
        let Some(announcer) = &mut self.announcer else { return };
        let news = announcer.news();
        if news.links != self.news.links {
            self.problem = kernel.set_peers(&news.links).err().map(|error| one_line(&error));
        }
        self.news = news;
    }

    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.news.problems.iter().cloned().chain(self.problem.clone())
    }

    /// How other nodes get packets for their endpoints; none: there are none.
    pub fn delivery(&self) -> Option<RemoteDelivery> {
        self.announcer.as_ref()?;
        let shares_link = |node: &String| self.news.links.contains_key(node);
        let way = |node| if shares_link(node) { RemoteDelivery::HandOn } else { RemoteDelivery::Snat };
        let ways = self.peers.addresses.keys().map(way);
        ways.reduce(|one, other| if one == other { one } else { RemoteDelivery::Mixed })
    }

    pub fn as_report(&self) -> Value {
        json!({
            "announced": self.news.announced,
            "peers": self.peers.addresses.iter().map(|(name, address)| json!({
                "node": name,
                "address": address,
                "live": self.news.live.contains(name),
                "mac": self.news.links.get(name).map(|link| link.mac.map(|byte| format!("{byte:02x}")).join(":")),
            })).collect::<Vec<_>>(),
        })
    }

    /// Another agent of this node announces from now on.
    pub fn make_way(&mut self) {
        self.announcer = None;
        self.news = News::default();
    }

    /// Other nodes announce from now on.
    pub fn stop(&mut self) {
        if let Some(announcer) = self.announcer.take() {
            announcer.stop();
        }
    }
}

/// Whether [`of_cluster`] looks at an object.
pub fn concerns(object: &ObjectRef) -> bool {
    object.kind == Kind::GatewayNode || object.kind == Kind::Secret && object.name == copies::PEERS
}

/// The agents that report for other nodes, at the first address that each reports, and the key that the controller
/// has made for all of them.
pub fn of_cluster(snapshot: &Snapshot) -> Peers {
    let others = snapshot.all::<GatewayNode>().filter_map(|node| {
        let name = node.metadata.name.clone().filter(|name| *name != snapshot.node.name)?;
        let addresses = &node.status.as_ref()?.addresses;
        Some((name, addresses.iter().find_map(|address| address.parse().ok())?))
    });
    let mut secrets =
        snapshot.all::<Secret>().filter(|secret| secret.metadata.name.as_deref() == Some(copies::PEERS));
    let key = secrets.find_map(copies::peers_key);
    Peers { addresses: others.collect(), key: key.and_then(|key| Key::new(&key).ok()) }
}

/// Local routes of a node without programs would answer for addresses that it doesn't have.
pub async fn leave_no_routes() {
    if let Err(error) = crate::announce::remove_local_routes().await {
        warn!("local routes of pool addresses may have stayed: {error}; see `ip route show table local`");
    }
}
