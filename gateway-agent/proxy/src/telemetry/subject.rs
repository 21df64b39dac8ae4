//! What requests are told apart by.

use gateway_agent_tables::ListenerName;
use gateway_agent_tables::http::HttpRuleName;
use serde::{Deserialize, Serialize};

/// Requests that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// None: no listener has their host, or they were not understood.
    pub listener: Option<ListenerName>,
    pub target: Target,
    pub protocol: Protocol,
}

/// Where requests were to go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// No rule matched.
    None,
    /// To a backend of this rule, by its name; without one, the rule answers itself.
    Rule(HttpRuleName, Option<String>),
    /// To any: there are too many to tell them apart.
    Overflow,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1 or HTTP/1.0.
    Http1,
    Http2,
    /// gRPC, which HTTP/2 carries.
    Grpc,
}

impl Protocol {
    pub(crate) fn of(is_http2: bool, is_grpc: bool) -> Self {
        match (is_http2, is_grpc) {
            (_, true) => Self::Grpc,
            (true, false) => Self::Http2,
            (false, false) => Self::Http1,
        }
    }

    /// As labels have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }
}
