//! A connection with what was read too much from it, and what it could not take yet.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use crate::held::{Held, LARGE};
use crate::socket::Socket;
use crate::telemetry::Traffic;
use crate::worker::Buffers;

/// Both directions of a connection. While it is idle it owns no memory but itself.
#[derive(Debug)]
pub(crate) struct Stream<S> {
    pub(crate) socket: S,
    /// Received, and from `consumed` on not consumed.
    received: Vec<u8>,
    consumed: usize,
    /// Written and not sent, from `sent` on.
    waiting: Vec<u8>,
    sent: usize,
    /// Counts what waits and what was received, as far as it is large. Apart: most connections never have it.
    held: Option<Box<Held>>,
    /// All that was read, and all that was written.
    traffic: Traffic,
}

/// What a read brought.
#[derive(Debug)]
pub(crate) enum Fed<T> {
    /// Bytes, and what was made of them.
    Some(T),
    /// The peer sends no more.
    End,
}

/// Data up to this size is copied behind what waits, so that both leave in one call; more of it is gathered.
const COPIED: usize = 8 << 10;

impl<S: Socket> Stream<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            received: Vec::new(),
            consumed: 0,
            waiting: Vec::new(),
            sent: 0,
            held: None,
            traffic: Traffic::default(),
        }
    }

    /// Bytes that were consumed, and that were written or wait.
    pub(crate) fn traffic(&self) -> Traffic {
        let (waiting, left) = (self.waiting.len() - self.sent, self.received.len() - self.consumed);
        Traffic {
            received: self.traffic.received.wrapping_sub(left as u64),
            sent: self.traffic.sent + waiting as u64,
        }
    }

    /// Bytes passed by others than this value.
    pub(crate) fn add_traffic(&mut self, received: u64, sent: u64) {
        self.traffic.received += received;
        self.traffic.sent += sent;
    }

    /// Whether bytes were received that nobody has consumed.
    pub(crate) fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    pub(crate) fn take_received(&mut self) -> Vec<u8> {
        self.received.drain(..std::mem::take(&mut self.consumed));
        std::mem::take(&mut self.received)
    }

    /// Gives bytes that were received before, if there are any, to `f`, which takes what it consumes from its input.
    pub(crate) fn feed_received<T>(&mut self, f: impl FnOnce(&mut &[u8]) -> T) -> Option<T> {
        if self.received.is_empty() {
            return None;
        }
        let mut input = &self.received[self.consumed..];
        let made = f(&mut input);
        self.consumed = self.received.len() - input.len();
        if input.is_empty() {
            self.received.clear();
            self.consumed = 0;
        }
        Some(made)
    }

    /// Reads once, and gives all that was not consumed to `f`, which takes what it consumes from its input.
    pub(crate) fn poll_feed<T>(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        f: impl FnOnce(&mut &[u8], &mut Context<'_>) -> T,
    ) -> Poll<io::Result<Fed<T>>> {
        let mut scratch = buffers.scratch();
        let mut buffer = ReadBuf::new(&mut scratch[..buffers.read_size()]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(Fed::End));
        }
        self.traffic.received += read.len() as u64;
        let mut input = read;
        if self.received.is_empty() {
            let made = f(&mut input, cx);
            self.received.extend_from_slice(input);
            self.hold(buffers);
            return Poll::Ready(Ok(Fed::Some(made)));
        }
        self.received.drain(..std::mem::take(&mut self.consumed));
        self.received.extend_from_slice(read);
        Poll::Ready(Ok(Fed::Some(self.feed_received(|input| f(input, cx)).expect("it was just extended"))))
    }

    /// Where to write what is sent with the next flush.
    pub(crate) fn waiting(&mut self, buffers: &Buffers) -> &mut Vec<u8> {
        if self.waiting.capacity() == 0 {
            self.waiting = buffers.take();
        }
        &mut self.waiting
    }

    /// Sends data behind what waits. What the socket doesn't take waits too: flush before the next read.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        mut data: &[u8],
    ) -> io::Result<()> {
        while data.len() > COPIED {
            let parts = [IoSlice::new(&self.waiting[self.sent..]), IoSlice::new(data)];
            let Poll::Ready(written) = Pin::new(&mut self.socket).poll_write_vectored(cx, &parts) else {
                break;
            };
            let written = written?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let of_waiting = written.min(self.waiting.len() - self.sent);
            self.advance(of_waiting);
            self.traffic.sent += (written - of_waiting) as u64;
            data = &data[written - of_waiting..];
        }
        if !data.is_empty() {
            self.waiting(buffers).extend_from_slice(data);
        }
        Ok(())
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.waiting[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends these bytes, `sent` of which are sent already, while nothing waits. They belong to whoever calls, who may have
    /// to send them again, and don't count as traffic.
    pub(crate) fn poll_send_all(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        sent: &mut usize,
    ) -> Poll<io::Result<()>> {
        while let Some(left) = bytes.get(*sent..).filter(|left| !left.is_empty()) {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, left))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *sent += written;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        self.sent += written;
        self.traffic.sent += written as u64;
        if self.sent == self.waiting.len() {
            self.waiting.clear();
            self.sent = 0;
            // Else whoever sent much would have it for as long as the connection lasts.
            if self.held.take().is_some() || self.waiting.capacity() > LARGE {
                self.waiting = Vec::new();
            }
        }
    }

    /// Counts what the peer makes this stream keep: call it where that has to wait.
    pub(crate) fn hold(&mut self, buffers: &Buffers) {
        let bytes = self.received.capacity() + self.waiting.capacity();
        if self.held.as_ref().is_none_or(|held| held.bytes() < bytes) {
            self.held = None;
            self.held = buffers.ledger().hold(bytes).map(Box::new);
        }
    }

    /// Gives memory back that an idle connection has no use for.
    pub(crate) fn rest(&mut self, buffers: &Buffers) {
        if self.received.is_empty() {
            buffers.give(std::mem::take(&mut self.received));
        }
        if self.waiting.is_empty() {
            buffers.give(std::mem::take(&mut self.waiting));
        }
        if self.received.capacity() + self.waiting.capacity() == 0 {
            self.held = None;
        }
    }
}
