//! Limits of the proxy.

use std::time::Duration;

use crate::h1::HeadLimits;

/// What clients and endpoints may take, in bytes and time. The time-outs are kept to within half a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub heads: HeadLimits,
    /// From a connection's or a head's first byte to the head's end; then 408.
    pub head_timeout: Duration,
    /// Between two requests of a client.
    pub idle_timeout: Duration,
    /// Of a connection to an endpoint.
    pub connect_timeout: Duration,
    /// Without a byte in either direction while a request is served; then 504, or 408 if it is the client's turn.
    pub stall_timeout: Duration,
    /// From a request's head to its response's end, where the rule says nothing; None: no limit.
    pub request_timeout: Option<Duration>,
    /// Connections to one endpoint that a worker keeps open while no request uses them.
    pub idle_per_endpoint: usize,
    /// How long it keeps them.
    pub upstream_idle_timeout: Duration,
    /// Endpoints that a request is offered to until one accepts the connection.
    pub endpoints_tried: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heads: HeadLimits::default(),
            // What HAProxy's documentation advises against slow heads.
            head_timeout: Duration::from_secs(10),
            // What browsers wait before they close an idle connection is 1 to 5 minutes; nginx takes 75 s.
            idle_timeout: Duration::from_secs(75),
            connect_timeout: Duration::from_secs(5),
            // Envoy's stream idle time-out: long enough for long polls.
            stall_timeout: Duration::from_mins(5),
            request_timeout: None,
            // The requests that one worker has in flight to an endpoint at several thousand a second.
            idle_per_endpoint: 128,
            // Below the 60 s after which common servers (Node.js apart) close on their side.
            upstream_idle_timeout: Duration::from_secs(50),
            endpoints_tried: 3,
        }
    }
}
