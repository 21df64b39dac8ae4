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
pub(crate) struct Ledger(Rc<Cell<usize>>);

/// A task's large buffers, which count until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: usize,
    ledger: Ledger,
}

impl Ledger {
    pub(crate) fn is_tight(&self) -> bool {
        self.0.get() > MOST
    }

    /// None: they are small, and don't count.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Held> {
        (bytes > LARGE).then(|| {
            self.0.set(self.0.get() + bytes);
            Held { bytes, ledger: self.clone() }
        })
    }
}

impl Held {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ledger.0.set(self.ledger.0.get() - self.bytes);
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
        assert_eq!((ledger.is_tight(), ledger.0.get()), (false, 0));
    }
}
