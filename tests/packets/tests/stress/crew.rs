//! Threads that run at the same time, and their luck.

use std::hint;
use std::panic::resume_unwind;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use packets::Node;

pub(crate) const THREADS: usize = 4;

/// Runs `work` on all threads at once, each on a CPU of its own as far as there are any, and gives back what each
/// comes to.
pub(crate) fn crew<T: Send>(node: &Node, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    node.inside(|| {
                        pin_to_cpu(number);
                        start.wait();
                        work(number)
                    })
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// Programs on one CPU would wait for each other.
fn pin_to_cpu(number: usize) {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: the set is on the stack and as large as it is said to be.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(number % cpus, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}

/// Where some of the crew meet again and again, to go on within nanoseconds of each other: a barrier that sleeps takes
/// longer to wake its threads than a program takes to run.
#[derive(Debug)]
pub(crate) struct Meeting {
    members: usize,
    arrivals: AtomicUsize,
}

impl Meeting {
    pub(crate) fn of(members: usize) -> Self {
        Self { members, arrivals: AtomicUsize::new(0) }
    }

    /// Waits for all others to call it as often.
    pub(crate) fn attend(&self) {
        /// Only a crew that has lost a thread waits for so long.
        const PATIENCE: Duration = Duration::from_mins(2);
        /// Some microseconds: who has a CPU is here by then.
        const SPINS: u64 = 1000;
        let arrival = self.arrivals.fetch_add(1, Ordering::SeqCst);
        let complete = (arrival / self.members + 1) * self.members;
        let begin = Instant::now();
        for look in 0u64.. {
            if self.arrivals.load(Ordering::SeqCst) >= complete {
                break;
            }
            if look < SPINS {
                hint::spin_loop();
            } else {
                assert!(begin.elapsed() < PATIENCE, "the others are gone");
                thread::yield_now();
            }
        }
    }
}

/// xorshift64 (Marsaglia 2003): the same dice each time, as far as the threads allow.
pub(crate) struct Dice(u64);

impl Dice {
    /// `seed` is not 0.
    pub(crate) fn new(seed: usize) -> Self {
        Self((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}
