//! The official report, as far as it is judged: `ConformanceReport` of gateway.networking.k8s.io/v1. Pure.

use serde::Deserialize;

use crate::ConformanceError;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    #[serde(rename = "gatewayAPIVersion")]
    pub version: String,
    #[serde(rename = "gatewayAPIChannel")]
    pub channel: String,
    /// Profiles without a single result are left out; without any, it is null.
    #[serde(default)]
    pub profiles: Option<Vec<ProfileReport>>,
}

#[derive(Debug, Default, Deserialize)]
pub struct ProfileReport {
    pub name: String,
    pub core: Status,
    /// Absent without a result of an extended feature's test.
    pub extended: Option<Status>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub statistics: Statistics,
    #[serde(default)]
    pub failed_tests: Vec<String>,
    #[serde(default)]
    pub skipped_tests: Vec<String>,
    /// Of extended features that are not claimed.
    #[serde(default)]
    pub unsupported_features: Vec<String>,
}

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statistics {
    pub passed: usize,
    pub skipped: usize,
    pub failed: usize,
}

impl Report {
    pub fn parse(yaml: &str) -> Result<Self, ConformanceError> {
        serde_saphyr::from_str(yaml).map_err(|error| ConformanceError::Report(error.to_string()))
    }

    pub fn profile(&self, name: &str) -> Option<&ProfileReport> {
        self.profiles.iter().flatten().find(|profile| profile.name == name)
    }
}

impl ProfileReport {
    pub fn parts(&self) -> impl Iterator<Item = &Status> {
        [&self.core].into_iter().chain(&self.extended)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// As suite v1.6.3 writes it.
    pub(crate) const REPORT: &str = "\
apiVersion: gateway.networking.k8s.io/v1
date: \"2026-11-21T05:00:00Z\"
gatewayAPIChannel: experimental
gatewayAPIVersion: v1.6.3
implementation:
  contact:
  - https://example.org
  organization: gateway-agent
  project: gateway-agent
  url: https://example.org
  version: 0.1.0
kind: ConformanceReport
mode: default
profiles:
- core:
    failedTests:
    - TCPBasic
    result: failure
    statistics:
      Failed: 1
      Passed: 1
      Skipped: 0
  extended:
    result: partial
    skippedTests:
    - TCPPort
    statistics:
      Failed: 0
      Passed: 0
      Skipped: 1
    supportedFeatures:
    - GatewayPort8080
    unsupportedFeatures:
    - GatewayInfrastructure
  name: GATEWAY-TCP
  summary: Core tests failed with 1 test failures.
- core:
    result: success
    statistics:
      Failed: 0
      Passed: 2
      Skipped: 0
  name: GATEWAY-UDP
  summary: Core tests succeeded.
";

    #[test]
    fn the_suites_report_is_read() {
        let report = Report::parse(REPORT).expect("a report");
        assert_eq!((report.version.as_str(), report.channel.as_str()), ("v1.6.3", "experimental"));
        let tcp = report.profile("GATEWAY-TCP").expect("a profile");
        assert_eq!(tcp.core.statistics, Statistics { passed: 1, skipped: 0, failed: 1 });
        assert_eq!(tcp.core.failed_tests, ["TCPBasic"]);
        let extended = tcp.extended.as_ref().expect("an extended part");
        assert_eq!(extended.skipped_tests, ["TCPPort"]);
        assert_eq!(extended.unsupported_features, ["GatewayInfrastructure"]);
        assert!(report.profile("GATEWAY-UDP").expect("a profile").extended.is_none());
        assert!(report.profile("GATEWAY-HTTP").is_none());
    }

    #[test]
    fn a_report_of_a_failed_set_up_has_no_profiles() {
        let yaml = "gatewayAPIChannel: standard\ngatewayAPIVersion: v1.6.3\nprofiles: null\n";
        assert!(Report::parse(yaml).expect("a report").profile("GATEWAY-TCP").is_none());
        assert!(Report::parse("profiles: 1").is_err());
    }
}
