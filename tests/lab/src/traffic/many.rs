//! Many short exchanges, counted by who answered.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{Answer, Connection, PATIENCE, get, parse_answer};
use crate::Namespace;

/// How many exchanges, and how many at a time.
#[derive(Clone, Copy, Debug)]
pub struct Volley {
    pub count: usize,
    pub parallel: usize,
    /// For each exchange.
    pub patience: Duration,
}

impl Volley {
    /// `count` exchanges, eight at a time.
    pub fn of(count: usize) -> Self {
        Self { count, parallel: 8, patience: PATIENCE }
    }
}

/// What came of a volley.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by server.
    pub answers: BTreeMap<String, usize>,
    /// Client addresses that each server saw.
    pub clients: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Exchanges without an answer, by error.
    pub failures: BTreeMap<String, usize>,
}

impl Tally {
    pub fn answered(&self) -> usize {
        self.answers.values().sum()
    }

    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// Answers of one server; zero if it gave none.
    pub fn of(&self, server: &str) -> usize {
        self.answers.get(server).copied().unwrap_or_default()
    }

    fn count(&mut self, result: io::Result<Answer>) {
        match result {
            Ok(Answer { server, client }) => {
                *self.answers.entry(server.clone()).or_default() += 1;
                self.clients.entry(server).or_default().insert(client.ip());
            }
            Err(error) => *self.failures.entry(error.to_string()).or_default() += 1,
        }
    }

    pub fn add(&mut self, other: Self) {
        for (server, count) in other.answers {
            *self.answers.entry(server).or_default() += count;
        }
        for (server, clients) in other.clients {
            self.clients.entry(server).or_default().extend(clients);
        }
        for (error, count) in other.failures {
            *self.failures.entry(error).or_default() += count;
        }
    }
}

/// A new connection per exchange.
pub fn tcp(client: &Namespace, target: SocketAddr, volley: Volley) -> Tally {
    fire(client, volley, || Connection::open(target, volley.patience)?.who())
}

/// A new socket, so a new source port, per exchange; nothing is sent twice.
pub fn udp(client: &Namespace, target: SocketAddr, volley: Volley) -> Tally {
    fire(client, volley, || ask(target, volley.patience))
}

/// A request on a connection of its own per exchange; the server's client may be a proxy.
pub fn http(client: &Namespace, target: SocketAddr, volley: Volley) -> Tally {
    fire(client, volley, || get(target, volley.patience))
}

fn fire(client: &Namespace, volley: Volley, exchange: impl Fn() -> io::Result<Answer> + Sync) -> Tally {
    let begun = AtomicUsize::new(0);
    let worker = || {
        let mut tally = Tally::default();
        while begun.fetch_add(1, Ordering::Relaxed) < volley.count {
            tally.count(exchange());
        }
        tally
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..volley.parallel).map(|_| scope.spawn(|| client.run(worker))).collect();
        workers.into_iter().fold(Tally::default(), |mut sum, worker| {
            sum.add(worker.join().expect("a panic in a client is a bug of the lab"));
            sum
        })
    })
}

fn ask(target: SocketAddr, patience: Duration) -> io::Result<Answer> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // Connected, so that a port unreachable arrives as an error.
    socket.connect(target)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(b"hello")?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer)?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("not an answer to hello: {text:?}"));
    parse_answer(text.strip_suffix(" hello").ok_or_else(invalid)?)
}
