//! Large buffers of one worker, counted, so that slow peers can't make it keep more and more.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes of all large buffers until memory is tight: 256 that are full. Reads are small then, and so is what pipes take:
/// slow peers make the proxy keep little each, and peers that aren't slow only cost more calls.
const MOST: usize = 16 << 20;

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
    /// Somebody waits until memory is no longer tight.
    awaited: Cell<bool>,
}

/// A task's large buffers, which count until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: usize,
    ledger: Ledger,
}

impl Ledger {
    pub(crate) fn is_tight(&self) -> bool {
        self.0.bytes.get() > MOST
    }

    /// Whoever calls it is to be woken when memory is no longer tight.
    pub(crate) fn wait(&self) {
        self.0.awaited.set(true);
    }

    /// Whether those who wait are to be woken now: true once.
    pub(crate) fn wakes(&self) -> bool {
        self.0.awaited.get() && !self.is_tight() && self.0.awaited.replace(false)
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
        let held: Vec<_> = (0..=MOST / (2 * LARGE)).map(|_| ledger.hold(2 * LARGE)).collect();
        assert!(ledger.is_tight());
        drop(held);
        assert_eq!((ledger.is_tight(), ledger.0.bytes.get()), (false, 0));
    }
}
