//! HTTP/2, in front and behind, by hyper. Between the two stands the same exchange as for HTTP/1.1: a stream is one
//! request in HTTP/1.1 through a pipe, so that what is matched, changed, limited, mirrored and tried again is one thing
//! for all versions. A client's request is planned from its head as it came; its answer, and requests to endpoints that
//! speak HTTP/2, are written and read once more.

mod back;
mod backlog;
mod connections;
mod flood;
mod front;
mod io;
mod message;
mod pipe;
mod reset;
mod windows;

pub(crate) use back::{Call, open};
pub(crate) use connections::Connections;
pub(crate) use front::serve;
pub(crate) use reset::Reset;

/// What a client says first that knows the server to speak HTTP/2 (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Runs hyper's tasks on the worker's thread.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
