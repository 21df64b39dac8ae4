//! Limits of the proxy as a whole. Those of each Gateway are in the tables.

use std::time::Duration;

/// What the process may take, and what endpoints get, in numbers and time. The time-outs are kept to within half a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections of clients at once; one Gateway gets at most half of them.
    pub connections: u32,
    /// Of a connection to an endpoint.
    pub connect_timeout: Duration,
    /// Until a service has said whether a request may go on.
    pub auth_timeout: Duration,
    /// From a request's head to its response's end, where the rule says nothing; None: no limit.
    pub request_timeout: Option<Duration>,
    /// Connections to one endpoint that a worker keeps open while no request uses them.
    pub idle_per_endpoint: usize,
    /// How long it keeps them.
    pub upstream_idle_timeout: Duration,
    /// Endpoints that a request is offered to until one accepts the connection.
    pub endpoints_tried: usize,
    /// How long clients of HTTP/1.1 may stay idle once the proxy drains: whoever asks by then is answered, and told.
    pub idle_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // 120 MB if all are idle (3 kB each).
            connections: 40_000,
            connect_timeout: Duration::from_secs(5),
            // What Envoy Gateway allows by default.
            auth_timeout: Duration::from_secs(10),
            request_timeout: None,
            // The requests that one worker has in flight to an endpoint at several thousand a second.
            idle_per_endpoint: 128,
            // Below the 60 s after which common servers (Node.js apart) close on their side.
            upstream_idle_timeout: Duration::from_secs(50),
            endpoints_tried: 3,
            // Longer than probes and scrapers wait between two requests by default (10 and 15 s), and 10 s less than a
            // proxy that drains stays: no request should be on its way when its connection is closed.
            idle_grace: Duration::from_secs(20),
        }
    }
}
