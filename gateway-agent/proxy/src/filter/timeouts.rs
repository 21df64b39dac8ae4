//! How long a request and each try of it may take.

use std::time::Duration;

use gateway_agent_tables::http::{Timeout, Timeouts};

/// The limits that hold for one request; None: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// From the head to the response's end, all tries included.
    pub request: Option<Duration>,
    /// Of one try.
    pub attempt: Option<Duration>,
}

impl Budget {
    /// Of a rule, with the proxy's own limit where the rule has none.
    pub fn of(timeouts: Timeouts, default: Option<Duration>) -> Self {
        let request = match timeouts.request {
            Timeout::Default => default,
            Timeout::Never => None,
            Timeout::After(limit) => Some(limit),
        };
        let attempt = match timeouts.backend_request {
            Timeout::Default | Timeout::Never => None,
            Timeout::After(limit) => Some(limit),
        };
        Self { request, attempt }
    }
}
