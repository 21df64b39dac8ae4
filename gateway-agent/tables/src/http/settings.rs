//! What a Gateway's GatewayConfig says about HTTP, in effect.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PathRules;

/// How a Gateway's requests are read, and what its clients may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpSettings {
    pub paths: PathRules,
    /// Proxies in front, counted from here, whose X-Forwarded fields are believed.
    pub trusted_hops: u8,
    pub limits: HttpLimits,
}

/// What clients of a Gateway may take of one node, in numbers, bytes and time. Time-outs are kept to within half a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpLimits {
    /// Bytes of a head, its last empty line included, and of a trailer section; then 431 or 414.
    pub head_bytes: u32,
    /// Field lines of a head or trailer section; then 431.
    pub head_fields: u16,
    /// Bytes of a request's body; then 413. None: no limit.
    pub body_bytes: Option<u64>,
    /// Streams that an HTTP/2 connection may have open.
    pub streams: u32,
    /// Connections of the Gateway; more are closed as they come.
    pub connections: u32,
    /// Requests of the Gateway that are served at once; then 503.
    pub requests: u32,
    /// Requests that an endpoint is given at once; those that no endpoint takes get 503. None: no limit.
    pub endpoint_requests: Option<u32>,
    /// From a connection's or a head's first byte to the head's end; then 408.
    pub head_timeout: Duration,
    /// Between two requests of a client; then its connection is closed.
    pub idle_timeout: Duration,
    /// Without a byte in either direction while a request is served; then 504, or 408 if it is the client's turn.
    pub stall_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            // The cookies of browsers (about 4 kB each) and tokens with many claims fit.
            head_bytes: 32 << 10,
            // Three times what browsers and a chain of proxies send.
            head_fields: 100,
            // Envoy and HAProxy have none either: what is streamed costs no memory.
            body_bytes: None,
            // What RFC 9113 (6.5.2) recommends at least (100), and nginx allows (128).
            streams: 128,
            // HAProxy's process has 10,000 by common configuration; 30 MB if all are idle (3 kB each).
            connections: 10_000,
            // As many as connections: one each.
            requests: 10_000,
            endpoint_requests: None,
            // What HAProxy's documentation advises against slow heads; three lost packets in a row (RFC 6298).
            head_timeout: Duration::from_secs(10),
            // What browsers wait before they close an idle connection is 1 to 5 minutes; nginx takes 75 s.
            idle_timeout: Duration::from_secs(75),
            // Envoy's stream idle time-out: long enough for long polls.
            stall_timeout: Duration::from_mins(5),
        }
    }
}

impl HttpLimits {
    /// What holds where Gateways share an address and port, before the host is known: the less of each.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        let least = |one: Option<u64>, two: Option<u64>| one.into_iter().chain(two).min();
        let fewest = |one: Option<u32>, two: Option<u32>| one.into_iter().chain(two).min();
        Self {
            head_bytes: self.head_bytes.min(other.head_bytes),
            head_fields: self.head_fields.min(other.head_fields),
            body_bytes: least(self.body_bytes, other.body_bytes),
            streams: self.streams.min(other.streams),
            connections: self.connections.min(other.connections),
            requests: self.requests.min(other.requests),
            endpoint_requests: fewest(self.endpoint_requests, other.endpoint_requests),
            head_timeout: self.head_timeout.min(other.head_timeout),
            idle_timeout: self.idle_timeout.min(other.idle_timeout),
            stall_timeout: self.stall_timeout.min(other.stall_timeout),
        }
    }
}
