//! Figures: kept per round, printed with their spread, compared within the round, written as JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// What one round measured.
#[derive(Debug)]
struct Sample {
    case: &'static str,
    subject: &'static str,
    metric: Metric,
    value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
}

/// What a run measured, in the order in which it did.
#[derive(Debug, Default)]
pub(crate) struct Report {
    samples: Vec<Sample>,
}

/// How far a figure, or a ratio of two subjects, may go ("Must show" of the issues A and C).
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) case: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) subject: &'static str,
    /// What it is compared with; None: the figure counts as it is.
    pub(crate) baseline: Option<&'static str>,
    pub(crate) limit: Limit,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// At most this much more than the baseline, in the metric's unit.
    AtMostMore(f64),
    /// How much more than the baseline, for information.
    More,
    /// For information.
    None,
}

/// The form of the files in target/bench.
#[derive(Serialize)]
struct Row {
    case: &'static str,
    subject: &'static str,
    metric: &'static str,
    unit: &'static str,
    min: f64,
    median: f64,
    max: f64,
    rounds: usize,
}

impl Report {
    pub(crate) fn add(&mut self, case: &'static str, subject: &'static str, metric: Metric, value: f64) {
        self.samples.push(Sample { case, subject, metric, value });
    }

    /// Prints a case's figures, a line per metric and subject.
    pub(crate) fn print(&self, case: &str) {
        let mut metric = None;
        for row in self.rows().into_iter().filter(|row| row.case == case) {
            if metric != Some(row.metric) {
                metric = Some(row.metric);
                println!("\n  {case} {} ({}): min / median / max of {}", row.metric, row.unit, row.rounds);
            }
            println!(
                "    {:<16}{:>12}{:>12}{:>12}",
                row.subject,
                show(row.min),
                show(row.median),
                show(row.max)
            );
        }
    }

    /// Prints how subjects of a case compare; false if a target is missed.
    pub(crate) fn compare(&self, case: &str, targets: &[Target]) -> bool {
        let mut held = true;
        let mut heading = Some("\n  compared within each round: min / median / max");
        for target in targets.iter().filter(|target| target.case == case) {
            let Some([min, median, max]) = self.spread(target) else { continue };
            if let Some(heading) = heading.take() {
                println!("{heading}");
            }
            let (sign, verdict) = target.limit.judge(median);
            held &= verdict != Some(false);
            let word = match verdict {
                Some(true) => "holds",
                Some(false) => "MISSED",
                None => "",
            };
            println!(
                "    {:<26}{:<34}{min:>8.2}{median:>8.2}{max:>8.2}  {sign:<8}{word}",
                target.metric,
                target.comparison(),
            );
        }
        held
    }

    /// Minimum, median and maximum of a target's figure, ratio or difference.
    fn spread(&self, target: &Target) -> Option<[f64; 3]> {
        let subject = self.values(target.case, target.subject, target.metric);
        let Some(baseline) = target.baseline else { return spread(subject.collect()) };
        let baseline = self.values(target.case, baseline, target.metric);
        let compared: Vec<f64> = subject
            .zip(baseline)
            .map(|(s, b)| if target.limit.is_difference() { s - b } else { s / b })
            .collect();
        spread(compared)
    }

    fn values(&self, case: &str, subject: &str, metric: &str) -> impl Iterator<Item = f64> {
        self.samples
            .iter()
            .filter(move |s| s.case == case && s.subject == subject && s.metric.name == metric)
            .map(|s| s.value)
    }

    /// Rows by case and metric, subjects in the order in which they came first.
    fn rows(&self) -> Vec<Row> {
        let mut keys: Vec<(&str, Metric, &str)> = Vec::new();
        for s in &self.samples {
            if !keys.contains(&(s.case, s.metric, s.subject)) {
                keys.push((s.case, s.metric, s.subject));
            }
        }
        let place = |key: &(&str, Metric, &str)| {
            let case = keys.iter().position(|k| k.0 == key.0);
            (case, keys.iter().position(|k| k.0 == key.0 && k.1 == key.1))
        };
        let mut sorted = keys.clone();
        sorted.sort_by_key(place);
        sorted
            .into_iter()
            .filter_map(|(case, metric, subject)| {
                let values: Vec<f64> = self.values(case, subject, metric.name).collect();
                let rounds = values.len();
                let [min, median, max] = spread(values)?;
                Some(Row { case, subject, metric: metric.name, unit: metric.unit, min, median, max, rounds })
            })
            .collect()
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.rows())?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

impl Target {
    fn comparison(&self) -> String {
        match self.baseline {
            Some(baseline) => format!("{} {} {baseline}", self.subject, self.limit.operator()),
            None => self.subject.to_owned(),
        }
    }
}

impl Limit {
    fn operator(self) -> &'static str {
        if self.is_difference() { "-" } else { "/" }
    }

    fn is_difference(self) -> bool {
        matches!(self, Self::AtMostMore(_) | Self::More)
    }

    /// The limit in words, and whether a value keeps it.
    fn judge(self, value: f64) -> (String, Option<bool>) {
        match self {
            Self::AtLeast(limit) => (format!(">= {limit}"), Some(value >= limit)),
            Self::AtMost(limit) | Self::AtMostMore(limit) => (format!("<= {limit}"), Some(value <= limit)),
            Self::More | Self::None => (String::new(), None),
        }
    }
}

fn spread(mut values: Vec<f64>) -> Option<[f64; 3]> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len() {
        0 => return None,
        n if n % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    };
    Some([values[0], median, values[values.len() - 1]])
}

/// Three significant digits are more than any figure here deserves.
fn show(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Counts stay far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEED: Metric = Metric { name: "speed", unit: "m/s" };

    fn report() -> Report {
        let mut report = Report::default();
        for (ours, theirs) in [(3.0, 1.0), (10.0, 10.0), (4.0, 2.0)] {
            report.add("race", "ours", SPEED, ours);
            report.add("race", "theirs", SPEED, theirs);
        }
        report
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let target = |limit| Target {
            case: "race",
            metric: "speed",
            subject: "ours",
            baseline: Some("theirs"),
            limit,
        };
        assert_eq!(report().spread(&target(Limit::None)), Some([1.0, 2.0, 3.0]));
        assert_eq!(report().spread(&target(Limit::AtMostMore(1.0))), Some([0.0, 2.0, 2.0]));
        assert_eq!(report().spread(&target(Limit::More)), Some([0.0, 2.0, 2.0]));
        let alone = Target { baseline: None, ..target(Limit::AtMost(4.0)) };
        assert_eq!(report().spread(&alone), Some([3.0, 4.0, 10.0]));
        assert!(report().compare("race", &[target(Limit::AtLeast(2.0)), alone]));
        assert!(!report().compare("race", &[target(Limit::AtLeast(2.1))]));
        assert!(!report().compare("race", &[target(Limit::AtMostMore(1.0))]));
    }

    #[test]
    fn rows_have_minimum_median_and_maximum() {
        let rows = report().rows();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].min, rows[0].median, rows[0].max, rows[0].rounds), (3.0, 4.0, 10.0, 3));
        assert_eq!(spread(vec![2.0, 1.0]), Some([1.0, 1.5, 2.0]));
        assert_eq!(spread(Vec::new()), None);
    }
}
