//! What is told of requests.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// What is told of a listener's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpTelemetry {
    /// Requests that one line of the access log stands for; None: there are no lines.
    pub access_log: Option<NonZeroU32>,
    /// Combinations of listener, route, rule, backend and protocol that counters tell apart for the listener's Gateway.
    pub most_series: u32,
}

impl Default for HttpTelemetry {
    fn default() -> Self {
        Self { access_log: None, most_series: 1_000 }
    }
}

impl HttpTelemetry {
    /// Whether a request gets a line; `random` gives a number that is even over all of u32.
    pub fn is_logged(&self, random: impl FnOnce() -> u32) -> bool {
        match self.access_log {
            None => false,
            Some(NonZeroU32::MIN) => true,
            Some(one_in) => (u64::from(random()) * u64::from(one_in.get())) >> 32 == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_logged() {
        let one_in = |number| HttpTelemetry { access_log: NonZeroU32::new(number), ..Default::default() };
        assert!(!one_in(0).is_logged(|| 0));
        assert!(one_in(1).is_logged(|| u32::MAX));
        let step = u32::MAX / 4 + 1;
        let logged: Vec<_> = (0..4).map(|quarter| one_in(4).is_logged(|| quarter * step)).collect();
        assert_eq!(logged, [true, false, false, false]);
    }
}
