//! How long a request and each try of it may take.

use std::time::Duration;

use gateway_agent_tables::http::{Timeout, Timeouts};
use http::HeaderValue;

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

/// The field by which callers of gRPC say how long they wait.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

/// How long the caller of a gRPC method waits, by its field [`GRPC_TIMEOUT`] (gRPC over HTTP/2, "Requests"); None: it isn't
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

/// The field's value for this time, rounded down: a number of at most eight digits, and not 0.
pub fn write_grpc_timeout(left: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let (number, unit) = match left.as_micros() {
        0 => (1, 'n'),
        micros @ 1..=MOST => (micros, 'u'),
        micros if micros / 1000 <= MOST => (micros / 1000, 'm'),
        micros if micros / 1_000_000 <= MOST => (micros / 1_000_000, 'S'),
        micros => ((micros / 3_600_000_000).min(MOST), 'H'),
    };
    HeaderValue::try_from(format!("{number}{unit}")).expect("digits and a letter")
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
        for (left, value) in [
            (Duration::ZERO, "1n"),
            (Duration::from_nanos(1_999), "1u"),
            (Duration::from_micros(99_999_999), "99999999u"),
            (Duration::from_micros(100_000_999), "100000m"),
            (Duration::from_millis(100_000_999), "100000S"),
            (Duration::from_hours(30_000), "30000H"),
            (Duration::MAX, "99999999H"),
        ] {
            let written = write_grpc_timeout(left);
            assert_eq!(written, value);
            assert!(grpc_timeout(written.as_bytes()).is_some());
        }
        let budget = Budget { request: Some(Duration::from_secs(2)), attempt: None };
        let request = |deadline| budget.within(deadline).request.map(|limit| limit.as_secs());
        assert_eq!(
            [None, Some(1), Some(3)].map(|it| request(it.map(Duration::from_secs))),
            [Some(2), Some(1), Some(2)]
        );
    }
}
