//! What the tasks of one thread share.

use std::cell::{Cell, RefCell, RefMut};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::time::MissedTickBehavior;

use crate::connection;
use crate::deadline::{Deadlines, TICK, ticks};
use crate::h2;
use crate::held::{LARGE, Ledger, SMALL};
use crate::plan::{Peers, Planner};
use crate::server::Server;
use crate::socket::{Connect, Socket};
use crate::stream::Stream;
use crate::telemetry::Meter;
use crate::upstream::{Pool, Wire};

/// One thread's part of the proxy. Its tasks run on a runtime of that thread alone.
#[derive(Debug)]
pub struct Worker<C: Connect> {
    pub(crate) server: Arc<Server>,
    pub(crate) connector: C,
    pub(crate) buffers: Buffers,
    pub(crate) pool: RefCell<Pool<Wire<C::Socket>>>,
    pub(crate) http2: h2::Connections,
    pub(crate) deadlines: Deadlines,
    /// Copies of requests that are under way.
    pub(crate) mirrors: Rc<Cell<usize>>,
    pub(crate) meter: Meter,
    random: RefCell<fastrand::Rng>,
    /// The tick from which on clients that ask nothing are left, since the proxy drains.
    leaves: Cell<u32>,
}

/// Memory that tasks borrow.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// Where sockets are read to. Nobody keeps it while waiting.
    scratch: RefCell<Box<[u8]>>,
    /// For what must be kept.
    spare: RefCell<Vec<Vec<u8>>>,
    /// What tasks have of large ones.
    ledger: Ledger,
}

/// Bytes of one read: with 16 kB, large bodies cost 1.75 times the CPU; 256 kB gain nothing.
pub(crate) const SCRATCH: usize = 64 << 10;

/// Bytes of a buffer that keeps a head and a small body.
const BUFFER: usize = 4 << 10;

/// Larger buffers, which held a body's piece for a slow peer, are not kept.
const MAX_SPARE_BUFFER: usize = LARGE;

/// Buffers kept: 1 MB.
const MAX_SPARE: usize = 256;

impl<C: Connect> Worker<C> {
    /// A worker for the current thread, whose runtime must be a local one. Its housekeeping ends when it is dropped.
    pub fn start(server: Arc<Server>, connector: C) -> Rc<Self> {
        let worker = Rc::new(Self {
            meter: Meter::new(Arc::clone(&server.registry)),
            server,
            connector,
            buffers: Buffers::default(),
            pool: RefCell::default(),
            http2: h2::Connections::default(),
            deadlines: Deadlines::default(),
            mirrors: Rc::default(),
            random: RefCell::new(fastrand::Rng::new()),
            leaves: Cell::new(u32::MAX),
        });
        tokio::task::spawn_local(keep_house(Rc::downgrade(&worker)));
        worker
    }

    /// Serves one client until the connection ends. `local` is the address that it connected to, which tells the
    /// listener.
    pub fn connection<S: Socket>(
        self: &Rc<Self>,
        socket: S,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> impl Future<Output = ()> + use<S, C> {
        let peers = Peers::new(local, peer, &self.server.routing.load());
        connection::serve(Rc::clone(self), socket, peers.map(Rc::new))
    }

    /// Decides about a request by the tables of now.
    pub(crate) fn with_planner<T>(&self, peers: &Peers, decide: impl FnOnce(Planner<'_>) -> T) -> T {
        let routing = self.server.routing.load();
        let (settings, buffers, meter) = (&self.server.settings, &self.buffers, &self.meter);
        decide(Planner { peers, routing: &routing, settings, buffers, meter, random: &|| self.random() })
    }

    /// Even over all of u32.
    pub(crate) fn random(&self) -> u32 {
        self.random.borrow_mut().u32(..)
    }

    /// Keeps an endpoint's connection for another exchange.
    pub(crate) fn keep(&self, endpoint: SocketAddr, mut stream: Stream<Wire<C::Socket>>) {
        stream.rest(&self.buffers);
        let limit = self.server.settings.idle_per_endpoint;
        self.pool.borrow_mut().put(endpoint, stream, self.deadlines.now(), limit);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.server.draining.load(Relaxed)
    }

    /// Whether clients that ask nothing are left: the proxy drains, and they had time to ask.
    pub(crate) fn leaves_idle(&self) -> bool {
        self.leaves.get() <= self.deadlines.now()
    }

    fn tick(&self) {
        self.deadlines.tick();
        self.tick_draining();
        if self.buffers.ledger().wakes() {
            self.deadlines.wake_all();
        }
        let idle = ticks(self.server.settings.upstream_idle_timeout);
        let routing = self.server.routing.load();
        let before = self.deadlines.now().saturating_sub(idle);
        self.pool.borrow_mut().sweep(before, |endpoint| routing.is_ready(endpoint));
        self.http2.sweep(self.deadlines.now(), before, |endpoint| routing.is_ready(endpoint));
    }

    /// Wakes clients when draining begins, since those of HTTP/2 can be told, and when idle ones are left.
    fn tick_draining(&self) {
        let now = self.deadlines.now();
        let begins = self.is_draining() && self.leaves.get() == u32::MAX;
        if begins {
            self.leaves.set(now.saturating_add(ticks(self.server.settings.idle_grace)));
        }
        if begins || self.leaves.get() == now {
            self.deadlines.wake_all();
        }
    }
}

async fn keep_house<C: Connect>(worker: Weak<Worker<C>>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match worker.upgrade() {
            Some(worker) => worker.tick(),
            None => return,
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            scratch: RefCell::new(vec![0; SCRATCH].into()),
            spare: RefCell::default(),
            ledger: Ledger::default(),
        }
    }
}

impl Buffers {
    pub(crate) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How much to read at once.
    pub(crate) fn read_size(&self) -> usize {
        if self.ledger.is_tight() { SMALL } else { SCRATCH }
    }

    /// An empty buffer.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER))
    }

    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        if !(BUFFER..=MAX_SPARE_BUFFER).contains(&buffer.capacity()) {
            return;
        }
        let mut spare = self.spare.borrow_mut();
        if spare.len() < MAX_SPARE {
            buffer.clear();
            spare.push(buffer);
        }
    }
}
