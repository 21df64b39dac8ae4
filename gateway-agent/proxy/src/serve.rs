//! The proxy's process: what the agent orders, done by its workers.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener as BlockingListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::accept::{Listeners, accept};
use crate::link::{self, LinkError, Listener, Order, Receiver, Report, Sender};
use crate::server::Server;
use crate::settings::Settings;
use crate::socket::Tcp;
use crate::told::Told;
use crate::worker as http;

/// Where the agent is.
#[derive(Debug)]
pub enum Agent {
    /// It has started this process and is at the other end. When it is gone, it doesn't come back.
    Parent(std::os::unix::net::UnixStream),
    /// It listens there, or will.
    At(PathBuf),
}

/// What workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) server: Arc<Server>,
    pub(crate) listeners: Listeners,
    /// Sets of sockets are numbered from 1; those up to this one get no more connections.
    pub(crate) retired: watch::Sender<u64>,
    /// One permit for each connection that may be open.
    pub(crate) connections: Arc<Semaphore>,
}

/// How long connections may take to end when the process is to.
const DRAIN: Duration = Duration::from_secs(30);

/// How long whoever reads the access log may take for the last of it.
const FLUSH: Duration = Duration::from_secs(1);

/// An agent that is being replaced is back in a second or two.
const RECONNECT: Duration = Duration::from_millis(200);

/// Accepts connections until SIGTERM or SIGINT, or until another proxy has taken over, and then until those that are
/// there have ended.
pub fn run(agent: Agent, workers: usize) -> io::Result<()> {
    let settings = Settings::default();
    let settings = Settings { connections: settings.connections.min(connections()), ..settings };
    let shared = Arc::new(Shared {
        server: Server::new(settings),
        listeners: watch::Sender::new(HashMap::new()),
        retired: watch::Sender::new(0),
        connections: Arc::new(Semaphore::new(settings.connections as usize)),
    });
    let (open, ended) = mpsc::channel(1);
    let workers =
        (0..workers).map(|index| Worker::start(index, &shared, &open)).collect::<io::Result<_>>()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        let proxy = Proxy { shared, workers, sets: 0, stop };
        // The workers have the others; when all are gone, nothing is accepted any more.
        drop(open);
        proxy.run(agent, ended).await
    })
}

/// Connections of clients that the process has descriptors for: each may need one to an endpoint, too.
fn connections() -> u32 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let descriptors = if raised.is_ok() { maximum } else { current };
    let for_connections = descriptors.unwrap_or(u64::MAX).saturating_sub(OTHER_DESCRIPTORS) / 2;
    u32::try_from(for_connections).unwrap_or(u32::MAX).max(1)
}

/// Listening sockets and those of the workers' runtimes, of two generations.
const OTHER_DESCRIPTORS: u64 = 256;

struct Proxy {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    /// How many sets of sockets the agent has passed.
    sets: u64,
    stop: [Signal; 2],
}

/// Why a link ended.
enum End {
    /// The agent has gone.
    Lost,
    /// The process is to end.
    Stop,
}

impl Proxy {
    async fn run(mut self, agent: Agent, mut ended: mpsc::Receiver<()>) -> io::Result<()> {
        match agent {
            Agent::Parent(stream) => {
                stream.set_nonblocking(true)?;
                if let End::Lost = self.follow(UnixStream::from_std(stream)?).await {
                    info!(event = "orphaned", "the agent has gone; connections are accepted as before");
                    self.stopped().await;
                }
            }
            Agent::At(path) => loop {
                if let Ok(stream) = UnixStream::connect(&path).await
                    && let End::Stop = self.follow(stream).await
                {
                    break;
                }
                tokio::select! {
                    () = sleep(RECONNECT) => {}
                    () = self.stopped() => break,
                }
            },
        }
        info!(event = "draining", "no longer accepting; connections that are open may end");
        self.shared.retired.send_replace(u64::MAX);
        self.shared.server.drain();
        drop(self.workers);
        // None: nothing holds the other end.
        let _ = ended.recv().await;
        let all = self.shared.server.settings.connections;
        if timeout(DRAIN, self.shared.connections.acquire_many(all)).await.is_err() {
            warn!(event = "cut", "connections that are still open are closed");
        }
        self.shared.server.flush(FLUSH);
        Ok(())
    }

    async fn stopped(&mut self) {
        let [terminate, interrupt] = &mut self.stop;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }

    /// Does what the agent orders as long as it is there.
    async fn follow(&mut self, stream: UnixStream) -> End {
        let (mut sender, mut receiver) = link::link(stream);
        match self.obey(&mut sender, &mut receiver).await {
            Ok(end) => end,
            Err(error) => {
                warn!("the agent can't be followed any more: {error}");
                End::Lost
            }
        }
    }

    async fn obey(&mut self, sender: &mut Sender, receiver: &mut Receiver) -> Result<End, LinkError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        sender.send(&Report::Hello { version, workers: self.workers.len() }, &[]).await?;
        let mut told = Told::default();
        loop {
            let order = tokio::select! {
                order = receiver.next() => order?,
                () = told.due() => {
                    told.compile(&self.shared.server);
                    continue;
                }
                () = self.stopped() => return Ok(End::Stop),
            };
            match order {
                None => return Ok(End::Lost),
                Some(Order::Http(update)) => told.hear(*update),
                Some(Order::Listeners(listeners)) => {
                    // Those that serve them come before them.
                    told.compile(&self.shared.server);
                    self.know(&listeners);
                }
                Some(Order::Accept { sockets }) => {
                    let sockets = receiver.take_descriptors(sockets)?;
                    self.accept(sockets.into_iter().map(BlockingListener::from).collect());
                    sender.send(&Report::Accepting, &[]).await?;
                }
                Some(Order::Steered) => {
                    self.shared.retired.send_replace(self.sets.saturating_sub(1));
                }
                Some(Order::Figures) => {
                    self.shared.server.compare(told.tables());
                    let figures = self.shared.server.figures();
                    sender.send(&Report::Figures(figures), &[]).await?;
                }
                Some(Order::Retire) => return Ok(End::Stop),
            }
        }
    }

    fn know(&self, listeners: &[Listener]) {
        let by_socket = listeners.iter().map(|it| ((it.address, it.port.get()), it.application));
        self.shared.listeners.send_replace(by_socket.collect());
    }

    fn accept(&mut self, sockets: Vec<BlockingListener>) {
        self.sets += 1;
        let workers = self.workers.iter().cycle();
        for (worker, socket) in workers.zip(sockets) {
            // Fails if the worker has panicked; the others go on.
            let _ = worker.sockets.send((self.sets, socket));
        }
    }
}

/// A thread with a runtime of its own, and the way to give it sockets.
struct Worker {
    sockets: mpsc::UnboundedSender<(u64, BlockingListener)>,
}

impl Worker {
    fn start(index: usize, shared: &Arc<Shared>, open: &mpsc::Sender<()>) -> io::Result<Self> {
        let (sockets, received) = mpsc::unbounded_channel();
        let (shared, open) = (Arc::clone(shared), open.clone());
        let (started, begun) = std::sync::mpsc::channel();
        let work = move || {
            // A local one stays on the thread that makes it.
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => {
                    let _ = started.send(Ok(()));
                    work(&runtime, &shared, received, open);
                }
                Err(error) => drop(started.send(Err(error))),
            }
        };
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(work)?;
        begun.recv().map_err(io::Error::other)??;
        Ok(Self { sockets })
    }
}

/// Accepts at the sockets that come, until the process ends.
fn work(
    runtime: &LocalRuntime,
    shared: &Arc<Shared>,
    mut sockets: mpsc::UnboundedReceiver<(u64, BlockingListener)>,
    open: mpsc::Sender<()>,
) {
    runtime.block_on(async {
        let http = http::Worker::start(Arc::clone(&shared.server), Tcp);
        while let Some((set, socket)) = sockets.recv().await {
            match listener(socket) {
                Ok(listener) => {
                    let (shared, http) = (Arc::clone(shared), Rc::clone(&http));
                    spawn_local(accept(listener, set, shared, http, open.clone()));
                }
                Err(error) => warn!("a socket of the agent can't be used: {error}"),
            }
        }
        // The process is to end: it does when the last connection has, and this thread with it.
        drop(open);
        std::future::pending::<()>().await;
    });
}

fn listener(socket: BlockingListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}
