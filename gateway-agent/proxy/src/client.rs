//! Whoever asked: a connection of HTTP/1.1, or one stream of HTTP/2. What forwards requests and answers knows no more of
//! them than this.

use std::io;
use std::task::{Context, Poll};

use tokio::io::AsyncWriteExt as _;

use crate::forward::Outcome;
use crate::h1::{BodyWriter, Ending, Fields, Framing, is_interim, write_response_head};
use crate::socket::Socket;
use crate::stream::{Fed, Stream};
use crate::telemetry::Traffic;
use crate::worker::Buffers;

/// The head of a response on its way to a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerHead<'a> {
    /// The code, and the words that HTTP/1.1 has for it, of which there may be none.
    pub(crate) line: (u16, &'a str),
    pub(crate) fields: &'a Fields<'a>,
    pub(crate) framing: Framing,
    /// The length of the body that answers to HEAD and 304 speak of.
    pub(crate) would_be: Option<u64>,
    pub(crate) ending: Ending<'a>,
}

impl AnswerHead<'_> {
    pub(crate) fn is_interim(&self) -> bool {
        is_interim(self.line.0)
    }
}

pub(crate) trait Client {
    /// Gives what came of the request's body to `f`, which takes what it consumes from its input: in HTTP/1.1's framing.
    fn poll_body<T>(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        f: impl FnOnce(&mut &[u8], &mut Context<'_>) -> T,
    ) -> Poll<io::Result<Fed<T>>>;

    /// Whether it is known, without reading, that nobody waits for an answer; else the task is woken then.
    fn has_left(&mut self, cx: &mut Context<'_>) -> bool;

    /// The head of the answer, or of an interim one. It is sent with the next flush, as all that follows.
    fn begin(&mut self, buffers: &Buffers, head: AnswerHead<'_>);

    /// Data of the answer, which is not empty. `writer` is how HTTP/1.1 tells its end.
    fn send_body(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        data: &[u8],
        writer: BodyWriter,
    ) -> io::Result<()>;

    /// The end of the answer; `trailers` are whole lines.
    fn end(&mut self, buffers: &Buffers, trailers: &[u8], writer: BodyWriter);

    /// A whole answer of the proxy's own, whose body may be empty.
    fn reply(&mut self, buffers: &Buffers, head: AnswerHead<'_>, body: &[u8]);

    /// Ready once there is room for more.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Counts what this makes the worker keep: call it where that has to wait.
    fn keep(&mut self, buffers: &Buffers);

    /// What was consumed, and what was sent or is about to be.
    fn passed(&self) -> Traffic;

    /// Passes bytes both ways, in another protocol.
    fn splice<U: Socket>(&mut self, upstream: &mut Stream<U>) -> impl Future<Output = Outcome>;
}

impl<S: Socket> Client for Stream<S> {
    fn poll_body<T>(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        f: impl FnOnce(&mut &[u8], &mut Context<'_>) -> T,
    ) -> Poll<io::Result<Fed<T>>> {
        self.poll_feed(cx, buffers, f)
    }

    /// A connection that sends no more may be half closed.
    fn has_left(&mut self, _: &mut Context<'_>) -> bool {
        false
    }

    fn begin(&mut self, buffers: &Buffers, head: AnswerHead<'_>) {
        let AnswerHead { line, fields, framing, would_be, ending } = head;
        write_response_head(self.waiting(buffers), line, fields, framing, would_be, ending);
    }

    fn send_body(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        data: &[u8],
        writer: BodyWriter,
    ) -> io::Result<()> {
        match writer {
            BodyWriter::Plain => self.send(cx, buffers, data),
            BodyWriter::Chunked => {
                writer.frame(data, self.waiting(buffers));
                Ok(())
            }
        }
    }

    fn end(&mut self, buffers: &Buffers, trailers: &[u8], writer: BodyWriter) {
        writer.finish(trailers, self.waiting(buffers));
    }

    fn reply(&mut self, buffers: &Buffers, head: AnswerHead<'_>, body: &[u8]) {
        self.begin(buffers, head);
        self.waiting(buffers).extend_from_slice(body);
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }

    fn keep(&mut self, buffers: &Buffers) {
        self.hold(buffers);
    }

    fn passed(&self) -> Traffic {
        self.traffic()
    }

    /// Until both sides have ended, or one has failed.
    async fn splice<U: Socket>(&mut self, upstream: &mut Stream<U>) -> Outcome {
        let (from_client, from_upstream) = (self.take_received(), upstream.take_received());
        let passed = async {
            upstream.socket.write_all(&from_client).await?;
            self.socket.write_all(&from_upstream).await?;
            tokio::io::copy_bidirectional(&mut self.socket, &mut upstream.socket).await
        };
        // Whoever failed knows it; the other side sees its connection end, and what it carried is not counted.
        if let Ok((received, sent)) = passed.await {
            self.add_traffic(received, sent);
        }
        Outcome::Abort
    }
}
