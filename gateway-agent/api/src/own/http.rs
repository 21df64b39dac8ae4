//! GatewayConfig's settings of HTTP and gRPC.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gateway_config::Duration;

/// How HTTP and gRPC are read, and what clients may take of a node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// How the paths of requests are normalised before they are matched. What is matched is what is forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Paths>,
    /// Proxies in front of the Gateway whose X-Forwarded fields are believed, counted from the Gateway. 0: what clients
    /// say of themselves is removed, and endpoints get the address, scheme and host of the connection. With n of them,
    /// the last n addresses of X-Forwarded-For stay, and X-Forwarded-Proto and X-Forwarded-Host if they came. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 16))]
    pub trusted_hops: Option<i32>,
    /// What clients may take of a node, in numbers and bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<HttpLimits>,
    /// What clients may take of a node, in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<HttpTimeouts>,
}

/// How paths are normalised. Whatever is set, . and .. segments are resolved, encodings of letters, digits, hyphens, dots,
/// underscores and tildes are decoded, and what would lead out of the root is refused with 400.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Paths {
    /// What becomes of %2F and %5C. Keep: they stay, unless they hide a .. segment, which is refused. Decode: %2F is a
    /// slash, and %5C stays as with Keep. Refuse: such requests get 400. Default: Keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoded_slashes: Option<EncodedSlashes>,
    /// What becomes of slashes that follow each other. Merge: they become one. Keep: they stay. Default: Merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubled_slashes: Option<DoubledSlashes>,
}

/// What becomes of %2F and %5C.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedSlashes {
    Keep,
    Decode,
    Refuse,
}

/// What becomes of slashes that follow each other.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoubledSlashes {
    Merge,
    Keep,
}

/// What clients of a Gateway may take of one node. Where Gateways share an address and port, the less of each holds for
/// what is decided before the host is known, and what is counted there counts for the first of them by name.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HttpLimits {
    /// Bytes of a request's or a response's head, and of a trailer section. Requests beyond get 431, or 414 if it is the
    /// path; responses become 502. Default: 32768.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 262_144))]
    pub head_bytes: Option<i32>,
    /// Field lines of a head or a trailer section, answered in the same way. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub head_fields: Option<i32>,
    /// Bytes of a request's body; beyond them it gets 413. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub body_bytes: Option<i64>,
    /// Streams that an HTTP/2 connection may have open. Default: 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub streams: Option<i32>,
    /// Connections of the Gateway that are open at once; more are closed as they come. Default: 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections: Option<i32>,
    /// Requests of the Gateway that are served at once; more get 503. Default: 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: Option<i32>,
    /// Requests that one node gives an endpoint at once; those that no endpoint may take get 503. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub endpoint_requests: Option<i32>,
}

/// What clients may take in time: from 100ms to 720h, written as 1h30m or 500ms, and kept to within half a second.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HttpTimeouts {
    /// From a connection's or a request's first byte to the end of its head; then 408. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Duration>,
    /// Between two requests of a client; then the connection is closed. Default: 1m15s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// Without a byte in either direction while a request is served; then 504, or 408 if it was the client's turn.
    /// Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Duration>,
}

impl Http {
    /// What holds where `class` has the rest.
    pub(super) fn over(self, class: Self) -> Self {
        let (own_paths, paths) = (self.paths.unwrap_or_default(), class.paths.unwrap_or_default());
        let (own, limits) = (self.limits.unwrap_or_default(), class.limits.unwrap_or_default());
        let (own_timeouts, timeouts) =
            (self.timeouts.unwrap_or_default(), class.timeouts.unwrap_or_default());
        Self {
            paths: Some(Paths {
                encoded_slashes: own_paths.encoded_slashes.or(paths.encoded_slashes),
                doubled_slashes: own_paths.doubled_slashes.or(paths.doubled_slashes),
            }),
            trusted_hops: self.trusted_hops.or(class.trusted_hops),
            limits: Some(HttpLimits {
                head_bytes: own.head_bytes.or(limits.head_bytes),
                head_fields: own.head_fields.or(limits.head_fields),
                body_bytes: own.body_bytes.or(limits.body_bytes),
                streams: own.streams.or(limits.streams),
                connections: own.connections.or(limits.connections),
                requests: own.requests.or(limits.requests),
                endpoint_requests: own.endpoint_requests.or(limits.endpoint_requests),
            }),
            timeouts: Some(HttpTimeouts {
                head: own_timeouts.head.or(timeouts.head),
                idle: own_timeouts.idle.or(timeouts.idle),
                stall: own_timeouts.stall.or(timeouts.stall),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_gateways_own_settings_come_first_field_by_field() {
        let http = |json| serde_json::from_value::<Http>(json).expect("settings");
        let class = http(json!({
            "paths": { "encodedSlashes": "Refuse" },
            "trustedHops": 1,
            "limits": { "headBytes": 4096, "streams": 10 },
            "timeouts": { "idle": "1m" },
        }));
        let own = http(
            json!({ "paths": { "doubledSlashes": "Keep" }, "limits": { "streams": 20 }, "timeouts": { "head": "1s" } }),
        );
        let both = http(json!({
            "paths": { "encodedSlashes": "Refuse", "doubledSlashes": "Keep" },
            "trustedHops": 1,
            "limits": { "headBytes": 4096, "streams": 20 },
            "timeouts": { "head": "1s", "idle": "1m" },
        }));
        assert_eq!(own.over(class), both);
    }
}
