//! Why a message is refused.

use gateway_agent_tables::http::PathFault;
use http::StatusCode;

/// What is wrong with a message. Append-only: counters are indexed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    #[error("a line ends in LF without CR")]
    BareLf,
    #[error("a CR without LF")]
    BareCr,
    #[error("the request line is not `method target HTTP/1.1`")]
    RequestLine,
    #[error("the request line is longer than a head may be")]
    RequestLineSize,
    #[error("the version is not HTTP/1.0 or HTTP/1.1")]
    Version,
    #[error("CONNECT, which only forward proxies serve")]
    Connect,
    #[error(
        "the request target has a form that its method must not have, or characters that URIs don't have"
    )]
    Target,
    #[error("an HTTP/1.1 request without Host")]
    HostMissing,
    #[error("more than one Host")]
    HostRepeated,
    #[error("the host is no name or address with an optional port")]
    Host,
    #[error("a field name that is no token, or white space before its colon")]
    FieldName,
    #[error("a field value with control characters")]
    FieldValue,
    #[error("a field continued on a second line")]
    Folded,
    #[error("more bytes than a head may have")]
    HeadSize,
    #[error("more fields than a head may have")]
    FieldCount,
    #[error("Content-Length is no number, or there is more than one")]
    ContentLength,
    #[error("both Transfer-Encoding and Content-Length")]
    LengthAndEncoding,
    #[error("Transfer-Encoding that doesn't end in chunked, has it twice, or comes with HTTP/1.0")]
    Encoding,
    #[error("a transfer coding other than chunked")]
    UnknownEncoding,
    #[error("an expectation other than 100-continue")]
    Expectation,
    #[error("a chunk's size is no hexadecimal number, or too large")]
    ChunkSize,
    #[error("a chunk's extension has control characters, or is too long")]
    ChunkExtension,
    #[error("a chunk's data doesn't end where its size says")]
    ChunkEnd,
    #[error("a trailer section that is too long or has faulty fields")]
    Trailers,
    #[error("the status line is not `HTTP/1.1 code reason`")]
    StatusLine,
    #[error("101 Switching Protocols, which nobody asked for")]
    Upgrade,
    #[error("a path that leaves the root or hides how it does, or whose encoding is wrong or refused")]
    Path,
    #[error("a body with more bytes than the Gateway takes")]
    BodySize,
    #[error("neither HTTP/1 nor HTTP/2")]
    Protocol,
    #[error("more interim responses than anybody needs")]
    Interims,
}

impl Fault {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 30] = [
        Self::BareLf,
        Self::BareCr,
        Self::RequestLine,
        Self::RequestLineSize,
        Self::Version,
        Self::Connect,
        Self::Target,
        Self::HostMissing,
        Self::HostRepeated,
        Self::Host,
        Self::FieldName,
        Self::FieldValue,
        Self::Folded,
        Self::HeadSize,
        Self::FieldCount,
        Self::ContentLength,
        Self::LengthAndEncoding,
        Self::Encoding,
        Self::UnknownEncoding,
        Self::Expectation,
        Self::ChunkSize,
        Self::ChunkExtension,
        Self::ChunkEnd,
        Self::Trailers,
        Self::StatusLine,
        Self::Upgrade,
        Self::Path,
        Self::BodySize,
        Self::Protocol,
        Self::Interims,
    ];

    /// What a client is answered whose request has this fault. The connection closes after it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::RequestLineSize => StatusCode::URI_TOO_LONG,
            Self::BodySize => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadSize | Self::FieldCount => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Connect | Self::UnknownEncoding => StatusCode::NOT_IMPLEMENTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<PathFault> for Fault {
    fn from(_: PathFault) -> Self {
        Self::Path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_counter() {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index, "{fault}");
        }
        assert_eq!(Fault::Interims as usize + 1, Fault::ALL.len());
    }
}
