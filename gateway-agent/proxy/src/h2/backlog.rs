//! Bodies that a peer has sent and no exchange takes, on one connection: they are kept, as far as the windows let the peer
//! send, and h2 reads on for the other streams. They count in the worker's ledger, and beyond a limit little more is read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::held::Ledger;
use crate::worker::SCRATCH;

/// What one connection's streams make the proxy keep.
#[derive(Debug)]
pub(super) struct Backlog {
    ledger: Ledger,
    bounds: Bounds,
    /// Streams whose exchanges have not taken what came.
    stuck: Cell<u32>,
    /// Bytes of bodies that are still read beyond the limit.
    left: Cell<usize>,
    /// Bytes that are still read in this turn.
    turn: Cell<usize>,
    /// The connection's task.
    task: RefCell<Option<Waker>>,
}

/// Bytes of bodies that the peer may send before they are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of all that the ledger counts until no more than `beyond` are read while a stream is stuck.
    pub(super) limit: usize,
    pub(super) beyond: usize,
}

/// Bytes that are read before exchanges may take what came.
const TURN: usize = SCRATCH;

/// What small frames with data may cost h2, 256 bytes each less their data, until they are taken; then it ends the
/// connection. As many as come in a turn, 10 bytes long with their heads, cost less.
pub(super) const SMALL_FRAMES: usize = 256 * TURN / 10;

/// A stream whose exchange has not taken what came, until this is dropped.
#[derive(Debug)]
pub(super) struct Stuck(Rc<Backlog>);

impl Backlog {
    pub(super) fn new(ledger: Ledger, bounds: Bounds) -> Rc<Self> {
        Rc::new(Self {
            ledger,
            bounds,
            stuck: Cell::new(0),
            left: Cell::new(bounds.beyond),
            turn: Cell::new(TURN),
            task: RefCell::default(),
        })
    }

    /// Whether the ledger counts more bytes than these.
    pub(super) fn is_beyond(&self, bytes: usize) -> bool {
        self.ledger.is_beyond(bytes)
    }

    /// Streams that are stuck.
    pub(super) fn stuck(&self) -> u32 {
        self.stuck.get()
    }

    /// Whether nothing more is read.
    pub(super) fn is_full(&self) -> bool {
        self.ledger.is_beyond(self.bounds.limit) && self.stuck.get() > 0 && self.left.get() == 0
    }

    /// One more stream is stuck. Whoever has it counts what it keeps.
    pub(super) fn stick(self: &Rc<Self>) -> Stuck {
        self.stuck.set(self.stuck.get() + 1);
        Stuck(Rc::clone(self))
    }

    /// The connection's task is about to read: what it read before was offered to the exchanges.
    pub(super) fn begin_turn(&self, cx: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
        self.turn.set(TURN);
        if self.stuck.get() == 0 {
            self.left.set(self.bounds.beyond);
        }
    }

    /// Lets the connection's task see what has changed.
    pub(super) fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    /// Ready unless so much was read in this turn, or beyond the limit as much as the streams may have then.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.ledger.is_beyond(self.bounds.limit) {
            self.left.set(self.bounds.beyond);
        }
        if self.left.get() == 0 && self.stuck.get() > 0 {
            self.ledger.wait(self.bounds.limit);
            return Poll::Pending;
        }
        if self.left.get() == 0 || self.turn.get() == 0 {
            // The exchanges' turn comes first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// So many bytes were read, and of these so many of bodies.
    pub(super) fn add(&self, bytes: usize, of_bodies: usize) {
        self.turn.set(self.turn.get().saturating_sub(bytes));
        self.left.set(self.left.get().saturating_sub(of_bodies));
    }

    /// So many of them were taken.
    pub(super) fn remove(&self, bytes: usize) {
        let left = self.left.get();
        self.left.set((left + bytes).min(self.bounds.beyond));
        if left == 0 && bytes > 0 {
            self.wake();
        }
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let Self(backlog) = self;
        backlog.stuck.set(backlog.stuck.get() - 1);
        if backlog.stuck.get() == 0 && backlog.left.get() == 0 {
            backlog.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { limit: 1 << 20, beyond: 4096 };

    #[test]
    fn little_is_read_beyond_the_limit_while_a_stream_is_stuck() {
        let (ledger, cx) = (Ledger::default(), Context::from_waker(Waker::noop()));
        let backlog = Backlog::new(ledger.clone(), BOUNDS);
        backlog.add(40_960, 40_960);
        assert!(backlog.poll_room(&cx).is_ready(), "there is memory");
        let much = ledger.hold(usize::MAX >> 1);
        let stuck = backlog.stick();
        backlog.add(4095, 4095);
        assert!(backlog.poll_room(&cx).is_ready(), "a little is read");
        backlog.add(1, 1);
        backlog.begin_turn(&cx);
        assert!(backlog.poll_room(&cx).is_pending() && backlog.is_full());
        backlog.remove(1);
        assert!(backlog.poll_room(&cx).is_ready(), "a little was taken");
        backlog.add(1, 1);
        drop(stuck);
        assert!(backlog.poll_room(&cx).is_pending(), "the exchanges' turn comes first");
        backlog.begin_turn(&cx);
        assert!(backlog.poll_room(&cx).is_ready());
        backlog.add(4096, 4096);
        drop(much);
        assert!(backlog.poll_room(&cx).is_ready() && !backlog.is_full(), "there is memory again");
    }

    #[test]
    fn exchanges_get_their_turn() {
        let cx = Context::from_waker(Waker::noop());
        let backlog = Backlog::new(Ledger::default(), BOUNDS);
        backlog.add(TURN - 1, 0);
        assert!(backlog.poll_room(&cx).is_ready());
        backlog.add(1, 0);
        assert!(backlog.poll_room(&cx).is_pending());
        backlog.begin_turn(&cx);
        assert!(backlog.poll_room(&cx).is_ready());
    }
}
