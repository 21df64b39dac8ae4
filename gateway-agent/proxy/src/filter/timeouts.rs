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

    /// The same, but no longer than the client waits.
    #[must_use]
    pub fn within(self, deadline: Option<Duration>) -> Self {
        Self { request: self.request.into_iter().chain(deadline).min(), ..self }
    }
}

/// How long the caller of a gRPC method waits, by its field `grpc-timeout` (gRPC over HTTP/2, "Requests"); None: it isn't
/// one, and then counts for nothing.
pub fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_hours(number),
        b'M' => Duration::from_mins(number),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_wait_as_they_say() {
        for (value, limit) in [
            ("1H", Some(Duration::from_hours(1))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("0n", Some(Duration::ZERO)),
            ("123456789S", None),
            ("S", None),
            ("1", None),
            ("-1S", None),
            ("", None),
        ] {
            assert_eq!(grpc_timeout(value.as_bytes()), limit, "{value}");
        }
        let budget = Budget { request: Some(Duration::from_secs(2)), attempt: None };
        let request = |deadline| budget.within(deadline).request.map(|limit| limit.as_secs());
        assert_eq!(
            [None, Some(1), Some(3)].map(|it| request(it.map(Duration::from_secs))),
            [Some(2), Some(1), Some(2)]
        );
    }
}
