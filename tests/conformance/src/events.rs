//! What `go test` reports while it runs, as `test2json` writes it: one JSON object per line. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// The suite is one Go test with a subtest for each of its own.
const SUITE: &str = "TestConformance";

/// What is known of a run so far.
#[derive(Debug, Default)]
pub struct Record {
    /// By the suite's name for it.
    pub tests: BTreeMap<String, TestRecord>,
    /// What belongs to no test: set-up, clean-up, and a panic's last words.
    pub frame: String,
    /// Whether the suite as a whole ended well; None before its end.
    pub passed: Option<bool>,
}

#[derive(Debug, Default)]
pub struct TestRecord {
    /// None before its end.
    pub outcome: Option<Outcome>,
    /// With that of its subtests.
    pub output: String,
    pub took: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// See `go doc test2json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Event {
    action: String,
    #[serde(default)]
    test: String,
    #[serde(default)]
    pub(crate) output: String,
    /// Seconds.
    #[serde(default)]
    elapsed: f64,
}

impl Event {
    /// What is not from test2json is the program's own complaint that it can't start.
    pub(crate) fn parse(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_else(|_| Self {
            action: "output".into(),
            test: String::new(),
            output: format!("{line}\n"),
            elapsed: 0.0,
        })
    }
}

impl Record {
    /// Takes up an event and returns the test that ended with it, if one did.
    pub(crate) fn add(&mut self, event: &Event) -> Option<(&str, &TestRecord)> {
        let mut parts = event.test.split('/').skip_while(|part| *part == SUITE);
        let test = parts.next().filter(|test| !test.is_empty());
        let Some(test) = test else {
            self.add_frame(event);
            return None;
        };
        self.add_test(test, parts.next().is_some(), event)
    }

    /// Tests that began and never ended: the run was cut short.
    pub fn unfinished(&self) -> impl Iterator<Item = &str> {
        self.tests.iter().filter(|(_, test)| test.outcome.is_none()).map(|(name, _)| name.as_str())
    }

    pub fn with(&self, outcome: Outcome) -> impl Iterator<Item = (&str, &TestRecord)> {
        let tests = self.tests.iter().filter(move |(_, test)| test.outcome == Some(outcome));
        tests.map(|(name, test)| (name.as_str(), test))
    }

    fn add_frame(&mut self, event: &Event) {
        match (event.action.as_str(), outcome(&event.action)) {
            ("output", _) => self.frame.push_str(&event.output),
            // The program's own end comes after the suite's and may only make it worse.
            (_, Some(outcome)) => {
                self.passed = Some(self.passed != Some(false) && outcome == Outcome::Passed);
            }
            _ => {}
        }
    }

    fn add_test(&mut self, name: &str, of_subtest: bool, event: &Event) -> Option<(&str, &TestRecord)> {
        let test = self.tests.entry(name.to_owned()).or_default();
        test.output.push_str(&event.output);
        let outcome = outcome(&event.action).filter(|_| !of_subtest)?;
        test.outcome = Some(outcome);
        test.took = Duration::try_from_secs_f64(event.elapsed).unwrap_or_default();
        self.tests.get_key_value(name).map(|(name, test)| (name.as_str(), test))
    }
}

impl TestRecord {
    /// The first thing that went wrong, in one line.
    pub fn first_error(&self) -> String {
        first_error(&self.output)
    }
}

/// Finds what testify's assertions print (`Error:`, then `Messages:`), or else the last line that was logged before
/// the innermost test was given up.
pub(crate) fn first_error(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    if let Some(at) = lines.iter().position(|line| label(line) == Some("Error:")) {
        // Each assertion's block begins anew with its trace.
        let block =
            lines[at..].iter().take_while(|line| label(line).is_some_and(|label| label != "Error Trace:"));
        let block: Vec<&str> = block.copied().collect();
        let parts = ["Error:", "Messages:"].map(|label| labelled(&block, label));
        return parts.into_iter().flatten().collect::<Vec<_>>().join(": ");
    }
    let spoken = lines.iter().map(|line| line.trim()).take_while(|line| !line.starts_with("--- FAIL"));
    let last = spoken.filter(|line| !line.is_empty() && !line.starts_with("===")).last();
    last.map_or_else(|| "no output".to_owned(), |line| without_place(line).to_owned())
}

/// The second column of testify's table: a label, or nothing on lines that continue the one above.
fn label(line: &str) -> Option<&str> {
    let (indent, columns) = line.split_once('\t')?;
    let (label, _) = columns.split_once('\t')?;
    indent.trim().is_empty().then_some(label.trim())
}

/// The text behind a label and on the lines that continue it.
fn labelled(block: &[&str], wanted: &str) -> Option<String> {
    let at = block.iter().position(|line| label(line) == Some(wanted))?;
    let rest = block[at + 1..].iter().take_while(|line| label(line) == Some(""));
    let text = |line: &&&str| line.rsplit('\t').next().unwrap_or_default().trim().to_owned();
    Some([&block[at]].into_iter().chain(rest).map(|line| text(&line)).collect::<Vec<_>>().join(" "))
}

/// `helpers.go:12: 2026-11-21T05:00:00Z: text` without where and when it was said.
fn without_place(line: &str) -> &str {
    match line.split_once(": ") {
        Some((front, text)) if front.contains(".go:") || is_time(front) => without_place(text),
        _ => line,
    }
}

/// In the form of RFC 3339, as the suite writes it.
fn is_time(text: &str) -> bool {
    text.ends_with('Z') && text.contains('T') && text.starts_with(|c: char| c.is_ascii_digit())
}

fn outcome(action: &str) -> Option<Outcome> {
    match action {
        "pass" => Some(Outcome::Passed),
        "fail" => Some(Outcome::Failed),
        "skip" => Some(Outcome::Skipped),
        _ => None,
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(lines: &str) -> Record {
        let mut record = Record::default();
        for line in lines.lines() {
            record.add(&Event::parse(line));
        }
        record
    }

    #[test]
    fn outcomes_are_those_of_the_suites_own_tests() {
        let record = record(
            r#"{"Action":"start"}
            {"Action":"run","Test":"TestConformance"}
            {"Action":"output","Test":"TestConformance","Output":"    conformance.go:1: set-up\n"}
            {"Action":"run","Test":"TestConformance/A"}
            {"Action":"output","Test":"TestConformance/A/B","Output":"inner\n"}
            {"Action":"fail","Test":"TestConformance/A/B","Elapsed":1.5}
            {"Action":"fail","Test":"TestConformance/A","Elapsed":2}
            {"Action":"pass","Test":"TestConformance/C","Elapsed":0.25}
            {"Action":"skip","Test":"TestConformance/D"}
            {"Action":"run","Test":"TestConformance/E"}
            {"Action":"fail","Test":"TestConformance"}
            {"Action":"fail"}"#,
        );
        let outcomes: Vec<_> = record
            .tests
            .iter()
            .map(|(name, test)| (name.as_str(), test.outcome, test.took.as_millis()))
            .collect();
        assert_eq!(
            outcomes,
            [
                ("A", Some(Outcome::Failed), 2000),
                ("C", Some(Outcome::Passed), 250),
                ("D", Some(Outcome::Skipped), 0),
                ("E", None, 0)
            ]
        );
        assert_eq!(record.tests["A"].output, "inner\n");
        assert_eq!(record.frame, "    conformance.go:1: set-up\n");
        assert_eq!(record.passed, Some(false));
        assert_eq!(record.unfinished().collect::<Vec<_>>(), ["E"]);
    }

    #[test]
    fn the_suite_passes_only_whole() {
        for (ends, passed) in [
            (&["pass", "pass"][..], Some(true)),
            (&["fail", "pass"], Some(false)),
            (&["pass", "fail"], Some(false)),
            (&[], None),
        ] {
            let lines = ends.iter().map(|end| format!("{{\"Action\":\"{end}\"}}\n"));
            assert_eq!(record(&lines.collect::<String>()).passed, passed, "{ends:?}");
        }
    }

    #[test]
    fn what_no_test_said_is_kept() {
        assert_eq!(record("flag provided but not defined: -x").frame, "flag provided but not defined: -x\n");
    }

    #[test]
    fn errors_fit_a_line() {
        let testify = "
    helpers.go:129: 2026-11-21T05:00:00Z: waiting
    httproute.go:53: 
        \tError Trace:\t/x/http.go:12
        \t            \t\t\t\t/x/http.go:99
        \tError:      \tReceived unexpected error:
        \t            \tcontext deadline exceeded
        \tTest:       \tTestConformance/A/B
        \tMessages:   \terror waiting for Gateway
--- FAIL: TestConformance/A/B (1.00s)
        \tError:      \tlater
";
        let no_message = "
        \tError Trace:\t/x/http.go:12
        \tError:      \tCondition never satisfied
        \tTest:       \tTestConformance/A
";
        let plain = "
=== RUN   TestConformance/A
    helpers.go:12: earlier
    helpers.go:13: 2026-11-21T05:00:00.123Z: backend infra-backend-v2 answered, not infra-backend-v1
    --- FAIL: TestConformance/A (1.00s)
";
        for (output, error) in [
            (testify, "Received unexpected error: context deadline exceeded: error waiting for Gateway"),
            (no_message, "Condition never satisfied"),
            (plain, "backend infra-backend-v2 answered, not infra-backend-v1"),
            ("", "no output"),
        ] {
            assert_eq!(first_error(output), error);
        }
    }
}
