//! Load generators and the servers that answer them. All are threads of this process, each in its namespace and on
//! its processor; clients are closed loops, bounded in number and time.

pub(crate) mod crr;
pub(crate) mod stream;
pub(crate) mod udp;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::cpu::Cpus;

/// Time before a window opens: long enough for caches, neighbours and congestion windows to settle.
const WARM_UP: Duration = Duration::from_millis(500);

/// What clients report while they run.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Connections, bytes or datagrams, whatever the load counts.
    pub(crate) done: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Latencies count from here on.
    pub(crate) recording: AtomicBool,
    pub(crate) stop: AtomicBool,
}

/// What happened while a window was open.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    /// Busy seconds of the run's processors.
    pub(crate) cpu_seconds: f64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

/// Runs clients, one thread each, through the warm-up and then as many windows of one length, without a pause between
/// them. Also returns what each client returned.
pub(crate) fn measure<T: Send>(
    cpus: &Cpus,
    (windows, length): (usize, Duration),
    clients: Vec<impl FnOnce(&Progress) -> Result<T> + Send>,
    done: impl Fn(&Progress) -> u64,
) -> Result<(Vec<Window>, Vec<T>)> {
    let progress = Progress::default();
    thread::scope(|scope| {
        let threads: Vec<_> = clients.into_iter().map(|client| scope.spawn(|| client(&progress))).collect();
        thread::sleep(WARM_UP);
        progress.recording.store(true, Ordering::Relaxed);
        let measured = (0..windows).map(|_| window(cpus, length, &progress, &done)).collect::<Result<_>>();
        progress.stop.store(true, Ordering::Relaxed);
        let results = threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|_| Err(anyhow!("a client panicked"))))
            .collect::<Result<_>>()?;
        Ok((measured?, results))
    })
}

fn window(
    cpus: &Cpus,
    length: Duration,
    progress: &Progress,
    done: impl Fn(&Progress) -> u64,
) -> Result<Window> {
    let failed = || progress.failed.load(Ordering::Relaxed);
    let (start, cpu, before, failed_before) =
        (Instant::now(), cpus.busy_seconds()?, done(progress), failed());
    thread::sleep(length);
    Ok(Window {
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: cpus.busy_seconds()? - cpu,
        done: done(progress) - before,
        failed: failed() - failed_before,
    })
}
