//! Whether a run shows what it was asked to show. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use crate::catalogue::{Catalogue, Profile};
use crate::events::{Outcome, Record};
use crate::report::{ProfileReport, Report};
use crate::{ConformanceError, events};

/// What a run is about.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Every test of these profiles, by name, and whatever else the claimed features make run.
    Profiles(Vec<String>),
    /// This test alone.
    Test(String),
}

/// What may be missing, and must, by profile. Nothing is expected of profiles that aren't there.
#[derive(Clone, Debug, Default)]
pub struct Expected(BTreeMap<String, Missing>);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Missing {
    /// Extended features.
    unsupported: BTreeSet<String>,
    /// Tests that are run all the same.
    failing: BTreeSet<String>,
}

/// Something that a passing run does not have.
#[derive(Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The suite failed outside of its tests, or a test that is in no profile did.
    SuiteFailed {
        first_error: String,
    },
    CutShort {
        running: Vec<String>,
    },
    NoReport {
        profile: String,
    },
    Failed {
        test: String,
        first_error: String,
    },
    /// Though it was expected not to.
    Passed {
        test: String,
    },
    Skipped {
        profile: String,
        tests: Vec<String>,
    },
    Features {
        profile: String,
        unsupported: Vec<String>,
        unexpectedly_supported: Vec<String>,
    },
    TooFew {
        profile: String,
        ran: usize,
        of: usize,
        missing: Vec<String>,
    },
    DidNotRun {
        test: String,
    },
}

impl Expected {
    /// Reads YAML such as `GATEWAY-TCP: {unsupported: [GatewayPort8080], failing: [TCPRouteBasic]}`. An error for names
    /// that the suite does not have.
    pub fn parse(yaml: &str, catalogue: &Catalogue) -> Result<Self, ConformanceError> {
        let expected: BTreeMap<String, Missing> =
            serde_saphyr::from_str(yaml).map_err(|error| ConformanceError::Expected(error.to_string()))?;
        for (name, missing) in &expected {
            let profile = catalogue.profile(name)?;
            if let Some(feature) = missing.unsupported.difference(&profile.extended).next() {
                return Err(ConformanceError::Expected(format!(
                    "{feature} is no extended feature of {name}"
                )));
            }
            let tests: BTreeSet<&str> =
                catalogue.tests_of(profile, &missing.unsupported).map(|test| test.name.as_str()).collect();
            if let Some(test) = missing.failing.iter().find(|test| !tests.contains(test.as_str())) {
                return Err(ConformanceError::Expected(format!("{test} is no test of {name} that runs")));
            }
        }
        Ok(Self(expected))
    }

    /// Every feature of these profiles that is not expected to be missing.
    pub fn claims(
        &self,
        profiles: &[String],
        catalogue: &Catalogue,
    ) -> Result<Vec<String>, ConformanceError> {
        let mut claims = BTreeSet::new();
        for name in profiles {
            let profile = catalogue.profile(name)?;
            let unsupported = self.unsupported(name);
            claims.extend(profile.core.iter().chain(profile.extended.difference(&unsupported)).cloned());
        }
        Ok(claims.into_iter().collect())
    }

    fn unsupported(&self, profile: &str) -> BTreeSet<String> {
        self.0.get(profile).map(|missing| missing.unsupported.clone()).unwrap_or_default()
    }

    /// The tests that are expected to fail in one of these profiles.
    fn failing(&self, scope: &Scope) -> BTreeSet<&str> {
        let Scope::Profiles(profiles) = scope else { return BTreeSet::new() };
        let missing = profiles.iter().filter_map(|profile| self.0.get(profile));
        missing.flat_map(|missing| &missing.failing).map(String::as_str).collect()
    }
}

/// Everything that is wrong with a run; nothing means that it passed. `report` is None if the suite wrote none.
pub fn judge(
    scope: &Scope,
    expected: &Expected,
    catalogue: &Catalogue,
    record: &Record,
    report: Option<&Report>,
) -> Result<Vec<Complaint>, ConformanceError> {
    let mut complaints = of_the_suite(record, &expected.failing(scope));
    match scope {
        Scope::Test(test) => {
            let outcome = record.tests.get(test).and_then(|test| test.outcome);
            if !matches!(outcome, Some(Outcome::Passed | Outcome::Failed)) {
                complaints.push(Complaint::DidNotRun { test: test.clone() });
            }
        }
        Scope::Profiles(profiles) => {
            for name in profiles {
                let profile = catalogue.profile(name)?;
                let Some(reported) = report.and_then(|report| report.profile(name)) else {
                    complaints.push(Complaint::NoReport { profile: name.clone() });
                    continue;
                };
                let unsupported = expected.unsupported(name);
                complaints.extend(of_features(profile, reported, &unsupported));
                complaints.extend(of_counts(catalogue, profile, reported, record, &unsupported));
            }
        }
    }
    Ok(complaints)
}

fn of_the_suite(record: &Record, failing: &BTreeSet<&str>) -> Vec<Complaint> {
    let failed = record.with(Outcome::Failed).filter(|(test, _)| !failing.contains(test));
    let mut complaints: Vec<_> = failed
        .map(|(test, run)| Complaint::Failed { test: test.to_owned(), first_error: run.first_error() })
        .collect();
    let passed = record.with(Outcome::Passed).filter(|(test, _)| failing.contains(test));
    complaints.extend(passed.map(|(test, _)| Complaint::Passed { test: test.to_owned() }));
    let running: Vec<String> = record.unfinished().map(str::to_owned).collect();
    if record.passed.is_none() || !running.is_empty() {
        complaints.push(Complaint::CutShort { running });
    } else if record.passed == Some(false) && record.with(Outcome::Failed).next().is_none() {
        complaints.push(Complaint::SuiteFailed { first_error: events::first_error(&record.frame) });
    }
    complaints
}

fn of_features(
    profile: &Profile,
    reported: &ProfileReport,
    expected: &BTreeSet<String>,
) -> Option<Complaint> {
    let unsupported: BTreeSet<String> = match &reported.extended {
        Some(extended) => extended.unsupported_features.iter().cloned().collect(),
        // None was claimed, or none that has a test.
        None => profile.extended.clone(),
    };
    (unsupported != *expected).then(|| Complaint::Features {
        profile: profile.name.clone(),
        unsupported: unsupported.difference(expected).cloned().collect(),
        unexpectedly_supported: expected.difference(&unsupported).cloned().collect(),
    })
}

fn of_counts(
    catalogue: &Catalogue,
    profile: &Profile,
    reported: &ProfileReport,
    record: &Record,
    unsupported: &BTreeSet<String>,
) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let skipped: Vec<String> = reported.parts().flat_map(|part| part.skipped_tests.clone()).collect();
    if !skipped.is_empty() {
        complaints.push(Complaint::Skipped { profile: profile.name.clone(), tests: skipped });
    }
    // Tests that failed ran; they are complained of by name. So are skipped ones, above.
    let ran = reported.parts().map(|part| part.statistics.passed + part.statistics.failed).sum();
    let tests: Vec<&str> = catalogue.tests_of(profile, unsupported).map(|test| test.name.as_str()).collect();
    let has_run = |test: &&str| {
        let outcome = record.tests.get(*test).and_then(|test| test.outcome);
        matches!(outcome, Some(Outcome::Passed | Outcome::Failed))
    };
    let missing: Vec<String> = tests.iter().filter(|test| !has_run(test)).map(|&test| test.into()).collect();
    if ran < tests.len() || !missing.is_empty() {
        complaints.push(Complaint::TooFew { profile: profile.name.clone(), ran, of: tests.len(), missing });
    }
    complaints
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SuiteFailed { first_error } => write!(f, "the suite failed: {first_error}"),
            Self::CutShort { running } if running.is_empty() => {
                f.write_str("the suite ended before its report; the end of output.txt says why")
            }
            Self::CutShort { running } => {
                write!(f, "the suite was cut short before the end of {}", running.join(", "))
            }
            Self::NoReport { profile } => write!(f, "the report has no results for {profile}"),
            Self::Failed { test, first_error } => write!(f, "{test} failed: {first_error}"),
            Self::Passed { test } => write!(f, "{test} passed, which was not expected"),
            Self::Skipped { profile, tests } => write!(f, "{profile}: skipped {}", tests.join(", ")),
            Self::Features { profile, unsupported, unexpectedly_supported } => {
                write!(f, "{profile}:")?;
                if !unsupported.is_empty() {
                    write!(f, " unsupported, which was not expected: {}.", unsupported.join(", "))?;
                }
                if !unexpectedly_supported.is_empty() {
                    write!(f, " supported, which was not expected: {}.", unexpectedly_supported.join(", "))?;
                }
                Ok(())
            }
            Self::TooFew { profile, ran, of, missing } => {
                write!(f, "{profile}: {ran} of the suite's {of} tests ran; missing: {}", missing.join(", "))
            }
            Self::DidNotRun { test } => write!(f, "{test} did not run"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::catalogue;
    use crate::events::tests::record;

    fn ends(tests: &[(&str, &str)], suite: &str) -> Record {
        let line = |(test, end): &(&str, &str)| {
            format!("{{\"Action\":\"{end}\",\"Test\":\"TestConformance/{test}\"}}\n")
        };
        let tests: String = tests.iter().map(line).collect();
        record(&format!("{tests}{{\"Action\":\"{suite}\",\"Test\":\"TestConformance\"}}\n"))
    }

    /// A report of GATEWAY-TCP with so many core and extended tests passed.
    fn report(core: usize, extended: Option<usize>, unsupported: &[&str], skipped: &[&str]) -> Report {
        let status = |passed| format!("{{statistics: {{Passed: {passed}, Skipped: 0, Failed: 0}}");
        let core = format!("{}, skippedTests: [{}]}}", status(core), skipped.join(", "));
        let extended = extended.map(|passed| {
            format!(", extended: {}, unsupportedFeatures: [{}]}}", status(passed), unsupported.join(", "))
        });
        let profile = format!("{{name: GATEWAY-TCP, core: {core}{}}}", extended.unwrap_or_default());
        Report::parse(&format!(
            "{{gatewayAPIVersion: v1, gatewayAPIChannel: standard, profiles: [{profile}]}}"
        ))
        .expect("a report")
    }

    fn verdict(expected: &str, record: &Record, report: Option<&Report>) -> Vec<String> {
        let catalogue = catalogue();
        let expected = Expected::parse(expected, &catalogue).expect("expectations");
        let scope = Scope::Profiles(vec!["GATEWAY-TCP".into()]);
        let complaints = judge(&scope, &expected, &catalogue, record, report).expect("known names");
        complaints.iter().map(ToString::to_string).collect()
    }

    const CORE: [(&str, &str); 2] = [("GatewayBasic", "pass"), ("TCPBasic", "pass")];
    const ALL: [(&str, &str); 3] = [("GatewayBasic", "pass"), ("TCPBasic", "pass"), ("TCPPort", "pass")];
    const PORT: &str = "GATEWAY-TCP: {unsupported: [GatewayPort8080]}";
    const BASIC: &str = "GATEWAY-TCP: {failing: [TCPBasic]}";

    #[test]
    fn runs_that_show_it_all_pass() {
        let failed = [("GatewayBasic", "pass"), ("TCPBasic", "fail"), ("TCPPort", "pass")];
        for (expected, record, report) in [
            (BASIC, ends(&failed, "fail"), report(2, Some(1), &[], &[])),
            ("{}", ends(&ALL, "pass"), report(2, Some(1), &[], &[])),
            (PORT, ends(&CORE, "pass"), report(2, None, &[], &[])),
        ] {
            assert_eq!(verdict(expected, &record, Some(&report)), [""; 0], "{expected}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let failed = [("GatewayBasic", "pass"), ("TCPBasic", "fail"), ("TCPPort", "pass")];
        let outside =
            [("GatewayBasic", "pass"), ("TCPBasic", "pass"), ("TCPPort", "pass"), ("Disallowed", "fail")];
        let skipped = [("GatewayBasic", "pass"), ("TCPBasic", "skip"), ("TCPPort", "pass")];
        let whole = || Some(report(2, Some(1), &[], &[]));
        for (case, expected, record, report, complaints) in [
            ("a failed test", "{}", ends(&failed, "fail"), whole(), &["TCPBasic failed: no output"][..]),
            (
                "a failed test of no profile",
                "{}",
                ends(&outside, "fail"),
                whole(),
                &["Disallowed failed: no output"],
            ),
            (
                "a test that passes by now",
                BASIC,
                ends(&ALL, "pass"),
                whole(),
                &["TCPBasic passed, which was not expected"],
            ),
            ("a failed clean-up", "{}", ends(&ALL, "fail"), whole(), &["the suite failed: no output"]),
            ("no report", "{}", ends(&ALL, "pass"), None, &["the report has no results for GATEWAY-TCP"]),
            (
                "a skipped test",
                "{}",
                ends(&skipped, "pass"),
                Some(report(1, Some(1), &[], &["TCPBasic"])),
                &[
                    "GATEWAY-TCP: skipped TCPBasic",
                    "GATEWAY-TCP: 2 of the suite's 3 tests ran; missing: TCPBasic",
                ],
            ),
            (
                "a feature that was given up",
                "{}",
                ends(&CORE, "pass"),
                Some(report(2, None, &[], &[])),
                &[
                    "GATEWAY-TCP: unsupported, which was not expected: GatewayPort8080.",
                    "GATEWAY-TCP: 2 of the suite's 3 tests ran; missing: TCPPort",
                ],
            ),
            (
                "a feature that came",
                PORT,
                ends(&ALL, "pass"),
                whole(),
                &["GATEWAY-TCP: supported, which was not expected: GatewayPort8080."],
            ),
            (
                "a test that the suite lost",
                "{}",
                ends(&[("GatewayBasic", "pass"), ("TCPPort", "pass")], "pass"),
                Some(report(1, Some(1), &[], &[])),
                &["GATEWAY-TCP: 2 of the suite's 3 tests ran; missing: TCPBasic"],
            ),
        ] {
            assert_eq!(verdict(expected, &record, report.as_ref()), complaints, "{case}");
        }
    }

    #[test]
    fn a_run_that_was_cut_short_fails() {
        let running =
            record("{\"Action\":\"run\",\"Test\":\"TestConformance/TCPBasic\"}\n{\"Action\":\"fail\"}\n");
        for (record, complaint) in [
            (Record::default(), "the suite ended before its report; the end of output.txt says why"),
            (running, "the suite was cut short before the end of TCPBasic"),
        ] {
            assert_eq!(verdict("{}", &record, None)[0], complaint);
        }
    }

    #[test]
    fn one_test_must_run_and_pass() {
        let catalogue = catalogue();
        for (tests, suite, complaints) in [
            (&[("TCPBasic", "pass"), ("TCPPort", "skip")][..], "pass", &[][..]),
            (&[("TCPBasic", "fail")], "fail", &["TCPBasic failed: no output"]),
            (&[("TCPBasic", "skip")], "pass", &["TCPBasic did not run"]),
            (&[], "pass", &["TCPBasic did not run"]),
        ] {
            let scope = Scope::Test("TCPBasic".into());
            let found = judge(&scope, &Expected::default(), &catalogue, &ends(tests, suite), None);
            let found: Vec<_> = found.expect("known names").iter().map(ToString::to_string).collect();
            assert_eq!(found, complaints, "{tests:?}");
        }
    }

    #[test]
    fn what_is_not_expected_to_be_missing_is_claimed() {
        let catalogue = catalogue();
        let profiles = ["GATEWAY-TCP".to_owned()];
        for (yaml, claims) in
            [("{}", &["Gateway", "GatewayPort8080", "TCPRoute"][..]), (PORT, &["Gateway", "TCPRoute"])]
        {
            let expected = Expected::parse(yaml, &catalogue).expect(yaml);
            assert_eq!(expected.claims(&profiles, &catalogue).expect("known names"), claims, "{yaml}");
        }
    }

    #[test]
    fn expectations_name_what_exists() {
        for (yaml, error) in [
            ("GATEWAY-TCP: {unsupported: [TCPRoute]}", "TCPRoute is no extended feature of GATEWAY-TCP"),
            ("GATEWAY-TCP: {failing: [UDPBasic]}", "UDPBasic is no test of GATEWAY-TCP that runs"),
            ("GATEWAY-FTP: {}", "GATEWAY-FTP"),
            ("- GATEWAY-TCP", "expected"),
        ] {
            let found = Expected::parse(yaml, &catalogue()).expect_err(yaml).to_string();
            assert!(found.contains(error), "{yaml}: {found}");
        }
    }
}
