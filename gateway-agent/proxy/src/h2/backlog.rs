//! Bodies that a client has sent and no exchange takes: h2 keeps them, as far as the windows let the client send, and
//! reads on for the other streams. They count in the worker's ledger, and while memory is tight, little more is read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::front::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::held::{Held, Ledger, SMALL};

/// What one connection's streams make h2 keep.
#[derive(Debug)]
pub(super) struct Backlog {
    ledger: Ledger,
    /// Streams whose exchanges have not taken what came.
    stuck: Cell<u32>,
    /// Counts as much as these may have sent.
    held: RefCell<Option<Held>>,
    /// Bytes of bodies that are still read while memory is tight.
    left: Cell<usize>,
    /// The connection's task, if it doesn't read.
    waits: RefCell<Option<Waker>>,
}

/// A stream whose exchange has not taken what came, until this is dropped.
#[derive(Debug)]
pub(super) struct Stuck(Rc<Backlog>);

impl Backlog {
    pub(super) fn new(ledger: Ledger) -> Rc<Self> {
        Rc::new(Self {
            ledger,
            stuck: Cell::new(0),
            held: RefCell::default(),
            left: Cell::new(SMALL),
            waits: RefCell::default(),
        })
    }

    /// One more stream is stuck.
    pub(super) fn stick(self: &Rc<Self>) -> Stuck {
        self.count(self.stuck.get() + 1);
        Stuck(Rc::clone(self))
    }

    fn count(&self, stuck: u32) {
        self.stuck.set(stuck);
        let most = stuck.saturating_mul(STREAM_WINDOW).min(CONNECTION_WINDOW);
        *self.held.borrow_mut() = None;
        *self.held.borrow_mut() = self.ledger.hold(most as usize);
    }

    /// The connection's task is about to read: what it read before was offered to the exchanges.
    pub(super) fn begin_turn(&self) {
        if self.stuck.get() == 0 {
            self.left.set(SMALL);
        }
    }

    /// Ready unless memory is tight and the streams were given as much as they may have then.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.ledger.is_tight() {
            self.left.set(SMALL);
        }
        if self.left.get() > 0 {
            return Poll::Ready(());
        }
        if self.stuck.get() == 0 {
            // The exchanges' turn comes first.
            cx.waker().wake_by_ref();
        } else {
            self.ledger.wait();
            *self.waits.borrow_mut() = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// So many bytes of bodies were read.
    pub(super) fn add(&self, bytes: usize) {
        self.left.set(self.left.get().saturating_sub(bytes));
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let Self(backlog) = self;
        backlog.count(backlog.stuck.get() - 1);
        if backlog.stuck.get() == 0
            && let Some(waker) = backlog.waits.take()
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_read_while_memory_is_tight_and_a_stream_is_stuck() {
        let (ledger, cx) = (Ledger::default(), Context::from_waker(Waker::noop()));
        let backlog = Backlog::new(ledger.clone());
        backlog.add(10 * SMALL);
        assert!(backlog.poll_room(&cx).is_ready(), "memory is not tight");
        let much = ledger.hold(usize::MAX >> 1);
        let stuck = backlog.stick();
        backlog.add(SMALL - 1);
        assert!(backlog.poll_room(&cx).is_ready(), "a little is read");
        backlog.add(1);
        backlog.begin_turn();
        assert!(backlog.poll_room(&cx).is_pending());
        drop(stuck);
        assert!(backlog.poll_room(&cx).is_pending(), "the exchanges' turn comes first");
        backlog.begin_turn();
        assert!(backlog.poll_room(&cx).is_ready());
        backlog.add(SMALL);
        let stuck: Vec<_> = (0..100).map(|_| backlog.stick()).collect();
        drop(much);
        assert!(backlog.poll_room(&cx).is_ready(), "memory is no longer tight");
        assert_eq!(backlog.held.borrow().as_ref().map(Held::bytes), Some(CONNECTION_WINDOW as usize));
        drop(stuck);
        assert!(backlog.held.borrow().is_none());
    }
}
