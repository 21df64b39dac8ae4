//! Bursts of events that are to become one change.

use std::time::Duration;

use tokio::time::Instant;

/// After the last event, time for the rest of a burst (`git pull`, an editor's rename and write, a link with its
/// addresses) to arrive. What is right doesn't depend on it.
const QUIET: Duration = Duration::from_millis(20);
/// A burst without end is looked at this often.
const LONGEST: Duration = Duration::from_millis(500);

/// When a burst began, and when its latest event came. It outlives whoever waits for its end: an agent that answers a
/// request in between, however often, must not begin to wait anew.
#[derive(Debug, Default)]
pub struct Burst(Option<(Instant, Instant)>);

impl Burst {
    /// Another event of it.
    pub fn event(&mut self) {
        let now = Instant::now();
        self.0 = Some((self.0.map_or(now, |(begin, _)| begin), now));
    }

    /// When it will be over, if no further event comes; None: it is.
    pub fn end(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let (begin, latest) = *self.0.get_or_insert((now, now));
        Some((begin + LONGEST).min(latest + QUIET)).filter(|end| *end > now)
    }

    /// What it told has been seen to.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}
