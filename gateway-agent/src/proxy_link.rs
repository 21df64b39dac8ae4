//! The agent's side of the proxy: the process or whoever connects, the sockets that it accepts at, and what it is told.
//!
//! The agent keeps its copies of the sockets. A proxy that died is followed by one that accepts at the same ones, so that
//! clients who came meanwhile only waited. One that takes over from a living proxy gets sockets of its own.

mod child;
mod figures;
mod session;
mod sockets;
mod updates;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gateway_agent_kernel::Process;
use gateway_agent_proxy::link::Listener;
use gateway_agent_tables::HttpDelta;
use gateway_agent_tables::http::HttpTables;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::cli::Log;

pub use figures::ProxyFigures;
pub use sockets::Sockets;
use updates::{Readers, Untold};

/// Where proxies come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The agent starts one as soon as there is anything to accept, and it logs like this.
    Child(Log),
    /// They connect to a Unix socket that the agent makes there; the last one counts.
    Socket(PathBuf),
}

/// What the agent has to know.
#[derive(Debug)]
pub enum Event {
    /// A proxy has come, and wants to know the HTTP tables: [`ProxyLink::welcome`].
    Joined(oneshot::Sender<Arc<Untold>>),
    /// A proxy accepts at these sockets; it is told when the kernel gives it connections.
    Accepting { sockets: Arc<Sockets>, process: Option<Process>, steered: oneshot::Sender<()> },
    /// There is none, and here is why.
    Down(String),
}

#[derive(Debug, thiserror::Error)]
#[error("can't listen for the proxy on {}: {cause}; give a --proxy-socket in a directory that the agent may write to", path.display())]
pub struct ListenError {
    path: PathBuf,
    cause: io::Error,
}

/// Keeps a proxy as long as it lives. Processes that it started go on without it.
#[derive(Debug)]
pub struct ProxyLink {
    readers: Readers,
    /// None: nothing is known yet. A proxy that was told before goes on as it was.
    listeners: watch::Sender<Option<Vec<Listener>>>,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

/// What sessions with proxies share.
#[derive(Debug)]
struct Offer {
    listeners: watch::Receiver<Option<Vec<Listener>>>,
    events: mpsc::Sender<Event>,
    /// Where the proxy's are asked for.
    figures: ProxyFigures,
    /// Those that the last proxy accepts at, or did.
    sockets: Mutex<Option<Arc<Sockets>>>,
}

/// After a failure to accept a connection, such as for want of descriptors.
const PAUSE: Duration = Duration::from_secs(1);

impl ProxyLink {
    pub fn start(source: &Source, figures: &ProxyFigures) -> Result<Self, ListenError> {
        let (sender, listeners) = watch::channel(None);
        let (told, events) = mpsc::channel(1);
        let offer =
            Arc::new(Offer { listeners, events: told, figures: figures.clone(), sockets: Mutex::default() });
        let task = match source {
            Source::Child(log) => tokio::spawn(child::keep(offer, log.clone())),
            Source::Socket(path) => {
                let listener = listen(path).map_err(|cause| ListenError { path: path.clone(), cause })?;
                tokio::spawn(welcome(listener, offer))
            }
        };
        Ok(Self { readers: Readers::default(), listeners: sender, events, task })
    }

    /// Tells a proxy that has come how to serve listeners, and from now on what changes.
    pub fn welcome(&mut self, proxy: oneshot::Sender<Arc<Untold>>, tables: &HttpTables) {
        // Fails if it has gone.
        let _ = proxy.send(self.readers.add(tables));
    }

    /// Tells proxies that the tables are others than before by `delta`.
    pub fn tell_http(&mut self, tables: &HttpTables, delta: &HttpDelta) {
        self.readers.tell(tables, delta);
    }

    /// Tells proxies, present and coming, which listeners there are. How to serve them has to be told before.
    pub fn tell_listeners(&self, listeners: Vec<Listener>) {
        self.listeners.send_if_modified(|known| {
            let listeners = Some(listeners);
            let differs = *known != listeners;
            *known = listeners;
            differs
        });
    }

    pub async fn changed(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            // The task has panicked, and said so.
            None => std::future::pending().await,
        }
    }
}

impl Drop for ProxyLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Offer {
    /// As many as there are workers: those of the last proxy, unless it still has them.
    fn sockets(&self, workers: usize, is_last_alive: bool) -> io::Result<Arc<Sockets>> {
        let last = self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match last.filter(|last| !is_last_alive && last.len() == workers) {
            Some(last) => Ok(last),
            None => Sockets::open(workers).map(Arc::new),
        }
    }

    fn keep(&self, sockets: Arc<Sockets>) {
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = Some(sockets);
    }
}

/// Whoever may open the socket's folder may connect: in a pod, its containers.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// The last proxy that connects gets the connections; the one before is told to end.
async fn welcome(listener: UnixListener, offer: Arc<Offer>) {
    let mut former: Option<(JoinHandle<()>, oneshot::Sender<()>)> = None;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("can't accept a proxy: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let replaces = former.take().filter(|(task, _)| !task.is_finished()).map(|(_, retire)| retire);
        let (retire, retired) = oneshot::channel();
        let session = session::Session { stream, process: None, replaces, retired };
        let offer = Arc::clone(&offer);
        let task = tokio::spawn(async move {
            let end = session.run(&offer).await;
            if let Err(error) = &end {
                warn!("a proxy was connected: {error}");
            }
            if !matches!(end, Ok(session::End::Retired)) {
                let cause = "no proxy is connected to --proxy-socket".to_owned();
                // Fails only when the agent ends.
                let _ = offer.events.send(Event::Down(cause)).await;
            }
        });
        former = Some((task, retire));
    }
}
