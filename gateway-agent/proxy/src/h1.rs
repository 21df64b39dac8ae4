//! HTTP/1.1 messages (RFC 9112), read strictly and written anew.
//!
//! Everything here is pure: bytes in, values or bytes out. Where two readers could disagree about where a message ends,
//! or about whom it is for, it is refused; what is forwarded never repeats the framing that was received.

mod body;
mod chunks;
mod fault;
mod fields;
mod framing;
mod request;
mod response;
mod target;
mod write;

use gateway_agent_tables::http::HttpLimits;

pub use body::{BodyReader, BodyWriter, Piece};
pub use fault::Fault;
pub use fields::{Field, Fields};
pub use framing::Framing;
pub use request::{Persistence, RequestHead};
pub(crate) use response::is_interim;
pub use response::{AnswerTo, ResponseHead};
pub use target::Target;
pub use write::{Ending, Offers, RequestLine, write_request_head, write_response_head};

/// What a peer may send before a message's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of a head, its last empty line included; also of a trailer section.
    pub bytes: usize,
    /// Field lines of a head or a trailer section; at most [`HeadLimits::MAX_FIELDS`].
    pub fields: usize,
}

impl HeadLimits {
    /// Room for field lines on the stack while a head is parsed: 8 kB.
    pub const MAX_FIELDS: usize = 256;

    /// Of heads that were received within other limits and are only carried on.
    pub(crate) const CARRIED: Self = Self { bytes: usize::MAX, fields: Self::MAX_FIELDS };
}

impl Default for HeadLimits {
    /// Those of Gateways that set none.
    fn default() -> Self {
        let limits = HttpLimits::default();
        Self { bytes: limits.head_bytes as usize, fields: limits.head_fields.into() }
    }
}

/// The version that a peer has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    Http11,
}
