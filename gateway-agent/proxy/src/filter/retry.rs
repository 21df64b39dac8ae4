//! When a request is tried again.

use std::time::Duration;

use gateway_agent_tables::http::{Retry, RetryCode};
use http::Method;

/// The base of the pause between tries where the route names none: what Envoy and the API's examples use.
const BACKOFF: Duration = Duration::from_millis(25);

/// The pause doubles with each try, at most so often.
const MAX_DOUBLINGS: u32 = 10;

/// The tries of one request.
#[derive(Clone, Copy, Debug)]
pub struct Attempts<'a> {
    policy: Option<&'a Retry>,
    made: u32,
}

impl<'a> Attempts<'a> {
    pub fn new(policy: Option<&'a Retry>) -> Self {
        Self { policy, made: 0 }
    }

    /// Whether a response with this code is tried again, and after which pause.
    pub fn after_code(&mut self, code: u16, random: u32) -> Option<Duration> {
        let code = RetryCode::new(code).ok()?;
        self.policy.filter(|policy| policy.codes.contains(&code))?;
        self.after_failure(random)
    }

    /// Whether a try that brought no response is made again, and after which pause: doubled each time, and up to
    /// half as long again, so that clients that failed together don't come back together. Never less than the route says,
    /// which release 1.6 of the API demands.
    pub fn after_failure(&mut self, random: u32) -> Option<Duration> {
        let policy = self.policy.filter(|policy| self.made < policy.attempts.get())?;
        let base = policy.backoff.unwrap_or(BACKOFF);
        let pause = base.saturating_mul(1 << self.made.min(MAX_DOUBLINGS));
        self.made += 1;
        Some(pause.mul_f64(1.0 + 0.5 * f64::from(random) / f64::from(u32::MAX)))
    }
}

/// Whether a request may reach endpoints twice, since the second time changes nothing (RFC 9110, 9.2.2).
pub fn may_repeat(method: &Method) -> bool {
    method.is_idempotent()
}
