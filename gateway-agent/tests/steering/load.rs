//! Clients without end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use lab::wait_until;

use crate::node::{ADDRESSES, Node, PATIENCE, request, target};

/// Requests, each on a connection of its own, until it is finished.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<io::Error>>>,
}

/// Clients at a time.
pub(crate) const CLIENTS: usize = 8;

impl Load {
    pub(crate) fn start(node: &Node) -> Self {
        let (stop, answered) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let client = |index: usize| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let to = target(ADDRESSES[index % 2], 80);
            node.client.thread(move || client(to, &stop, &answered))
        };
        let threads = (0..CLIENTS).map(client).collect();
        Self { stop, answered, threads }
    }

    /// Until as many more were answered that each client has begun anew several times.
    pub(crate) fn goes_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        wait_until("more answers", PATIENCE, || {
            self.answered.load(Ordering::Relaxed) > before + 50 * CLIENTS
        })
        .unwrap();
    }

    /// How many were answered, and why others were not.
    pub(crate) fn finish(self) -> (usize, Vec<io::Error>) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (self.answered.load(Ordering::Relaxed), failed)
    }
}

fn client(to: SocketAddr, stop: &AtomicBool, answered: &AtomicUsize) -> Vec<io::Error> {
    let mut failed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match request(to) {
            Ok(()) => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => failed.push(error),
        }
    }
    failed
}
