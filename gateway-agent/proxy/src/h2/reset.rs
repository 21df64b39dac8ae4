//! Streams that endpoints end early.

use h2::Reason;

/// What an endpoint says by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// It has not got the request, or not looked at it: it may go elsewhere (RFC 9113, 8.7).
    Unprocessed,
    /// Whatever the code of its frame says.
    Because(Reason),
}

impl Reset {
    /// None: the connection broke.
    pub(super) fn of(error: &h2::Error) -> Option<Self> {
        match error.reason()? {
            Reason::REFUSED_STREAM => Some(Self::Unprocessed),
            // Streams that came before it are not touched by it (RFC 9113, 6.8).
            Reason::NO_ERROR if error.is_go_away() && error.is_remote() => Some(Self::Unprocessed),
            reason if error.is_reset() => Some(Self::Because(reason)),
            _ => None,
        }
    }

    /// The status of gRPC that callers take it for (gRPC over HTTP/2, "Errors").
    pub(crate) fn grpc_status(self) -> u8 {
        match self {
            // UNAVAILABLE
            Self::Unprocessed => 14,
            // CANCELLED
            Self::Because(Reason::CANCEL) => 1,
            // RESOURCE_EXHAUSTED
            Self::Because(Reason::ENHANCE_YOUR_CALM) => 8,
            // PERMISSION_DENIED
            Self::Because(Reason::INADEQUATE_SECURITY) => 7,
            // UNKNOWN
            Self::Because(Reason::HTTP_1_1_REQUIRED) => 2,
            // INTERNAL
            Self::Because(_) => 13,
        }
    }
}
