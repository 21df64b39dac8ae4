//! New connections without end, each counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lab::traffic::{Tally, Volley, tcp};
use lab::{LabError, Namespace, wait_until};

/// Longer than an exchange is given, so that its own failure is told first.
const TURNOVER: Duration = Duration::from_mins(2);

/// Clients that connect, ask, close, and begin again.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    done: Arc<AtomicUsize>,
    thread: JoinHandle<Tally>,
}

impl Load {
    /// `each` clients for each target.
    pub fn start(client: &Namespace, targets: &[SocketAddr], each: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let targets = targets.iter().flat_map(|target| std::iter::repeat_n(*target, each));
        let workers = targets.map(|target| worker(client, target, &stop)).collect();
        Self { stop, workers }
    }

    /// Waits until every exchange that is under way now has ended, and another one after it.
    pub fn wait_turnover(&self) -> Result<(), LabError> {
        let done = |worker: &Worker| worker.done.load(Ordering::Relaxed);
        let goals: Vec<usize> = self.workers.iter().map(|worker| done(worker) + 2).collect();
        wait_until("every client's next connection", TURNOVER, || {
            self.workers.iter().zip(&goals).all(|(worker, goal)| done(worker) >= *goal)
        })
    }

    /// Ends all clients and sums up.
    pub fn finish(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let tallies = self.workers.drain(..).map(|worker| worker.thread.join().expect("a bug of the lab"));
        tallies.fold(Tally::default(), |mut sum, tally| {
            sum.add(tally);
            sum
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn worker(client: &Namespace, target: SocketAddr, stop: &Arc<AtomicBool>) -> Worker {
    let done = Arc::new(AtomicUsize::new(0));
    let thread = std::thread::spawn({
        let (client, stop, done) = (client.clone(), Arc::clone(stop), Arc::clone(&done));
        move || {
            let mut sum = Tally::default();
            while !stop.load(Ordering::Relaxed) {
                sum.add(tcp(&client, target, Volley { parallel: 1, ..Volley::of(1) }));
                done.fetch_add(1, Ordering::Relaxed);
            }
            sum
        }
    });
    Worker { done, thread }
}
