//! An open loop: requests are due at fixed times, whether or not earlier ones were answered, and each one's latency
//! counts from when it was due. A proxy that stalls is charged with all that had to wait meanwhile, which a closed loop
//! omits.
//!
//! Whatever takes part runs in real time. A machine that does something else besides made every proxy's 99th percentile
//! some milliseconds, in turn and by chance: the wait for a processor, which is no proxy's. A machine that is itself taken
//! away by its host does the same, whatever runs in it; so requests that such an absence touched are told apart. Which
//! ones they are depends on the processors alone, and the same rule holds for every subject.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::prctl::set_timerslack;

use super::case::{Awake, Open, Seen};
use super::closed::percentile;
use super::origin;
use super::subject::{HTTP1, Means, Subject, host, prefix, request};
use crate::absence::{self, Absences};
use crate::cpu::RealTime;
use crate::report::float;

/// Each has a connection; they take turns, so a request waits only if this many are under way.
const CLIENTS: u32 = 32;

/// Longer than any answer takes; what takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(subject: &Subject, means: &Means<'_>, per_second: u32, length: Duration) -> Result<Seen> {
    let _real_time = RealTime::of(subject.participants()?)?;
    let pace = Duration::from_secs(1) / per_second;
    // Time to connect.
    let begin = Instant::now() + Duration::from_millis(300);
    let load = || {
        thread::scope(|scope| {
            let client = |index| {
                scope.spawn(move || {
                    means.cpus.pin(1)?;
                    subject.lane.client.enter()?;
                    client(subject, begin + pace * index, pace * CLIENTS, begin + length)
                })
            };
            let threads: Vec<_> = (0..CLIENTS).map(client).collect();
            let join = |t: thread::ScopedJoinHandle<'_, Result<_>>| {
                t.join().unwrap_or_else(|_| Err(anyhow!("a client panicked")))
            };
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })
    };
    let (results, absences) = absence::watch(means.cpus, load)?;
    let errors = results.iter().map(|(_, errors)| errors).sum();
    let requests: Vec<Request> = results.into_iter().flat_map(|(requests, _)| requests).collect();
    ensure!(!requests.is_empty(), "nothing came through");
    let latencies = latencies(requests.iter());
    Ok(Seen {
        requests: requests.len() as u64,
        errors,
        seconds: length.as_secs_f64(),
        p50: percentile(&latencies, 0.5),
        p99: percentile(&latencies, 0.99),
        open: Some(Open { p999: percentile(&latencies, 0.999), awake: awake(&requests, &absences)? }),
    })
}

/// What the requests say that no absence touched.
fn awake(requests: &[Request], absences: &Absences) -> Result<Awake> {
    let latencies = latencies(requests.iter().filter(|r| !absences.touch(r.due, r.answered)));
    ensure!(!latencies.is_empty(), "the machine was never there for the length of a request");
    let kept = float(latencies.len() as u64) / float(requests.len() as u64);
    Ok(Awake {
        p99: percentile(&latencies, 0.99),
        p999: percentile(&latencies, 0.999),
        set_aside: 1.0 - kept,
        away: absences.share,
    })
}

/// One that was answered.
#[derive(Clone, Copy, Debug)]
struct Request {
    due: Instant,
    answered: Instant,
}

/// In milliseconds and in order.
fn latencies<'a>(requests: impl Iterator<Item = &'a Request>) -> Vec<f64> {
    let mut latencies: Vec<f64> = requests.map(|r| (r.answered - r.due).as_secs_f64() * 1e3).collect();
    latencies.sort_by(f64::total_cmp);
    latencies
}

/// The requests that were answered, and how many were not.
fn client(subject: &Subject, mut due: Instant, pace: Duration, end: Instant) -> Result<(Vec<Request>, u64)> {
    // Sleeping ends up to 50 us late otherwise (prctl(2)).
    set_timerslack(1)?;
    let mut connection = connect(subject)?;
    let request = request(&host(3), &prefix(3));
    let (mut answered, mut errors) = (Vec::new(), 0);
    while due < end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if exchange(&mut connection, &request).is_ok() {
            answered.push(Request { due, answered: Instant::now() });
        } else {
            errors += 1;
            connection = connect(subject)?;
        }
        due += pace;
    }
    Ok((answered, errors))
}

pub(crate) fn connect(subject: &Subject) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&subject.target(HTTP1).into(), PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a request and reads its answer, whose body is a small one.
pub(crate) fn exchange(connection: &mut TcpStream, request: &str) -> Result<()> {
    connection.write_all(request.as_bytes())?;
    let mut answer = [0; 4096];
    let mut received = 0;
    let head = loop {
        let read = connection.read(&mut answer[received..])?;
        ensure!(read > 0, "the connection ended");
        received += read;
        if let Some(end) = answer[..received].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
    };
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "not 200");
    let left = (head + origin::SMALL_BYTES).checked_sub(received).context("more than an answer")?;
    connection.read_exact(&mut answer[received..received + left])?;
    Ok(())
}
