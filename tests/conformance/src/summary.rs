//! What a run came to, for people. Pure.

use std::fmt::Write as _;

use crate::catalogue::Catalogue;
use crate::events::{Outcome, Record};
use crate::report::{ProfileReport, Report, Status};
use crate::run::Finished;
use crate::verdict::{Complaint, Scope};

/// A table of the profiles asked for, what is in no profile, and everything that is wrong.
pub fn summary(
    scope: &Scope,
    catalogue: &Catalogue,
    finished: &Finished,
    complaints: &[Complaint],
) -> String {
    let mut text = String::new();
    let report = finished.report.as_ref();
    if let Scope::Profiles(names) = scope {
        profiles(&mut text, names, report);
        outside_profiles(&mut text, catalogue, &finished.record);
    }
    if complaints.is_empty() {
        let counted = finished.record.with(Outcome::Passed).count();
        let release = report.map_or_else(String::new, |report| {
            format!(" (Gateway API {}, {} channel)", report.version, report.channel)
        });
        let _ = writeln!(text, "passed; tests that ran: {counted}{release}");
    } else {
        let _ = writeln!(text, "NOT passed:");
        for complaint in complaints {
            let _ = writeln!(text, "  - {complaint}");
        }
    }
    text
}

fn profiles(text: &mut String, names: &[String], report: Option<&Report>) {
    let _ = writeln!(text, "{:14} {:>15} {:>15}  unsupported features", "profile", "core", "extended");
    for name in names {
        let reported = report.and_then(|report| report.profile(name));
        let _ = match reported {
            None => writeln!(text, "{name:14} {:>15}", "no results"),
            Some(reported) => writeln!(text, "{name:14} {}", columns(reported)),
        };
    }
    let _ = writeln!(text, "(passed/failed/skipped)");
}

fn columns(profile: &ProfileReport) -> String {
    let counts = |status: &Status| {
        let counted = status.statistics;
        format!("{}/{}/{}", counted.passed, counted.failed, counted.skipped)
    };
    let extended = profile.extended.as_ref().map_or_else(|| "-".to_owned(), counts);
    let unsupported = match &profile.extended {
        None => "all".to_owned(),
        Some(extended) if extended.unsupported_features.is_empty() => "none".to_owned(),
        Some(extended) => extended.unsupported_features.join(", "),
    };
    format!("{:>15} {extended:>15}  {unsupported}", counts(&profile.core))
}

fn outside_profiles(text: &mut String, catalogue: &Catalogue, record: &Record) {
    let count = |outcome| record.with(outcome).filter(|(test, _)| !catalogue.is_in_a_profile(test)).count();
    let (passed, failed) = (count(Outcome::Passed), count(Outcome::Failed));
    if passed + failed > 0 {
        let _ = writeln!(text, "{:14} {:>15}", "in no profile", format!("{passed}/{failed}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::catalogue;
    use crate::events::tests::record;
    use crate::report::tests::REPORT;

    fn finished() -> Finished {
        let record = record(
            r#"{"Action":"output","Test":"TestConformance/TCPBasic","Output":"\tError:\tno answer\n"}
            {"Action":"fail","Test":"TestConformance/TCPBasic"}
            {"Action":"pass","Test":"TestConformance/GatewayBasic"}
            {"Action":"pass","Test":"TestConformance/UDPBasic"}
            {"Action":"pass","Test":"TestConformance/Disallowed"}
            {"Action":"fail","Test":"TestConformance"}"#,
        );
        Finished { record, report: Some(Report::parse(REPORT).expect("a report")) }
    }

    #[test]
    fn a_summary_shows_what_is_wrong() {
        let scope = Scope::Profiles(["GATEWAY-TCP", "GATEWAY-UDP", "GATEWAY-HTTP"].map(Into::into).into());
        let complaints = [Complaint::Failed { test: "TCPBasic".into(), first_error: "no answer".into() }];
        let text = summary(&scope, &catalogue(), &finished(), &complaints);
        assert_eq!(
            text,
            "\
profile                   core        extended  unsupported features
GATEWAY-TCP              1/1/0           0/0/1  GatewayInfrastructure
GATEWAY-UDP              2/0/0               -  all
GATEWAY-HTTP        no results
(passed/failed/skipped)
in no profile              1/0
NOT passed:
  - TCPBasic failed: no answer
"
        );
    }

    #[test]
    fn a_passing_run_says_of_what() {
        let text = summary(&Scope::Test("UDPBasic".into()), &catalogue(), &finished(), &[]);
        assert_eq!(text, "passed; tests that ran: 3 (Gateway API v1.6.3, experimental channel)\n");
    }
}
