//! How long a request may take, when it is tried again, and which endpoint it goes back to.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FieldName, Path};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// From the request's head to the response's end, all tries included; then 504.
    pub request: Timeout,
    /// Of one try.
    pub backend_request: Timeout,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timeout {
    /// Whatever the proxy is set to.
    #[default]
    Default,
    /// The route says `0s`: as long as it takes.
    Never,
    After(Duration),
}

/// Further tries after the first: on connections that don't come about, on requests that were refused unprocessed, and
/// on these codes. Never on a connection that fails after the request was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    pub codes: BTreeSet<RetryCode>,
    /// Beyond the first try.
    pub attempts: NonZeroU32,
    /// Base of the growing, jittered pause between tries; None: the proxy's own.
    pub backoff: Option<Duration>,
}

/// A status code, 400 to 599 (the API's limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct RetryCode(u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no status code that a retry can be made on; use one from 400 to 599")]
pub struct RetryCodeError(u16);

/// Requests of one session go to one endpoint, as long as it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPersistence {
    pub token: SessionToken,
    pub key: SessionKey,
    /// The session ends this long after it began; None: never.
    pub absolute_timeout: Option<Duration>,
}

/// What tokens are sealed with: the same on every node and after every restart, another one for each rule, and known to
/// no client.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionKey(pub [u8; 32]);

/// What a client shows to be recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionToken {
    Cookie {
        /// A token of RFC 9110 (5.6.2), as RFC 6265 (4.1.1) wants it; its case counts.
        name: String,
        path: Path,
        lifetime: CookieLifetime,
    },
    Header(FieldName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CookieLifetime {
    /// Until the client forgets it.
    Session,
    /// Max-Age: the session's absolute time-out.
    Permanent(Duration),
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

impl RetryCode {
    pub fn new(code: u16) -> Result<Self, RetryCodeError> {
        if (400..=599).contains(&code) { Ok(Self(code)) } else { Err(RetryCodeError(code)) }
    }

    pub fn code(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for RetryCode {
    type Error = RetryCodeError;

    fn try_from(code: u16) -> Result<Self, Self::Error> {
        Self::new(code)
    }
}

impl From<RetryCode> for u16 {
    fn from(code: RetryCode) -> Self {
        code.0
    }
}
