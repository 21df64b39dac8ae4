//! Where requests are forwarded to, and what refuses them.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::{Filter, Redirect};
use crate::{Endpoint, ObjectName};

/// The weighted backends of a rule: at most 16 (the API's limit). With all weights 0 it refuses everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<HttpBackend>", into = "Vec<HttpBackend>")]
pub struct HttpSplit(Vec<HttpBackend>);

/// One backendRef of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpBackend {
    /// As the route names it, for people: `namespace/service:port`.
    pub name: String,
    /// Its share of the rule's sum of weights; at most 1,000,000 (the API's limit).
    pub weight: u32,
    /// After those of the rule, in the order that the route has them.
    pub filters: Vec<Filter>,
    pub target: HttpTarget,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpTarget {
    Forward(Upstream),
    Redirect(Redirect),
    /// The reference or a filter is invalid: its share is refused.
    Refuse(HttpRefusal),
}

/// A Service's port and how it is spoken to: what connections are pooled by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Upstream {
    pub service: HttpService,
    pub protocol: BackendProtocol,
    /// By TLS, as `TlsTables::backends` has it for this Service and port.
    pub encrypted: bool,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HttpService {
    pub service: ObjectName,
    /// The Service's own port, not the endpoints'.
    pub port: NonZeroU16,
}

/// The endpoints of a Service's port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpEndpoints {
    /// Those that any request may be given.
    pub ready: BTreeSet<Endpoint>,
    /// Those that terminate and still serve: only the sessions that they have go on there.
    pub draining: BTreeSet<Endpoint>,
}

/// What an endpoint speaks, over TLS or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BackendProtocol {
    /// HTTP/1.1; with TLS, HTTP/2 where the endpoint chooses it. Upgrades pass, WebSocket among them.
    Http1,
    /// HTTP/1.1 even where HTTP/2 could be had, since requests may be upgraded to WebSocket.
    WebSocket,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Why requests are refused by configuration: with 500, or UNAVAILABLE to gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HttpRefusal {
    /// The rule names no backend and doesn't redirect.
    NoBackend,
    /// The reference is invalid: no such Service or port, kind unknown, no grant, protocol not spoken.
    InvalidBackend,
    /// A part of the rule or of the backend could not be understood, a filter for instance, and must not be skipped.
    InvalidRule,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpSplitError {
    #[error("a rule has {0} backends; the API allows 1 to {max}", max = HttpSplit::MAX_BACKENDS)]
    Backends(usize),
    #[error("backend {name} has weight {weight}; the API allows 0 to {max}", max = HttpBackend::MAX_WEIGHT)]
    Weight { name: String, weight: u32 },
}

impl HttpSplit {
    /// maxItems of backendRefs in the HTTPRoute and GRPCRoute CRDs.
    pub const MAX_BACKENDS: usize = 16;

    pub fn new(backends: Vec<HttpBackend>) -> Result<Self, HttpSplitError> {
        if backends.is_empty() || backends.len() > Self::MAX_BACKENDS {
            return Err(HttpSplitError::Backends(backends.len()));
        }
        if let Some(b) = backends.iter().find(|b| b.weight > HttpBackend::MAX_WEIGHT) {
            return Err(HttpSplitError::Weight { name: b.name.clone(), weight: b.weight });
        }
        Ok(Self(backends))
    }

    pub fn backends(&self) -> &[HttpBackend] {
        &self.0
    }

    /// Below 2^25.
    pub fn total_weight(&self) -> u32 {
        self.0.iter().map(|backend| backend.weight).sum()
    }

    /// The backend whose share holds a number that is even over all of u32; None: all weights are 0.
    pub fn pick(&self, random: u32) -> Option<&HttpBackend> {
        // Even over 0..total_weight: the upper half of the product.
        let place = (u64::from(random) * u64::from(self.total_weight())) >> 32;
        let mut end = 0;
        self.0.iter().find(|backend| {
            end += u64::from(backend.weight);
            place < end
        })
    }
}

impl HttpBackend {
    /// maximum of weight in the CRDs.
    pub const MAX_WEIGHT: u32 = 1_000_000;
}

impl HttpRefusal {
    /// The answer to requests that aren't gRPC.
    pub const STATUS: http::StatusCode = http::StatusCode::INTERNAL_SERVER_ERROR;
    /// The answer to gRPC requests: UNAVAILABLE.
    pub const GRPC_STATUS: u8 = 14;
}

impl TryFrom<Vec<HttpBackend>> for HttpSplit {
    type Error = HttpSplitError;

    fn try_from(backends: Vec<HttpBackend>) -> Result<Self, Self::Error> {
        Self::new(backends)
    }
}

impl From<HttpSplit> for Vec<HttpBackend> {
    fn from(split: HttpSplit) -> Self {
        split.0
    }
}

impl fmt::Display for HttpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.service, self.protocol, if self.encrypted { " over tls" } else { "" })
    }
}

impl fmt::Display for BackendProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "http/1.1",
            Self::WebSocket => "websocket",
            Self::Http2 => "http/2",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(weights: &[u32]) -> HttpSplit {
        let backends = weights.iter().map(|&weight| HttpBackend {
            name: weight.to_string(),
            weight,
            filters: Vec::new(),
            target: HttpTarget::Refuse(HttpRefusal::InvalidBackend),
        });
        HttpSplit::new(backends.collect()).expect("a split")
    }

    #[test]
    fn shares_are_those_of_the_weights() {
        let split = split(&[1, 0, 3]);
        let step = u32::MAX / 4 + 1;
        let picked: Vec<_> =
            (0..4).map(|quarter| split.pick(quarter * step).expect("a backend").weight).collect();
        assert_eq!(picked, [1, 3, 3, 3]);
        assert_eq!(split.pick(u32::MAX).map(|backend| backend.weight), Some(3));
    }

    #[test]
    fn weights_of_zero_pick_nothing() {
        assert_eq!(split(&[0, 0]).pick(7), None);
    }

    #[test]
    fn the_apis_limits_hold() {
        assert_eq!(HttpSplit::new(Vec::new()), Err(HttpSplitError::Backends(0)));
        let backend = |weight| HttpBackend {
            name: "b".to_owned(),
            weight,
            filters: Vec::new(),
            target: HttpTarget::Refuse(HttpRefusal::InvalidBackend),
        };
        assert_eq!(HttpSplit::new(vec![backend(1); 17]), Err(HttpSplitError::Backends(17)));
        assert!(HttpSplit::new(vec![backend(1_000_001)]).is_err());
    }
}
