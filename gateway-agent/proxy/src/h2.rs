//! HTTP/2, in front and behind, by hyper. Between the two stands the same exchange as for HTTP/1.1: a stream is one
//! request in HTTP/1.1 through a pipe, so that what is matched, changed, limited, mirrored and tried again is one thing
//! for all versions. It costs a task, and a head that is written and read once more, per request and side.

mod back;
mod flood;
mod front;
mod io;
mod message;

pub(crate) use back::{Connections, open};
pub(crate) use front::serve;

use tokio::io::DuplexStream;

use crate::socket::Socket;

/// What a client says first that knows the server to speak HTTP/2 (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that a pipe holds each way: the window that RFC 9113 (6.9.2) gives a stream.
const PIPE: usize = 64 << 10;

/// The end of a pipe serves one exchange and is never used again.
impl Socket for DuplexStream {
    fn is_quiet(&mut self) -> bool {
        false
    }
}

/// Runs hyper's tasks on the worker's thread.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
