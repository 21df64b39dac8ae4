//! Answers of the proxy itself.

use std::borrow::Cow;
use std::sync::Arc;

use gateway_agent_tables::http::{HttpRefusal, HttpRule};
use http::StatusCode;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::auth::Denial;
use crate::client::{AnswerHead, Client};
use crate::date;
use crate::filter::{CorsAnswer, change_response};
use crate::h1::{Ending, Fault, Fields, Framing};
use crate::telemetry::GrpcStatus;
use crate::worker::Buffers;

/// Bytes of a service's words in grpc-message: little of the 8 KiB that grpc-java reads of a head.
const LONGEST_MESSAGE: usize = 1 << 10;

/// All but what gRPC calls Percent-Byte-Unencoded: space to `~`, without `%`.
const IN_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// Why the proxy answers a request itself. Append-only: counters are indexed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The rule or the backend redirects.
    Redirect,
    /// A browser asked what it may send.
    Preflight,
    /// The same, from an origin that may send nothing.
    OriginRefused,
    /// The request is malformed.
    Malformed,
    /// No listener has the host, or no route the request.
    NoRoute,
    /// The rule or its backend is invalid, or speaks what the proxy doesn't.
    InvalidRoute,
    /// The Service has no ready endpoint.
    NoEndpoint,
    /// No endpoint accepted the connection.
    Unreachable,
    /// The endpoint closed, or what it sent is no answer.
    BadAnswer,
    /// The rule's time is over, or the endpoint was silent for too long.
    Late,
    /// The client didn't finish its request in time.
    ClientLate,
    /// The Gateway has as many requests as it may have.
    GatewayBusy,
    /// Every endpoint has as many requests as it may have.
    EndpointsBusy,
    /// The service that decides about requests said no; the answer is its own.
    Denied,
    /// That service has no endpoint, or none that accepts connections and answers.
    AuthUnreachable,
    /// It took too long.
    AuthLate,
    /// What it sent is no decision.
    AuthMalformed,
}

impl Reason {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 17] = [
        Self::Redirect,
        Self::Preflight,
        Self::OriginRefused,
        Self::Malformed,
        Self::NoRoute,
        Self::InvalidRoute,
        Self::NoEndpoint,
        Self::Unreachable,
        Self::BadAnswer,
        Self::Late,
        Self::ClientLate,
        Self::GatewayBusy,
        Self::EndpointsBusy,
        Self::Denied,
        Self::AuthUnreachable,
        Self::AuthLate,
        Self::AuthMalformed,
    ];

    /// The code, where the reason alone decides it.
    fn status(self) -> StatusCode {
        match self {
            Self::Redirect => StatusCode::FOUND,
            // 200, not 204: some browsers took only that.
            Self::Preflight => StatusCode::OK,
            Self::OriginRefused | Self::Denied => StatusCode::FORBIDDEN,
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::InvalidRoute | Self::AuthUnreachable | Self::AuthLate | Self::AuthMalformed => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::NoEndpoint | Self::Unreachable | Self::GatewayBusy | Self::EndpointsBusy => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::BadAnswer => StatusCode::BAD_GATEWAY,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientLate => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

/// An answer that no endpoint gives.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) reason: Reason,
    status: StatusCode,
    location: Option<String>,
    cors: Option<CorsAnswer>,
    /// The words of the service that refused the request.
    denial: Option<Box<Denial>>,
    /// The request calls a gRPC method, whose callers look for a status of their own.
    is_grpc: bool,
    /// What the endpoint meant, if it is known better than by the reason.
    grpc_status: Option<u8>,
    /// Whose filters change the answer.
    rule: Option<Arc<HttpRule>>,
    /// Index of the backend that the request fell to, if its rule chose one.
    pub(crate) backend: Option<usize>,
}

impl Reply {
    pub(crate) fn new(reason: Reason) -> Self {
        let status = reason.status();
        Self {
            reason,
            status,
            location: None,
            cors: None,
            denial: None,
            is_grpc: false,
            grpc_status: None,
            rule: None,
            backend: None,
        }
    }

    pub(crate) fn fault(fault: Fault) -> Self {
        Self { status: fault.status(), ..Self::new(Reason::Malformed) }
    }

    pub(crate) fn redirect(status: StatusCode, location: String) -> Self {
        Self { status, location: Some(location), ..Self::new(Reason::Redirect) }
    }

    pub(crate) fn preflight(answer: CorsAnswer) -> Self {
        Self { cors: Some(answer), ..Self::new(Reason::Preflight) }
    }

    pub(crate) fn denied(denial: Denial) -> Self {
        Self { status: denial.status, denial: Some(Box::new(denial)), ..Self::new(Reason::Denied) }
    }

    pub(crate) fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    #[must_use]
    pub(crate) fn with_rule(self, rule: &Arc<HttpRule>) -> Self {
        Self { rule: Some(Arc::clone(rule)), ..self }
    }

    /// Which origins may read the answer; an answer to a preflight request says it itself.
    #[must_use]
    pub(crate) fn with_cors(self, cors: Option<&CorsAnswer>) -> Self {
        Self { cors: self.cors.or_else(|| cors.cloned()), ..self }
    }

    #[must_use]
    pub(crate) fn with_backend(self, backend: usize) -> Self {
        Self { backend: Some(backend), ..self }
    }

    #[must_use]
    pub(crate) fn with_grpc_status(self, grpc_status: Option<u8>) -> Self {
        Self { grpc_status, ..self }
    }

    #[must_use]
    pub(crate) fn with_grpc(self, is_grpc: bool) -> Self {
        Self { is_grpc, ..self }
    }

    /// The code that the client gets.
    pub(crate) fn status(&self) -> StatusCode {
        if self.is_grpc { StatusCode::OK } else { self.status }
    }

    /// None: the request calls nothing.
    pub(crate) fn grpc_status(&self) -> Option<GrpcStatus> {
        self.is_grpc.then(|| GrpcStatus::of(self.number_of_grpc()))
    }

    pub(crate) fn give(
        &self,
        client: &mut impl Client,
        buffers: &Buffers,
        to_head: bool,
        ending: Ending<'_>,
    ) {
        let mut fields = Fields::default();
        if let Some(location) = &self.location {
            fields.push("Location", location.as_bytes());
        }
        if self.is_grpc {
            return self.give_grpc(client, buffers, ending);
        }
        let explains = self.status.is_client_error() || self.status.is_server_error();
        let body = match &self.denial {
            Some(denial) => {
                for (name, value) in &denial.fields {
                    fields.push(name.as_str(), value.as_bytes());
                }
                &denial.body[..]
            }
            None if explains => {
                fields.push("Content-Type", b"text/plain");
                self.status.canonical_reason().unwrap_or_default().as_bytes()
            }
            None => b"",
        };
        if let Some(rule) = &self.rule {
            change_response(&mut fields, rule, None, self.cors.as_ref());
        }
        give_dated(client, buffers, self.status, fields, body, to_head, ending);
    }

    /// Status and message are fields of the head, since there is no body (gRPC over HTTP/2, "Responses").
    fn give_grpc(&self, client: &mut impl Client, buffers: &Buffers, ending: Ending<'_>) {
        let mut fields = Fields::default();
        let status = self.number_of_grpc().to_string();
        for (name, value) in self.denial.iter().flat_map(|denial| &denial.fields) {
            if name.as_str() != "content-type" {
                fields.push(name.as_str(), value.as_bytes());
            }
        }
        if let Some(rule) = &self.rule {
            change_response(&mut fields, rule, None, self.cors.as_ref());
        }
        let message = self.grpc_message();
        for (name, value) in [
            ("content-type", &b"application/grpc"[..]),
            ("grpc-status", status.as_bytes()),
            ("grpc-message", message.as_bytes()),
        ] {
            fields.remove(name);
            fields.push(name, value);
        }
        give_dated(client, buffers, StatusCode::OK, fields, b"", false, ending);
    }
}

impl Reply {
    /// What the service says that refuses the request, if it is short, or else what the status means; encoded as in gRPC
    /// over HTTP/2, "Responses".
    fn grpc_message(&self) -> Cow<'_, str> {
        let own = self.status.canonical_reason().unwrap_or_default();
        let said = self.denial.as_ref().map(|denial| &denial.body[..]).filter(|body| !body.is_empty());
        let said =
            said.filter(|body| body.len() <= LONGEST_MESSAGE).and_then(|body| str::from_utf8(body).ok());
        utf8_percent_encode(said.unwrap_or(own), IN_MESSAGE).into()
    }

    /// The status that gRPC has for it (gRPC, "Status codes and their use").
    fn number_of_grpc(&self) -> u8 {
        if let Some(status) = self.grpc_status {
            return status;
        }
        match self.reason {
            Reason::Malformed => match self.status.as_u16() {
                // RESOURCE_EXHAUSTED: a body or a head that is too large.
                413 | 414 | 431 => 8,
                // INTERNAL
                _ => 13,
            },
            // UNIMPLEMENTED
            Reason::NoRoute => 12,
            // DEADLINE_EXCEEDED
            Reason::Late | Reason::ClientLate => 4,
            // PERMISSION_DENIED
            Reason::OriginRefused => 7,
            Reason::Denied => of_http(self.status),
            _ => HttpRefusal::GRPC_STATUS,
        }
    }
}

/// With the time, unless the service that refuses has said one.
fn give_dated(
    client: &mut impl Client,
    buffers: &Buffers,
    status: StatusCode,
    fields: Fields<'_>,
    body: &[u8],
    to_head: bool,
    ending: Ending<'_>,
) {
    let date = date::now();
    let mut fields = fields;
    if fields.first("Date").is_none() {
        fields.push("Date", &date);
    }
    let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let (framing, would_be) = match body.len() as u64 {
        _ if bodiless => (Framing::None, None),
        length if to_head => (Framing::None, Some(length)),
        length => (Framing::Length(length), None),
    };
    let line = (status.as_u16(), status.canonical_reason().unwrap_or_default());
    let head = AnswerHead { line, fields: &fields, framing, would_be, ending };
    client.reply(buffers, head, if framing == Framing::None { b"" } else { body });
}

/// The status of gRPC that callers take a code of HTTP for (gRPC, "HTTP to gRPC Status Code Mapping").
fn of_http(status: StatusCode) -> u8 {
    match status.as_u16() {
        // INTERNAL
        400 => 13,
        // UNAUTHENTICATED
        401 => 16,
        // PERMISSION_DENIED
        403 => 7,
        // UNIMPLEMENTED
        404 => 12,
        // UNAVAILABLE
        429 | 502..=504 => 14,
        // UNKNOWN
        _ => 2,
    }
}
