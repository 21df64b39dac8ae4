//! External authorization: another service decides whether a request goes on.

use serde::{Deserialize, Serialize};

use super::{FieldName, Path, Upstream};

/// Asks a service before a request is forwarded. Whatever goes wrong on the way to it refuses the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalAuth {
    pub upstream: Upstream,
    pub protocol: AuthProtocol,
    /// Bytes of the body that are sent along; larger bodies are refused. 0: none.
    pub body_limit: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthProtocol {
    /// Envoy's `envoy.service.auth.v3.Authorization`.
    Grpc {
        /// Of the client's request; empty: all of them.
        request_headers: Vec<FieldName>,
    },
    /// A request with the client's method and path, which 200 allows.
    Http {
        /// Before the client's path; None: nothing.
        prefix: Option<Path>,
        /// Beyond Host, Content-Length and Authorization, which are always sent.
        request_headers: Vec<FieldName>,
        /// Copied from the answer into the request; empty: all of them but Host.
        response_headers: Vec<FieldName>,
    },
}
