//! Endpoints that speak HTTP/2 (by prior knowledge: RFC 9113, 3.3).

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hashbrown::HashMap;
use http::header::{CONTENT_LENGTH, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::io::{Flushing, Io};
use super::pipe::{self, pipe};
use super::{Local, message};
use crate::h1::{
    BodyReader, BodyWriter, Ending, Framing, HeadLimits, Piece, RequestHead, write_response_head,
};
use crate::socket::Connect;
use crate::stream::{Fed, Stream};
use crate::worker::Worker;

/// The connections of one worker: one for each endpoint, with as many streams as the endpoint allows.
pub(crate) struct Connections<C: Connect>(RefCell<HashMap<SocketAddr, SendRequest<Upload<C>>>>);

impl<C: Connect> Default for Connections<C> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<C: Connect> std::fmt::Debug for Connections<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.borrow().keys()).finish()
    }
}

impl<C: Connect> Connections<C> {
    /// Forgets what has closed, and what leads to endpoints that are no longer ready: streams that are open there end.
    pub(crate) fn sweep(&self, is_ready: impl Fn(SocketAddr) -> bool) {
        self.0.borrow_mut().retain(|endpoint, sender| is_ready(*endpoint) && !sender.is_closed());
    }
}

/// A pipe that takes one request in HTTP/1.1 for this endpoint, and gives the answer. The request is given up when the
/// sender is dropped.
pub(crate) async fn open<C: Connect>(
    worker: &Rc<Worker<C>>,
    endpoint: SocketAddr,
) -> io::Result<(pipe::Pipe, oneshot::Sender<()>)> {
    let known = worker.http2.0.borrow().get(&endpoint).filter(|sender| !sender.is_closed()).cloned();
    let sender = match known {
        Some(sender) => sender,
        None => connect(worker, endpoint).await?,
    };
    let (ours, theirs) = pipe(worker.buffers.ledger());
    let pipe = Rc::new(RefCell::new(Stream::new(theirs)));
    let (alive, mut given_up) = oneshot::channel();
    let mut carried = Box::pin(translate(Rc::clone(worker), pipe, sender));
    spawn_local(poll_fn(move |cx| match Pin::new(&mut given_up).poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => carried.as_mut().poll(cx),
    }));
    Ok((ours, alive))
}

async fn connect<C: Connect>(
    worker: &Rc<Worker<C>>,
    endpoint: SocketAddr,
) -> io::Result<SendRequest<Upload<C>>> {
    let socket = worker.connector.connect(endpoint).await?;
    // hyper writes from a task of its own.
    let (io, _) = Io::new(Stream::new(socket), Rc::clone(worker), Flushing::ByHyper);
    let (sender, connection) = http2::handshake(Local, io).await.map_err(io::Error::other)?;
    spawn_local(async move {
        // Whoever has a request on it learns of the failure.
        let _ = connection.await;
    });
    worker.http2.0.borrow_mut().insert(endpoint, sender.clone());
    Ok(sender)
}

type Pipe = Rc<RefCell<Stream<pipe::Pipe>>>;

/// Carries one request and its answer. What fails ends the pipe, as an endpoint that closes its connection would.
async fn translate<C: Connect>(worker: Rc<Worker<C>>, pipe: Pipe, mut sender: SendRequest<Upload<C>>) {
    let Some((request, framing)) = read_head(&worker, &pipe).await else { return };
    let to_head = request.method() == Method::HEAD;
    // The body was checked where the client sent it.
    let limits = HeadLimits::CARRIED;
    let upload = Upload {
        worker: Rc::clone(&worker),
        pipe: Rc::clone(&pipe),
        reader: Some(BodyReader::new(framing, limits)).filter(|reader| !reader.has_ended()),
        trailers: None,
    };
    let answer = async {
        let response = sender.send_request(request.map(|()| upload)).await.map_err(io::Error::other)?;
        pass_back(&worker, &pipe, response, to_head).await
    };
    let _ = answer.await;
}

async fn read_head<C: Connect>(worker: &Worker<C>, pipe: &Pipe) -> Option<(Request<()>, Framing)> {
    poll_fn(|cx| {
        loop {
            let mut pipe = pipe.borrow_mut();
            let fed = ready!(pipe.poll_feed(cx, &worker.buffers, |input, _| {
                let received = *input;
                let head = RequestHead::parse(received, HeadLimits::CARRIED).ok()??;
                *input = &received[head.len..];
                Some((converted(&head)?, head.framing))
            }));
            match fed {
                Ok(Fed::Some(Some(request))) => return Poll::Ready(Some(request)),
                Ok(Fed::Some(None)) => {}
                Ok(Fed::End) | Err(_) => return Poll::Ready(None),
            }
        }
    })
    .await
}

fn converted(head: &RequestHead<'_>) -> Option<Request<()>> {
    let query = head.target.query.map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{}{query}", head.target.path);
    let uri = Uri::builder().scheme("http").authority(head.host).path_and_query(path).build().ok()?;
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = message::headers(&head.fields);
    let headers = request.headers_mut();
    if let Framing::Length(length) = head.framing {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    if head.takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Some(request)
}

async fn pass_back<C: Connect>(
    worker: &Worker<C>,
    pipe: &Pipe,
    response: Response<Incoming>,
    to_head: bool,
) -> io::Result<()> {
    let (parts, mut body) = response.into_parts();
    let bodiless = to_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = message::content_length(&parts.headers);
    let framing = match length {
        _ if bodiless => Framing::None,
        Some(length) => Framing::Length(length),
        None if body.is_end_stream() => Framing::Length(0),
        None => Framing::Chunked,
    };
    let would_be = length.filter(|_| bodiless && parts.status != StatusCode::NO_CONTENT);
    let fields = message::fields(&parts.headers, None);
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let line = (parts.status.as_u16(), reason);
    let out = |f: &mut dyn FnMut(&mut Vec<u8>)| f(pipe.borrow_mut().waiting(&worker.buffers));
    out(&mut |out| write_response_head(out, line, &fields, framing, would_be, Ending::Close));
    let writer = if framing == Framing::Chunked { BodyWriter::Chunked } else { BodyWriter::Plain };
    loop {
        poll_fn(|cx| pipe.borrow_mut().poll_flush(cx)).await?;
        let frame = match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            Some(frame) => frame.map_err(io::Error::other)?,
            None => Frame::trailers(HeaderMap::new()),
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => out(&mut |out| writer.frame(&data, out)),
            Err(frame) => {
                let trailers = message::lines(&frame.into_trailers().unwrap_or_default());
                out(&mut |out| writer.finish(&trailers, out));
                return poll_fn(|cx| pipe.borrow_mut().poll_flush(cx)).await;
            }
        }
    }
}

/// The body of a request, read from the pipe.
pub(crate) struct Upload<C: Connect> {
    worker: Rc<Worker<C>>,
    pipe: Pipe,
    /// None: it has ended.
    reader: Option<BodyReader>,
    trailers: Option<HeaderMap>,
}

impl<C: Connect> Body for Upload<C> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self { worker, pipe, reader, trailers } = &mut *self;
        loop {
            let Some(body) = reader else {
                return Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            let mut pipe = pipe.borrow_mut();
            let mut take = |input: &mut &[u8]| {
                let mut data = Vec::new();
                while let Piece::Data(piece) = body.next(input)? {
                    data.extend_from_slice(piece);
                }
                Ok::<_, crate::h1::Fault>(data)
            };
            let fed = match pipe.feed_received(&mut take) {
                Some(data) => Fed::Some(data),
                None => ready!(pipe.poll_feed(cx, &worker.buffers, |input, _| take(input)))?,
            };
            let data = match fed {
                Fed::Some(data) => data.map_err(io::Error::other)?,
                Fed::End => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            };
            if body.has_ended() {
                let found = message::trailers(body.trailers());
                *trailers = (!found.is_empty()).then_some(found);
                *reader = None;
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.reader.is_none() && self.trailers.is_none()
    }
}
