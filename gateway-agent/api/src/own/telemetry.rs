//! What is told of requests, as GatewayConfig has it.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is told of requests.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// A line of JSON for each request, on the proxy's standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// Combinations of listener, route, rule, backend and protocol that a node's metrics tell apart for one Gateway;
    /// further requests are counted together, with the label value overflow. Of a Gateway's own GatewayConfig this does
    /// not count. Default: 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_000))]
    pub max_series: Option<i32>,
}

/// Lines about requests.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    /// Of which requests there are lines: of None, of All, or of those Sampled by chance, one in sampleOneIn.
    /// Default: None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AccessLogMode>,
    /// Requests that one line stands for, if mode is Sampled. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub sample_one_in: Option<i32>,
}

/// Of which requests there are lines.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogMode {
    None,
    All,
    Sampled,
}

/// By default: what a glance at a busy Gateway needs.
const SAMPLE_ONE_IN: i32 = 100;

/// By default: three busy Gateways fill a page of metrics.
const MAX_SERIES: i32 = 1_000;

impl Telemetry {
    /// Gateways share a node's page of metrics, so none may enlarge its part.
    pub(super) fn over(self, class: Self) -> Self {
        Self { access_log: self.access_log.or(class.access_log), max_series: class.max_series }
    }

    /// The same settings with all of their defaults, for people.
    #[must_use]
    pub fn in_full(&self) -> Self {
        let log = self.access_log.clone().unwrap_or_default();
        Self {
            access_log: Some(AccessLog {
                mode: log.mode.or(Some(AccessLogMode::None)),
                sample_one_in: log.sample_one_in.or(Some(SAMPLE_ONE_IN)),
            }),
            max_series: self.max_series.or(Some(MAX_SERIES)),
        }
    }

    /// Requests that one line of the access log stands for, in effect; None: there are no lines.
    pub fn access_log(&self) -> Option<NonZeroU32> {
        let log = self.access_log.as_ref()?;
        match log.mode? {
            AccessLogMode::None => None,
            AccessLogMode::All => Some(NonZeroU32::MIN),
            AccessLogMode::Sampled => {
                let one_in = log.sample_one_in.unwrap_or(SAMPLE_ONE_IN);
                Some(u32::try_from(one_in).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN))
            }
        }
    }

    /// Subjects that metrics tell apart for one Gateway, in effect.
    pub fn max_series(&self) -> u32 {
        u32::try_from(self.max_series.unwrap_or(MAX_SERIES)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_stand_for_requests() {
        for (log, requests) in [
            (json!({}), None),
            (json!({ "mode": "None", "sampleOneIn": 5 }), None),
            (json!({ "mode": "All", "sampleOneIn": 5 }), Some(1)),
            (json!({ "mode": "Sampled", "sampleOneIn": 5 }), Some(5)),
            (json!({ "mode": "Sampled" }), Some(100)),
        ] {
            let spec: Telemetry = serde_json::from_value(json!({ "accessLog": log })).expect("a spec");
            for spec in [spec.in_full(), spec] {
                assert_eq!(spec.access_log().map(NonZeroU32::get), requests, "{log}");
                assert_eq!(spec.max_series(), 1_000);
            }
        }
    }
}
