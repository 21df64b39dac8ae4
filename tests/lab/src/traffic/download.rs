//! Long streams, every byte compared.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Connection, PATIENCE, Pattern};
use crate::{LabError, Namespace, wait_until};

/// Any number but 0 would do.
const SEED: u64 = 1;

/// A stream that arrived, whole and right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub server: String,
    pub bytes: u64,
    pub took: Duration,
    /// The longest time without a byte.
    pub longest_pause: Duration,
}

/// A download under way on its own thread.
#[derive(Debug)]
pub struct Download {
    received: Arc<AtomicU64>,
    thread: JoinHandle<io::Result<Transfer>>,
}

impl Download {
    /// Starts to fetch `bytes`, at most `rate` bytes per second if given, so that there is time for things to happen.
    pub fn start(client: &Namespace, target: SocketAddr, bytes: u64, rate: Option<u64>) -> Self {
        let received = Arc::new(AtomicU64::new(0));
        let progress = Arc::clone(&received);
        let thread = client.thread(move || fetch(target, bytes, rate, &progress));
        Self { received, thread }
    }

    /// Bytes received so far, all of them right.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until `more` bytes have come from now on, or the download has ended.
    pub fn wait_received(&self, more: u64) -> Result<(), LabError> {
        let goal = self.received() + more;
        let what = format!("{more} more bytes of a download");
        wait_until(&what, PATIENCE * 6, || self.received() >= goal || self.is_finished())
    }

    /// Waits for its end.
    pub fn finish(self) -> io::Result<Transfer> {
        self.thread.join().expect("a bug of the lab")
    }
}

/// Fetches `bytes` and compares each.
pub fn download(client: &Namespace, target: SocketAddr, bytes: u64) -> io::Result<Transfer> {
    Download::start(client, target, bytes, None).finish()
}

/// Sends `bytes`; the server compares each.
pub fn upload(client: &Namespace, target: SocketAddr, bytes: u64) -> io::Result<Transfer> {
    client.run(|| {
        let mut connection = Connection::open(target, PATIENCE)?;
        let server = connection.who()?.server;
        let begun = Instant::now();
        connection.send(&format!("upload {bytes} {SEED}\n"))?;
        let mut to = Watched::new(connection.reader.get_mut());
        Pattern::new(SEED).write(bytes, &mut to)?;
        let longest_pause = to.longest_pause;
        match connection.line()?.trim_end() {
            "intact" => Ok(Transfer { server, bytes, took: begun.elapsed(), longest_pause }),
            verdict => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{server} got {verdict}"))),
        }
    })
}

fn fetch(target: SocketAddr, bytes: u64, rate: Option<u64>, received: &AtomicU64) -> io::Result<Transfer> {
    let mut connection = Connection::open(target, PATIENCE)?;
    let server = connection.who()?.server;
    let begun = Instant::now();
    connection.send(&format!("download {bytes} {SEED}\n"))?;
    let mut from = Watched::new(&mut connection.reader);
    Pattern::new(SEED).read(bytes, &mut from, |count| {
        let sum = received.fetch_add(count, Ordering::Relaxed) + count;
        if let Some(rate) = rate {
            let due = Duration::from_micros(sum.saturating_mul(1_000_000) / rate.max(1));
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    })?;
    Ok(Transfer { server, bytes, took: begun.elapsed(), longest_pause: from.longest_pause })
}

/// Notes the longest single read or write.
struct Watched<'a, T> {
    inner: &'a mut T,
    longest_pause: Duration,
}

impl<'a, T> Watched<'a, T> {
    fn new(inner: &'a mut T) -> Self {
        Self { inner, longest_pause: Duration::ZERO }
    }

    fn timed<R>(&mut self, act: impl FnOnce(&mut T) -> R) -> R {
        let begun = Instant::now();
        let result = act(self.inner);
        self.longest_pause = self.longest_pause.max(begun.elapsed());
        result
    }
}

impl<T: Read> Read for Watched<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.timed(|inner| inner.read(buffer))
    }
}

impl<T: Write> Write for Watched<'_, T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.timed(|inner| inner.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
