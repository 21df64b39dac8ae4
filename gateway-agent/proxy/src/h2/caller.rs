//! One stream of a client, as what answers it sees it.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::download::Download;
use super::upload::Upload;
use crate::client::{AnswerHead, Client};
use crate::forward::Outcome;
use crate::h1::BodyWriter;
use crate::socket::Socket;
use crate::stream::{Fed, Stream};
use crate::telemetry::Traffic;
use crate::worker::Buffers;

pub(super) struct Caller {
    /// Bytes of the request's head.
    pub(super) head: u64,
    /// The stream's task gathers what comes, too.
    pub(super) upload: Rc<RefCell<Upload>>,
    pub(super) download: Download,
}

impl Client for Caller {
    fn poll_body<T>(
        &mut self,
        cx: &mut Context<'_>,
        _: &Buffers,
        f: impl FnOnce(&mut &[u8], &mut Context<'_>) -> T,
    ) -> Poll<io::Result<Fed<T>>> {
        self.upload.borrow_mut().poll_feed(cx, f)
    }

    fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        self.download.poll_reset(cx).is_ready()
    }

    fn begin(&mut self, _: &Buffers, head: AnswerHead<'_>) {
        self.download.begin(head);
    }

    fn send_body(&mut self, _: &mut Context<'_>, _: &Buffers, data: &[u8], _: BodyWriter) -> io::Result<()> {
        self.download.send(data);
        Ok(())
    }

    fn end(&mut self, _: &Buffers, trailers: &[u8], _: BodyWriter) {
        self.download.end(trailers);
    }

    fn reply(&mut self, _: &Buffers, head: AnswerHead<'_>, body: &[u8]) {
        self.download.begin(head);
        self.download.send(body);
        self.download.end(&[]);
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.download.poll_sent(cx)
    }

    fn keep(&mut self, buffers: &Buffers) {
        self.download.hold(buffers.ledger());
    }

    fn passed(&self) -> Traffic {
        Traffic { received: self.head + self.upload.borrow().taken(), sent: self.download.sent() }
    }

    /// None is offered to an endpoint: HTTP/2 has no upgrade (RFC 9113, 8.6).
    async fn splice<U: Socket>(&mut self, _: &mut Stream<U>) -> Outcome {
        Outcome::Abort
    }
}
