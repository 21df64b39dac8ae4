//! Deadlines that cost a store to set: one sweep of a worker wakes whoever is late.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How often a worker looks for late tasks.
pub(crate) const TICK: Duration = Duration::from_millis(1000 / PER_SECOND);
const PER_SECOND: u64 = 4;

/// The deadlines of a worker's tasks.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// Ticks since the worker began.
    now: Rc<Cell<u32>>,
    all: RefCell<Vec<Weak<Deadline>>>,
}

/// The deadline of one task.
#[derive(Debug)]
pub(crate) struct Deadline {
    now: Rc<Cell<u32>>,
    at: Cell<u32>,
    waker: RefCell<Option<Waker>>,
}

impl Deadlines {
    pub(crate) fn add(&self) -> Rc<Deadline> {
        let deadline = Rc::new(Deadline {
            now: Rc::clone(&self.now),
            at: Cell::new(u32::MAX),
            waker: RefCell::default(),
        });
        self.all.borrow_mut().push(Rc::downgrade(&deadline));
        deadline
    }

    /// Moves time on by a tick and wakes the tasks that are late.
    pub(crate) fn tick(&self) {
        self.now.set(self.now.get().saturating_add(1));
        self.all.borrow_mut().retain(|deadline| {
            let Some(deadline) = deadline.upgrade() else { return false };
            if deadline.has_passed() {
                deadline.wake();
            }
            true
        });
    }

    /// Wakes every task, for something else than time.
    pub(crate) fn wake_all(&self) {
        self.all.borrow().iter().filter_map(Weak::upgrade).for_each(|deadline| deadline.wake());
    }

    /// Ticks since the worker began.
    pub(crate) fn now(&self) -> u32 {
        self.now.get()
    }
}

impl Deadline {
    /// Counts from now; a tick that has begun doesn't count.
    pub(crate) fn set(&self, after: Duration) {
        self.at.set(self.now.get().saturating_add(1).saturating_add(ticks(after)));
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.at.get() <= self.now.get()
    }

    /// Ready once the deadline has passed; else the task is woken then.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.has_passed() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Whole ticks that hold this duration. Several times per request, so in numbers of one word.
pub(crate) fn ticks(duration: Duration) -> u32 {
    let whole = duration.as_secs().saturating_mul(PER_SECOND);
    let rest = u64::from(duration.subsec_millis()).div_ceil(1000 / PER_SECOND);
    u32::try_from(whole.saturating_add(rest)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_hold_durations() {
        for (milliseconds, expected) in
            [(0, 0), (1, 1), (250, 1), (251, 2), (1000, 4), (75_001, 301), (u64::MAX, u32::MAX)]
        {
            assert_eq!(ticks(Duration::from_millis(milliseconds)), expected, "{milliseconds}");
        }
    }
}
