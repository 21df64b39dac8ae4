//! Clients without end, each of whose conversations is counted.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use lab::Namespace;
use tokio::task::{JoinSet, LocalSet};

use super::clients::{Client, Kind};

/// Clients of every kind.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<Report>>,
    thread: Option<JoinHandle<()>>,
}

/// What became of all conversations.
#[derive(Clone, Debug, Default)]
pub struct Report(pub BTreeMap<Kind, Tally>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub done: usize,
    /// What went wrong, and how often.
    pub failed: BTreeMap<String, usize>,
}

impl Load {
    /// So many clients of each kind for each target.
    pub fn start(client: &Namespace, targets: &[SocketAddr], each: usize) -> Self {
        let (stop, report) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Report>>::default());
        let thread = client.thread({
            let (stop, report, targets) = (Arc::clone(&stop), Arc::clone(&report), targets.to_vec());
            move || run(&stop, &report, &targets, each)
        });
        Self { stop, report, thread: Some(thread) }
    }

    /// So far.
    pub fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets every conversation come to its end.
    pub fn finish(mut self) -> Report {
        self.stop();
        self.report()
    }

    fn stop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a panic in there is a bug of the load");
        }
    }
}

fn run(stop: &Arc<AtomicBool>, report: &Arc<Mutex<Report>>, targets: &[SocketAddr], each: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs nothing but memory");
    LocalSet::new().block_on(&runtime, async {
        let mut clients = JoinSet::new();
        for kind in Kind::ALL {
            for target in targets.iter().cycle().take(each * targets.len()) {
                clients.spawn_local(client(kind, *target, Arc::clone(stop), Arc::clone(report)));
            }
        }
        clients.join_all().await;
    });
}

async fn client(kind: Kind, target: SocketAddr, stop: Arc<AtomicBool>, report: Arc<Mutex<Report>>) {
    let mut client = Client::default();
    while !stop.load(Relaxed) {
        let result = client.converse(kind, target).await;
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = report.0.entry(kind).or_default();
        match result {
            Ok(()) => tally.done += 1,
            Err(error) => *tally.failed.entry(format!("{error:#}")).or_default() += 1,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Unless it was finished, whoever drops it has failed already and won't wait.
        self.stop.store(true, Relaxed);
    }
}

impl Report {
    pub fn done(&self) -> usize {
        self.0.values().map(|tally| tally.done).sum()
    }

    pub fn failed(&self) -> usize {
        self.0.values().map(Tally::failed).sum()
    }
}

impl Tally {
    pub fn failed(&self) -> usize {
        self.failed.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, tally) in &self.0 {
            writeln!(f, "{kind:<15} {:>8} done, {:>3} failed", tally.done, tally.failed())?;
            for (cause, times) in &tally.failed {
                writeln!(f, "  {times} times: {cause}")?;
            }
        }
        Ok(())
    }
}
