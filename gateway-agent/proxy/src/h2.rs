//! HTTP/2, in front and behind, by h2. hyper around it would pass heads and bodies between tasks by channels, flush for
//! each, and could neither pass interim responses on nor keep bodies better. A client's stream is planned from its head as
//! it came, and answered by the same exchange as a connection of HTTP/1.1, so that what is matched, changed, limited, mirrored
//! and tried again is one thing for all versions. To endpoints that speak HTTP/2 the head of a request and of its answer pass
//! as they are; bodies, and requests that are sent again, copied or asked about, are written in HTTP/1.1 and read once more.

mod back;
mod backlog;
mod caller;
mod connections;
mod download;
mod flood;
mod front;
mod head;
mod io;
mod message;
mod outgoing;
mod reset;
mod upload;
mod windows;

pub(crate) use back::{Call, open};
pub(crate) use connections::Connections;
pub(crate) use front::serve;
pub(crate) use head::{Answered, Head};
pub(crate) use reset::Reset;

/// What a client says first that knows the server to speak HTTP/2 (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
