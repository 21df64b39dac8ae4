//! A way of bytes between two tasks of one thread, or two parts of one task: what a socket pair is, without the kernel
//! and without a lock.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::held::{Held, Ledger, SMALL};
use crate::socket::Socket;

/// Bytes that wait each way: the window that RFC 9113 (6.9.2) gives a stream.
const ROOM: usize = 64 << 10;

/// One of two ends. What is written to one is read from the other; when one is dropped, the other reads what is there
/// and then the end.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// Which of the two it is.
    end: usize,
    ways: Rc<RefCell<[Way; 2]>>,
    ledger: Ledger,
    /// False: another value of this end decides when it is gone.
    decides: bool,
}

/// What one end writes and the other reads.
#[derive(Debug, Default)]
struct Way {
    bytes: Vec<u8>,
    /// How many of them were read.
    read: usize,
    /// Either end is gone.
    closed: bool,
    /// Counts the bytes, as far as they are many.
    held: Option<Held>,
    /// Who waits for bytes, or for room: never both.
    waits: Option<Waker>,
}

/// Its bytes count in this ledger.
pub(crate) fn pipe(ledger: &Ledger) -> (Pipe, Pipe) {
    let ways = Rc::<RefCell<[Way; 2]>>::default();
    let end = |end| Pipe { end, ways: Rc::clone(&ways), ledger: ledger.clone(), decides: true };
    (end(0), end(1))
}

impl Pipe {
    /// The same end, for whoever writes to it while another task reads.
    pub(super) fn writer(&self) -> Self {
        Self { end: self.end, ways: Rc::clone(&self.ways), ledger: self.ledger.clone(), decides: false }
    }
}

impl Way {
    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if !self.waits.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waits = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waits.take() {
            waker.wake();
        }
    }
}

impl Socket for Pipe {
    /// It serves one exchange and is never used again.
    fn is_quiet(&mut self) -> bool {
        false
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let way = &mut self.ways.borrow_mut()[1 - self.end];
        let waiting = &way.bytes[way.read..];
        if waiting.is_empty() {
            return if way.closed { Poll::Ready(Ok(())) } else { way.wait(cx) };
        }
        let len = waiting.len().min(into.remaining());
        into.put_slice(&waiting[..len]);
        way.read += len;
        if way.read == way.bytes.len() {
            if way.held.take().is_some() {
                way.bytes = Vec::new();
            }
            way.bytes.clear();
            way.read = 0;
            way.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let way = &mut self.ways.borrow_mut()[self.end];
        if way.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let most = if self.ledger.is_tight() { SMALL } else { ROOM };
        let room = most.saturating_sub(way.bytes.len());
        if room == 0 && !data.is_empty() {
            return way.wait(cx);
        }
        let len = data.len().min(room);
        way.bytes.extend_from_slice(&data[..len]);
        self.ledger.hold_more(&mut way.held, way.bytes.capacity());
        way.wake();
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let way = &mut self.ways.borrow_mut()[self.end];
        way.closed = true;
        way.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if !self.decides {
            return;
        }
        for way in &mut *self.ways.borrow_mut() {
            way.closed = true;
            way.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn bytes_arrive_in_order_however_many() {
        let (mut one, mut other) = pipe(&Ledger::default());
        let sent: Vec<u8> = (0..u32::from(u16::MAX)).flat_map(u32::to_be_bytes).collect();
        let expected = sent.clone();
        let write = async move {
            one.write_all(&sent).await.expect("written");
            // The answer's way is open still.
            one.shutdown().await.expect("shut down");
            let mut answer = Vec::new();
            one.read_to_end(&mut answer).await.expect("read");
            answer
        };
        let read = async move {
            let mut received = Vec::new();
            other.read_to_end(&mut received).await.expect("read");
            other.write_all(b"answer").await.expect("written");
            received
        };
        let (answer, received) = tokio::join!(write, read);
        assert_eq!((answer.as_slice(), received == expected), (&b"answer"[..], true));
    }

    #[tokio::test]
    async fn an_end_that_is_gone_is_the_end_of_both_ways() {
        let (mut one, mut other) = pipe(&Ledger::default());
        other.write_all(b"last").await.expect("written");
        drop(other);
        assert_eq!(one.write(b"x").await.map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
        let mut received = Vec::new();
        one.read_to_end(&mut received).await.expect("read");
        assert_eq!(received, b"last");
    }
}
