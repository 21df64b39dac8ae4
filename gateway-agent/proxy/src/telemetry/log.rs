//! The access log: workers put whole lines into rings of their own, and a thread writes them out. A worker never waits:
//! lines for which its ring has no room are lost, and counted.

use std::cell::RefCell;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use rtrb::{Consumer, Producer, RingBuffer};
use tracing::warn;

use super::line::Clock;

/// Bytes that wait for the writer: with [`PAUSE`], 50 MB a second of one worker, or 100,000 lines.
const RING: usize = 1 << 20;

/// Between two looks of the writer at the rings.
const PAUSE: Duration = Duration::from_millis(20);

/// Bytes of a line that most have room in.
const LINE: usize = 1 << 10;

/// Buffers of lines that a worker keeps: 64 kB.
const MOST_SPARE: usize = 64;

/// Where lines go to.
pub type Output = Box<dyn Write + Send>;

/// The process's access log. Its thread starts with the first line.
pub(crate) struct AccessLog {
    writer: Mutex<Writer>,
    lost: Arc<AtomicU64>,
}

enum Writer {
    Idle(Output),
    Running(Sender<Task>),
}

enum Task {
    /// One more ring.
    Follow(Consumer<u8>),
    /// Tell when everything is written that is there.
    Flush(Sender<()>),
}

/// One worker's part of it.
#[derive(Debug)]
pub(crate) struct Lines {
    log: Arc<AccessLog>,
    /// None before the first line: a log that is off takes no memory.
    ring: RefCell<Option<Producer<u8>>>,
    /// Memory for lines to come.
    spare: RefCell<Vec<Vec<u8>>>,
    clock: RefCell<Clock>,
}

impl AccessLog {
    pub(crate) fn new(output: Output) -> Self {
        Self { writer: Mutex::new(Writer::Idle(output)), lost: Arc::default() }
    }

    /// Lines that were not written, for want of room or since the output failed.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Waits until all lines are written that workers have given, at most so long.
    pub(crate) fn flush(&self, patience: Duration) {
        let (done, wait) = channel();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Writer::Running(tasks) = &*writer
            && tasks.send(Task::Flush(done)).is_ok()
        {
            drop(writer);
            let _ = wait.recv_timeout(patience);
        }
    }

    fn open(&self) -> Producer<u8> {
        let (producer, consumer) = RingBuffer::new(RING);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Writer::Idle(output) = &mut *writer {
            let output = std::mem::replace(output, Box::new(std::io::sink()));
            let (tasks, received) = channel();
            let lost = Arc::clone(&self.lost);
            let work = move || write(output, &received, &lost);
            if let Err(error) = thread::Builder::new().name("access-log".to_owned()).spawn(work) {
                warn!("there is no access log: {error}");
            }
            *writer = Writer::Running(tasks);
        }
        if let Writer::Running(tasks) = &*writer {
            // Without a thread the ring fills up, and lines are lost and counted.
            let _ = tasks.send(Task::Follow(consumer));
        }
        producer
    }
}

impl Lines {
    pub(super) fn new(log: Arc<AccessLog>) -> Self {
        Self { log, ring: RefCell::default(), spare: RefCell::default(), clock: RefCell::default() }
    }

    /// A whole line, with its end.
    pub(super) fn push(&self, line: &[u8]) {
        let mut ring = self.ring.borrow_mut();
        let ring = ring.get_or_insert_with(|| self.log.open());
        if ring.push_entire_slice(line).is_err() {
            self.log.lost.fetch_add(1, Relaxed);
        }
    }

    /// An empty buffer.
    pub(super) fn spare(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(LINE))
    }

    /// Takes a buffer back.
    pub(super) fn keep(&self, mut line: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if line.capacity() == LINE && spare.len() < MOST_SPARE {
            line.clear();
            spare.push(line);
        }
    }

    pub(super) fn write_time(&self, line: &mut Vec<u8>, time: SystemTime) {
        self.clock.borrow_mut().write(line, time);
    }
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLog").field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// Until the log and all its workers are gone.
fn write(mut output: Output, tasks: &Receiver<Task>, lost: &AtomicU64) {
    let mut rings = Vec::new();
    loop {
        let (mut is_open, mut done) = (true, None);
        match tasks.recv_timeout(PAUSE) {
            Ok(Task::Follow(ring)) => rings.push(ring),
            Ok(Task::Flush(asking)) => done = Some(asking),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                is_open = false;
                thread::sleep(PAUSE);
            }
        }
        let may_follow = is_open || !rings.iter().all(Consumer::is_abandoned);
        for ring in &mut rings {
            drain(ring, &mut output, lost);
        }
        // Fails if whoever asked has lost patience.
        done.map(|asking| asking.send(()));
        if !may_follow {
            return;
        }
    }
}

/// Rings hold whole lines, also while workers add to them.
fn drain(ring: &mut Consumer<u8>, output: &mut Output, lost: &AtomicU64) {
    let Ok(chunk) = ring.read_chunk(ring.slots()) else { return };
    let (first, second) = chunk.as_slices();
    let written =
        output.write_all(first).and_then(|()| output.write_all(second)).and_then(|()| output.flush());
    if written.is_err() {
        let lines = [first, second].into_iter().flatten().filter(|byte| **byte == b'\n').count();
        lost.fetch_add(lines as u64, Relaxed);
    }
    chunk.commit_all();
}
