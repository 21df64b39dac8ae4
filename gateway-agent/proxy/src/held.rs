//! Large buffers of one worker, counted, so that slow peers can't make it keep more and more.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes of all large buffers until memory is tight: 256 that are full. Reads are small then: slow peers make the proxy keep
/// little each, and peers that aren't slow only cost more calls.
pub(crate) const TIGHT: usize = 16 << 20;

/// Bytes from which on nothing more is kept that can be left to the network, though others wait for what is behind it.
pub(crate) const FULL: usize = 4 * TIGHT;

/// Bytes from which on a buffer is large.
pub(crate) const LARGE: usize = 16 << 10;

/// Bytes that are read or taken at once while memory is tight.
pub(crate) const SMALL: usize = 4 << 10;

/// What a worker's tasks have of large buffers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Rc<Sum>);

#[derive(Debug, Default)]
struct Sum {
    bytes: Cell<usize>,
    /// Somebody waits until there are no more than so many.
    awaited: Cell<Option<usize>>,
}

/// A task's large buffers, which count until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: usize,
    ledger: Ledger,
}

impl Ledger {
    pub(crate) fn is_tight(&self) -> bool {
        self.is_beyond(TIGHT)
    }

    /// Whether there are more bytes than these.
    pub(crate) fn is_beyond(&self, bytes: usize) -> bool {
        self.0.bytes.get() > bytes
    }

    /// Whoever calls it is to be woken when there are no more bytes than these.
    pub(crate) fn wait(&self, bytes: usize) {
        self.0.awaited.set(self.0.awaited.get().max(Some(bytes)));
    }

    /// Whether those who wait are to be woken now: true once.
    pub(crate) fn wakes(&self) -> bool {
        let wakes = self.0.awaited.get().is_some_and(|bytes| !self.is_beyond(bytes));
        if wakes {
            self.0.awaited.set(None);
        }
        wakes
    }

    /// None: they are small, and don't count.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Held> {
        (bytes > LARGE).then(|| {
            self.0.bytes.set(self.0.bytes.get() + bytes);
            Held { bytes, ledger: self.clone() }
        })
    }

    /// The same for what has grown to so many bytes.
    pub(crate) fn hold_more(&self, held: &mut Option<Held>, bytes: usize) {
        if held.as_ref().map_or(0, Held::bytes) < bytes {
            *held = None;
            *held = self.hold(bytes);
        }
    }
}

impl Held {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = &self.ledger.0.bytes;
        bytes.set(bytes.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_tight_while_much_is_held() {
        let ledger = Ledger::default();
        assert!(ledger.hold(LARGE).is_none());
        let held: Vec<_> = (0..=TIGHT / (2 * LARGE)).map(|_| ledger.hold(2 * LARGE)).collect();
        assert!(ledger.is_tight() && !ledger.is_beyond(FULL));
        ledger.wait(TIGHT);
        assert!(!ledger.wakes());
        ledger.wait(FULL);
        assert!(ledger.wakes() && !ledger.wakes(), "those of either, once");
        drop(held);
        assert_eq!((ledger.is_tight(), ledger.0.bytes.get()), (false, 0));
    }
}
