//! When the machine was away: a virtual processor is taken from its machine whenever the host has other work, and what is
//! under way then waits. Whoever waits blames the program that is measured, unless somebody has watched the processor.
//!
//! A probe does, on each processor: it sleeps to fixed times, and when it wakes late, the processor wasn't there. It goes
//! before all that is measured, so a slow program can't hide: one that keeps its processor for 5 ms doesn't delay the
//! probe. Long work within a kernel that isn't preempted does, as others' programs on the same processor have it; a
//! subject's own would show as more time away than the other subjects'.

use std::sync::{Arc, Weak};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nix::sys::prctl::set_timerslack;

use crate::cpu::{self, Cpus};

/// Between a probe's looks: what it overlooks is shorter than half of the half millisecond that a proxy may take (issue
/// E). A look takes 25 to 30 us of a virtual processor, about a tenth of it, whoever is measured.
const STEP: Duration = Duration::from_micros(250);

/// More than a look is late on a processor that is there: 99 of 100 are 20 to 100 us late on virtual ones.
const LATE: Duration = Duration::from_micros(100);

/// When at least one of the processors was away.
#[derive(Debug)]
pub(crate) struct Absences {
    /// In order, and apart.
    spans: Vec<Span>,
    /// Of the time that was watched.
    pub(crate) share: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: Instant,
    to: Instant,
}

/// Does this work while all these processors are watched.
pub(crate) fn watch<T>(cpus: &Cpus, work: impl FnOnce() -> Result<T>) -> Result<(T, Absences)> {
    thread::scope(|scope| {
        let begun = Instant::now();
        let at_work = Arc::new(());
        let probe = |index| {
            let at_work = Arc::downgrade(&at_work);
            scope.spawn(move || {
                cpus.pin(index)?;
                cpu::go_first()?;
                // Sleeping ends up to 50 us late otherwise (prctl(2)).
                set_timerslack(1)?;
                Ok(look(begun, &at_work))
            })
        };
        let probes: Vec<_> = (0..cpus.count()).map(probe).collect();
        let done = work();
        drop(at_work);
        let watched = begun.elapsed();
        let join = |probe: ScopedJoinHandle<'_, Result<_>>| {
            probe.join().unwrap_or_else(|_| Err(anyhow!("a probe panicked")))
        };
        let spans = probes.into_iter().map(join).collect::<Result<Vec<_>>>()?;
        Ok((done?, Absences::of(spans.concat(), watched)))
    })
}

/// Spans in which the processor of this thread was away while the work lasted.
fn look(begun: Instant, at_work: &Weak<()>) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut due = begun;
    while at_work.strong_count() > 0 {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let woken = Instant::now();
        if woken > due + LATE {
            spans.push(Span { from: due, to: woken });
        }
        while due <= woken {
            due += STEP;
        }
    }
    spans
}

impl Absences {
    fn of(spans: Vec<Span>, watched: Duration) -> Self {
        let spans = union(spans);
        let away: Duration = spans.iter().map(|span| span.to - span.from).sum();
        Self { spans, share: away.as_secs_f64() / watched.as_secs_f64() }
    }

    /// Whether what was under way between these moments may have waited for the machine.
    pub(crate) fn touch(&self, from: Instant, to: Instant) -> bool {
        let next = self.spans.partition_point(|span| span.to < from);
        self.spans.get(next).is_some_and(|span| span.from <= to)
    }
}

/// In order, and apart.
fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| span.from);
    let mut apart: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match apart.last_mut() {
            Some(last) if span.from <= last.to => last.to = last.to.max(span.to),
            _ => apart.push(span),
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans in milliseconds since some moment, watched for a second.
    fn absences(begun: Instant, spans: &[(u64, u64)]) -> Absences {
        let at = |ms| begun + Duration::from_millis(ms);
        let spans = spans.iter().map(|&(from, to)| Span { from: at(from), to: at(to) }).collect();
        Absences::of(spans, Duration::from_secs(1))
    }

    #[test]
    fn what_overlaps_an_absence_is_touched() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        // Two processors' spans, some within or across each other's.
        let absences = absences(begun, &[(110, 120), (300, 310), (100, 115), (302, 304), (310, 312)]);
        let table = [
            (90, 99, false),
            (90, 100, true),
            (99, 500, true),
            (105, 106, true),
            (117, 118, true),
            (120, 130, true),
            (121, 299, false),
            (121, 300, true),
            (308, 309, true),
            (312, 313, true),
            (313, 999, false),
        ];
        for (from, to, expected) in table {
            assert_eq!(absences.touch(at(from), at(to)), expected, "{from} to {to} ms");
        }
        assert!(!Absences::of(Vec::new(), Duration::from_secs(1)).touch(at(0), at(1000)));
    }

    #[test]
    fn processors_that_are_away_at_once_count_once() {
        for (spans, share) in [
            (&[][..], 0.0),
            (&[(0, 10)], 0.01),
            (&[(0, 10), (0, 10)], 0.01),
            (&[(5, 25), (0, 10)], 0.025),
            (&[(0, 10), (15, 20)], 0.015),
        ] {
            let absences = absences(Instant::now(), spans);
            assert!((absences.share - share).abs() < 1e-9, "{spans:?}: {}", absences.share);
        }
    }
}
