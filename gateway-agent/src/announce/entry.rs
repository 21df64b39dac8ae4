//! How an agent that has just started comes among the others: it announces nothing before it has heard who else is there.

use std::time::Duration;

use tokio::time::Instant;

use super::liveness::PERIOD;

/// It hears first who else is there, unless all have answered. Where others become known by their reports, which they
/// write when they are ready, it waits for the first of them as long.
const LISTENING: Duration = Duration::from_secs(5);

/// A probe each way, and one that is lost.
const INTRODUCTION: Duration = PERIOD.saturating_mul(2);

#[derive(Debug)]
pub struct Entry {
    stage: Stage,
    started: Instant,
    /// An agent of this node has announced until now, and this one goes on with it.
    is_successor: bool,
    /// Others become known one by one.
    others_appear: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It hears who else is there.
    Listening,
    /// The others hear that it is willing, and it hears who of them is.
    Introduced(Instant),
    Done,
}

impl Entry {
    pub fn new(now: Instant, is_successor: bool, others_appear: bool) -> Self {
        Self { stage: Stage::Listening, started: now, is_successor, others_appear }
    }

    pub fn is_successor(&self) -> bool {
        self.is_successor
    }

    /// Whether it may ask for addresses: to have them go nowhere while it listens would silence them.
    pub fn may_ask(&self) -> bool {
        self.stage != Stage::Listening || self.is_successor
    }

    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Time has passed, or somebody has answered: so many of so many others live.
    pub fn advance(&mut self, now: Instant, live: usize, known: usize) {
        let has_met_all = live >= known && (known > 0 || !self.others_appear);
        self.stage = match self.stage {
            Stage::Listening if has_met_all && (known == 0 || self.is_successor) => Stage::Done,
            Stage::Listening if has_met_all || now - self.started >= LISTENING => Stage::Introduced(now),
            Stage::Introduced(at) if now - at >= INTRODUCTION => Stage::Done,
            stage => stage,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long until it takes part, if so many live of those known from the first moment on.
    fn entry(is_successor: bool, others_appear: bool, live: usize, known: usize) -> Duration {
        let begun = Instant::now();
        let mut entry = Entry::new(begun, is_successor, others_appear);
        let periods = (0..).map(|n| begun + PERIOD * n);
        let end = periods.into_iter().find(|now| {
            entry.advance(*now, live, known);
            entry.is_done()
        });
        end.expect("an end") - begun
    }

    #[test]
    fn who_has_met_all_takes_part_when_they_know() {
        for (is_successor, others_appear, live, known, expected) in [
            // With files: alone, and with another.
            (false, false, 0, 0, Duration::ZERO),
            (false, false, 1, 1, INTRODUCTION),
            // In a cluster nobody is alone from the first moment on.
            (false, true, 0, 0, LISTENING + INTRODUCTION),
            (false, true, 2, 2, INTRODUCTION),
            // Somebody is dead.
            (false, true, 1, 2, LISTENING + INTRODUCTION),
            (true, true, 1, 2, LISTENING + INTRODUCTION),
            // The others know what this node has.
            (true, true, 2, 2, Duration::ZERO),
        ] {
            let took = entry(is_successor, others_appear, live, known);
            assert_eq!(took, expected, "{is_successor} {others_appear} {live} of {known}");
        }
    }

    #[test]
    fn a_first_start_waits_for_the_first_report_of_another() {
        let begun = Instant::now();
        let mut entry = Entry::new(begun, false, true);
        entry.advance(begun + Duration::from_secs(2), 0, 0);
        assert!(!entry.may_ask(), "somebody may be about to report");
        entry.advance(begun + Duration::from_secs(3), 0, 1);
        assert!(!entry.may_ask(), "it hasn't answered");
        entry.advance(begun + Duration::from_secs(4), 1, 1);
        assert!(entry.may_ask() && !entry.is_done());
        entry.advance(begun + Duration::from_secs(4) + INTRODUCTION, 1, 1);
        assert!(entry.is_done());
        // Who dies or comes later changes nothing.
        entry.advance(begun + Duration::from_secs(6), 0, 2);
        assert!(entry.is_done());
    }

    #[test]
    fn a_successor_may_ask_at_once() {
        assert!(Entry::new(Instant::now(), true, true).may_ask());
    }
}
