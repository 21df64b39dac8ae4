//! Connections that stay open and never stop asking: what breaks, breaks on the record.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Answer, Connection, PATIENCE};
use crate::{LabError, Namespace, wait_until};

/// Between two round trips of one connection: hundreds per second over all, and little load.
const PAUSE: Duration = Duration::from_millis(5);

/// Running connections.
#[derive(Debug)]
pub struct Steady {
    stop: Arc<AtomicBool>,
    connections: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    first: Answer,
    round_trips: Arc<AtomicUsize>,
    thread: JoinHandle<ConnectionReport>,
}

/// The life of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionReport {
    pub server: String,
    /// Whether the server saw the client's own address and port.
    pub sees_client: bool,
    pub round_trips: usize,
    pub slowest: Duration,
    /// What ended it before its time.
    pub broken: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SteadyReport {
    pub connections: Vec<ConnectionReport>,
}

impl Steady {
    /// Opens `count` connections and keeps each asking; fails if one can't be opened.
    pub fn start(client: &Namespace, target: SocketAddr, count: usize) -> Result<Self, LabError> {
        Self::start_paced(client, target, count, PAUSE)
    }

    /// With a pause of one's own between two round trips of a connection: many connections shouldn't be much load.
    pub fn start_paced(
        client: &Namespace,
        target: SocketAddr,
        count: usize,
        pause: Duration,
    ) -> Result<Self, LabError> {
        let stop = Arc::new(AtomicBool::new(false));
        let opened = client.run(|| -> io::Result<Vec<_>> {
            (0..count)
                .map(|_| {
                    let mut connection = Connection::open(target, PATIENCE)?;
                    let first = connection.who()?;
                    Ok((connection, first))
                })
                .collect()
        });
        let opened = opened.map_err(LabError::system(format!("open {count} connections to {target}")))?;
        let connections =
            opened.into_iter().map(|(connection, first)| run(connection, first, pause, &stop)).collect();
        Ok(Self { stop, connections })
    }

    /// The servers at the other ends, one per connection.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.connections.iter().map(|c| c.first.server.as_str())
    }

    /// Connections whose server this is.
    pub fn to(&self, server: &str) -> usize {
        self.servers().filter(|s| *s == server).count()
    }

    /// Waits until every unbroken connection has made `more` round trips from now on.
    pub fn wait_round_trips(&self, more: usize) -> Result<(), LabError> {
        let count = |c: &Running| c.round_trips.load(Ordering::Relaxed);
        let goals: Vec<usize> = self.connections.iter().map(|c| count(c) + more).collect();
        wait_until(&format!("{more} more round trips"), PATIENCE + PAUSE * 10 * 100, || {
            self.connections.iter().zip(&goals).all(|(c, goal)| c.thread.is_finished() || count(c) >= *goal)
        })
    }

    /// Connections that broke already.
    pub fn ended(&self) -> usize {
        self.connections.iter().filter(|c| c.thread.is_finished()).count()
    }

    /// Ends all and tells how each fared.
    pub fn finish(mut self) -> SteadyReport {
        self.stop.store(true, Ordering::Relaxed);
        let connections =
            self.connections.drain(..).map(|c| c.thread.join().expect("a bug of the lab")).collect();
        SteadyReport { connections }
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl SteadyReport {
    pub fn broken(&self) -> impl Iterator<Item = &ConnectionReport> {
        self.connections.iter().filter(|c| c.broken.is_some())
    }

    pub fn round_trips(&self) -> usize {
        self.connections.iter().map(|c| c.round_trips).sum()
    }

    pub fn slowest(&self) -> Duration {
        self.connections.iter().map(|c| c.slowest).max().unwrap_or_default()
    }
}

fn run(mut connection: Connection, first: Answer, pause: Duration, stop: &Arc<AtomicBool>) -> Running {
    let round_trips = Arc::new(AtomicUsize::new(0));
    let mut report = ConnectionReport {
        server: first.server.clone(),
        sees_client: connection.local().is_ok_and(|local| local == first.client),
        round_trips: 0,
        slowest: Duration::ZERO,
        broken: None,
    };
    let thread = thread::spawn({
        let (stop, round_trips, first) = (Arc::clone(stop), Arc::clone(&round_trips), first.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                if let Err(error) = once_more(&mut connection, &first) {
                    report.broken = Some(error.to_string());
                    break;
                }
                report.slowest = report.slowest.max(begun.elapsed());
                report.round_trips = round_trips.fetch_add(1, Ordering::Relaxed) + 1;
                thread::sleep(pause);
            }
            report
        }
    });
    Running { first, round_trips, thread }
}

fn once_more(connection: &mut Connection, first: &Answer) -> io::Result<()> {
    let answer = connection.who()?;
    if answer == *first {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("{answer:?} instead of {first:?}")))
}
