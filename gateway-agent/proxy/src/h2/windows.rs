//! How much endpoints may send before it is passed on.

use std::rc::Rc;

use bytes::Bytes;

use super::backlog::{Backlog, Bounds, Stuck};
use crate::held::{FULL, Ledger, SMALL};

/// Bytes of one stream's answer that an endpoint may send before they are passed on. What a network holds that brings
/// 2 Gbit/s in 2 ms, as between zones of a region; where it takes 0.2 ms, as within one, ten times as much is brought. It is
/// told of half of it at a time: of 256 kB that would cost a seventh of what a large answer costs.
pub(super) const STREAM: u32 = 512 << 10;

/// The same once memory is short: what with its framing fits a small buffer.
const STREAM_WHEN_SHORT: u32 = 8 << 10;

/// Bytes of large buffers from which on memory is short: half of what there is, since windows were told before.
const SHORT: usize = FULL / 2;

/// Bytes of all streams of a connection that may be sent ahead, as long as two are stuck at most: half of it is for the
/// others.
pub(super) const CONNECTION: u32 = 2 << 20;

/// Of one connection: streams are stuck whose clients don't take their answers.
pub(super) fn backlog(ledger: &Ledger) -> Rc<Backlog> {
    Backlog::new(ledger.clone(), Bounds { limit: FULL, beyond: SMALL })
}

/// One more stream is stuck.
pub(super) fn stick(backlog: &Rc<Backlog>) -> Stuck {
    let before = wanted(backlog.stuck());
    let stuck = backlog.stick();
    if before < wanted(backlog.stuck()) {
        backlog.wake();
    }
    stuck
}

/// What the endpoint was told last.
#[derive(Debug)]
pub(super) struct Windows {
    stream: u32,
    connection: u32,
}

impl Default for Windows {
    fn default() -> Self {
        Self { stream: STREAM, connection: CONNECTION }
    }
}

impl Windows {
    /// Grows the connection's window by what stuck streams take of it, so that the others go on. While memory is short, those
    /// of streams shrink.
    pub(super) fn adapt<T>(&mut self, connection: &mut h2::client::Connection<T, Bytes>, backlog: &Backlog)
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let stream = if backlog.is_beyond(SHORT) { STREAM_WHEN_SHORT } else { STREAM };
        // It fails while the endpoint hasn't confirmed what it was told before: the next turn tries again.
        if stream != self.stream && connection.set_initial_window_size(stream).is_ok() {
            self.stream = stream;
        }
        let wanted = wanted(backlog.stuck());
        if wanted != self.connection {
            connection.set_target_window_size(wanted);
            self.connection = wanted;
        }
    }
}

/// A connection's window with so many stuck streams: twice what they take, in steps that a stream that is stuck now and
/// then doesn't pass all the time.
fn wanted(stuck: u32) -> u32 {
    /// The most that RFC 9113 (6.9.1) allows is one less.
    const MOST: u32 = 1 << 31;
    let taken = stuck.saturating_mul(STREAM).min(MOST / 4);
    CONNECTION.max((2 * taken).next_power_of_two())
}
