//! When an object's status is written, so that many changes in a row become few writes. Pure: times in, names out.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_agent_api::ObjectRef;
use tokio::time::Instant;

/// Objects that have something to be written, or had so shortly ago.
#[derive(Debug, Default)]
pub struct Pace {
    objects: BTreeMap<ObjectRef, State>,
}

#[derive(Debug, Default)]
struct State {
    /// The first and the latest change that is not written yet.
    changed: Option<(Instant, Instant)>,
    in_flight: bool,
    /// Writes in a row, and the last of them.
    row: u32,
    written: Option<Instant>,
    /// Not before then, whatever changes.
    not_before: Option<Instant>,
    failures: u32,
}

/// A change is written when none has followed it for this long ...
const QUIET: Duration = Duration::from_millis(20);
/// ... or has waited for this long.
const LONGEST: Duration = Duration::from_secs(1);

/// Time between writes of one object: twice as long after each, so that a Gateway to which 1,000 routes are attached
/// within 10 s is written at most 10 times.
const FIRST_GAP: Duration = Duration::from_millis(100);
const LONGEST_GAP: Duration = Duration::from_secs(2);
/// A pause of this length ends the row.
const PAUSE: Duration = Duration::from_secs(10);

/// Time until a write that failed is tried again: twice as long after each.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_mins(1);

impl Pace {
    /// There is something new to be written.
    pub fn touch(&mut self, name: ObjectRef, now: Instant) {
        let state = self.objects.entry(name).or_default();
        let first = state.changed.map_or(now, |(first, _)| first);
        state.changed = Some((first, now));
    }

    /// When the next object is due.
    pub fn next(&self) -> Option<Instant> {
        self.objects.values().filter_map(State::due).min()
    }

    /// At most `most` objects that are due; each is in flight from now on.
    pub fn take(&mut self, now: Instant, most: usize) -> Vec<ObjectRef> {
        self.objects.retain(|_, state| !state.is_idle(now));
        let due = self.objects.iter_mut().filter(|(_, state)| state.due().is_some_and(|due| due <= now));
        due.take(most)
            .map(|(name, state)| {
                state.changed = None;
                state.in_flight = true;
                name.clone()
            })
            .collect()
    }

    /// Nothing had to be written after all.
    pub fn skipped(&mut self, name: &ObjectRef) {
        self.land(name);
    }

    pub fn written(&mut self, name: &ObjectRef, now: Instant) {
        let Some(state) = self.land(name) else { return };
        let goes_on = state.written.is_some_and(|last| now < last + PAUSE);
        state.row = if goes_on { state.row + 1 } else { 1 };
        state.written = Some(now);
        state.failures = 0;
        state.not_before = Some(now + doubled(FIRST_GAP, state.row - 1).min(LONGEST_GAP));
    }

    /// It has to be tried again later.
    pub fn failed(&mut self, name: &ObjectRef, now: Instant) {
        let Some(state) = self.land(name) else { return };
        state.not_before = Some(now + doubled(FIRST_RETRY, state.failures).min(LONGEST_RETRY));
        state.failures += 1;
        state.changed.get_or_insert((now, now));
    }

    /// Forgets everything that was to be written.
    pub fn clear(&mut self) {
        self.objects.retain(|_, state| state.in_flight);
        self.objects.values_mut().for_each(|state| state.changed = None);
    }

    fn land(&mut self, name: &ObjectRef) -> Option<&mut State> {
        let state = self.objects.get_mut(name)?;
        state.in_flight = false;
        Some(state)
    }
}

impl State {
    fn due(&self) -> Option<Instant> {
        let (first, latest) = self.changed.filter(|_| !self.in_flight)?;
        let settled = (latest + QUIET).min(first + LONGEST);
        Some(self.not_before.map_or(settled, |not_before| settled.max(not_before)))
    }

    /// Nothing that happened to it matters any more.
    fn is_idle(&self, now: Instant) -> bool {
        let rests = self.written.is_none_or(|written| now >= written + PAUSE);
        self.changed.is_none() && !self.in_flight && rests
    }
}

fn doubled(duration: Duration, times: u32) -> Duration {
    duration * 2u32.pow(times.min(16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_agent_api::Kind;

    fn gateway() -> ObjectRef {
        ObjectRef::new(Kind::Gateway, "infra", "edge")
    }

    /// Changes at these milliseconds; each write takes 5 ms. Gives the times at which writes begin.
    fn writes(changes: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let begin = Instant::now();
        let at = |millis: u64| begin + Duration::from_millis(millis);
        let mut pace = Pace::default();
        let mut changes = changes.into_iter().peekable();
        let mut writes = Vec::new();
        while changes.peek().is_some() || pace.next().is_some() {
            let change = changes.peek().copied().map(at);
            match (change, pace.next()) {
                (Some(change), due) if due.is_none_or(|due| change <= due) => {
                    pace.touch(gateway(), change);
                    changes.next();
                }
                (_, Some(due)) => {
                    assert_eq!(pace.take(due, 32), [gateway()]);
                    writes.push(u64::try_from((due - begin).as_millis()).unwrap());
                    pace.written(&gateway(), due + Duration::from_millis(5));
                }
                (_, None) => unreachable!("there is a change or a write"),
            }
        }
        writes
    }

    #[test]
    fn a_burst_is_one_write() {
        assert_eq!(writes([0]), [20]);
        assert_eq!(writes([0, 10, 25]), [45]);
        assert_eq!(writes([0, 40]), [20, 125]);
    }

    #[test]
    fn a_thousand_changes_are_at_most_ten_writes() {
        for gap in [1, 2, 5, 10] {
            let writes = writes((0..1000).map(|n| n * gap));
            assert!(writes.len() <= 10, "{gap} ms apart: {writes:?}");
            let last = 999 * gap;
            assert!(writes.last().is_some_and(|write| (last..last + 2500).contains(write)), "{writes:?}");
        }
        // Each of them long enough apart for a write of its own, if there were no row.
        assert!(writes((0..100).map(|n| n * 100)).len() <= 10);
    }

    #[test]
    fn changes_in_flight_are_written_afterwards() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.touch(gateway(), now);
        assert_eq!(pace.take(now + QUIET, 0), []);
        assert_eq!(pace.take(now + QUIET, 1), [gateway()]);
        pace.touch(gateway(), now + QUIET);
        assert_eq!(pace.next(), None);
        pace.written(&gateway(), now + QUIET);
        assert_eq!(pace.next(), Some(now + QUIET + FIRST_GAP));
    }

    #[test]
    fn failures_are_tried_again_ever_later() {
        let mut now = Instant::now();
        let mut pace = Pace::default();
        pace.touch(gateway(), now);
        for (failure, wait) in [200, 400, 800].into_iter().enumerate() {
            now = pace.next().unwrap();
            assert_eq!(pace.take(now, 1), [gateway()], "{failure}");
            pace.failed(&gateway(), now);
            assert_eq!(pace.next(), Some(now + Duration::from_millis(wait)));
        }
        now = pace.next().unwrap();
        pace.take(now, 1);
        pace.skipped(&gateway());
        assert_eq!(pace.next(), None);
        pace.take(now, 1);
        assert!(pace.objects.is_empty());
    }
}
