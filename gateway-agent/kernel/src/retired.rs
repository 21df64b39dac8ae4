//! What nothing leads to any more, while programs that began before may still read it.

/// Things that wait until those programs have finished.
#[derive(Debug)]
pub(crate) struct Retired<T> {
    /// Since the last wait began.
    fresh: Vec<T>,
    /// Free when the wait that is under way is over.
    waiting: Vec<T>,
}

impl<T> Retired<T> {
    /// Nothing may lead to it any more.
    pub(crate) fn push(&mut self, thing: T) {
        self.fresh.push(thing);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.waiting.is_empty()
    }

    /// A wait begins now, also for all that is here. False: there is nothing to wait for.
    pub(crate) fn begin(&mut self) -> bool {
        self.waiting.append(&mut self.fresh);
        !self.waiting.is_empty()
    }

    /// What was here when the wait began that is over now.
    pub(crate) fn release(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.waiting).into_iter()
    }
}

impl<T> Default for Retired<T> {
    fn default() -> Self {
        Self { fresh: Vec::new(), waiting: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_during_a_wait_has_to_wait_for_the_next() {
        let mut retired = Retired::default();
        assert!(!retired.begin());
        retired.push(1);
        assert!(retired.begin());
        retired.push(2);
        assert_eq!(retired.release().collect::<Vec<_>>(), [1]);
        assert_eq!((retired.release().count(), retired.is_empty()), (0, false));
        assert!(retired.begin());
        assert_eq!(retired.release().collect::<Vec<_>>(), [2]);
        assert!(retired.is_empty());
    }
}
