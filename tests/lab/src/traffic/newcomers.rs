//! Newcomers at a steady rate, whatever becomes of those before them: who fails, fails on the record.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Connection, PATIENCE};
use crate::{LabError, Namespace, wait_until};

/// Newcomers that may be waiting at once without holding up the next ones.
const PLACES: u32 = 64;

/// Newcomers that keep coming.
#[derive(Debug)]
pub struct Newcomers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    places: Vec<JoinHandle<Arrivals>>,
    begun: Instant,
}

/// What became of newcomers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    pub served: usize,
    /// Those who were not, by error.
    pub failures: BTreeMap<String, Failures>,
    /// From a newcomer's first packet to its answer.
    pub slowest: Duration,
    /// How long they came.
    pub took: Duration,
}

/// Newcomers who failed alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    pub count: usize,
    /// When the first and the last of them came, since newcomers came.
    pub first: Duration,
    pub last: Duration,
}

impl Newcomers {
    /// Opens `rate` connections to lab servers in a second, asks each once and closes it.
    pub fn start(client: &Namespace, target: SocketAddr, rate: u32) -> Self {
        Self::start_with(client, rate, move || {
            Connection::open(target, PATIENCE)?.who()?;
            Ok(())
        })
    }

    /// With an exchange of one's own.
    pub fn start_with(
        client: &Namespace,
        rate: u32,
        exchange: impl Fn() -> io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let begun = Instant::now();
        let places = 0..PLACES.min(rate);
        let interval = Duration::from_secs(1) * places.end / rate;
        let places = places.map(|place| {
            let (stop, done, exchange) = (Arc::clone(&stop), Arc::clone(&done), exchange.clone());
            let first = begun + Duration::from_secs(1) * place / rate;
            client.thread(move || come(begun, first, interval, &exchange, &stop, &done))
        });
        Self { places: places.collect(), stop, done, begun }
    }

    /// Waits until `more` have come from now on, served or not.
    pub fn wait(&self, more: usize) -> Result<(), LabError> {
        let goal = self.done.load(Ordering::Relaxed) + more;
        wait_until(&format!("{more} more newcomers"), PATIENCE * 12, || {
            self.done.load(Ordering::Relaxed) >= goal
        })
    }

    /// Lets no more come, and tells how all fared.
    pub fn finish(mut self) -> Arrivals {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Arrivals::default();
        for place in self.places.drain(..) {
            let Arrivals { served, failures, slowest, .. } = place.join().expect("a bug of the lab");
            sum.served += served;
            sum.slowest = sum.slowest.max(slowest);
            for (error, failed) in failures {
                sum.failures.entry(error).and_modify(|sum| *sum = sum.and(failed)).or_insert(failed);
            }
        }
        sum.took = self.begun.elapsed();
        sum
    }
}

impl Drop for Newcomers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Arrivals {
    pub fn failed(&self) -> usize {
        self.failures.values().map(|failed| failed.count).sum()
    }

    /// In a second, on the average.
    pub fn rate(&self) -> usize {
        let millis = usize::try_from(self.took.as_millis()).unwrap_or(usize::MAX).max(1);
        (self.served + self.failed()) * 1000 / millis
    }
}

impl Failures {
    fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

fn come(
    all_began: Instant,
    first: Instant,
    interval: Duration,
    exchange: &impl Fn() -> io::Result<()>,
    stop: &AtomicBool,
    done: &AtomicUsize,
) -> Arrivals {
    let mut arrivals = Arrivals::default();
    let mut next = first;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += interval;
        let begun = Instant::now();
        match exchange() {
            Ok(()) => arrivals.served += 1,
            Err(error) => {
                let at = begun - all_began;
                let failed = Failures { count: 1, first: at, last: at };
                let sum = arrivals.failures.entry(error.to_string());
                sum.and_modify(|sum| *sum = sum.and(failed)).or_insert(failed);
            }
        }
        arrivals.slowest = arrivals.slowest.max(begun.elapsed());
        done.fetch_add(1, Ordering::Relaxed);
    }
    arrivals
}
