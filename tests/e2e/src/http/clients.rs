//! Clients, each of which has one conversation after the other until it is told to stop.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lab::Namespace;
use lab::traffic::PATIENCE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::{Body, Local, empty, full};

/// The host that all routes of the stage have.
pub(super) const HOST: &str = "shop.example";

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// GET by HTTP/1.1, on a connection that is kept.
    Get,
    /// POST by HTTP/1.1 with a body of some size: not to be sent twice.
    Post,
    /// GET by HTTP/2.
    Http2,
    /// A call of gRPC that goes on for a while, each message answered before the next.
    Stream,
    /// A connection that is upgraded, and then the same.
    Upgraded,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Http2, Self::Stream, Self::Upgraded];

    /// Whether somebody between client and endpoint may ask again, until there is an answer.
    pub fn may_be_repeated(self) -> bool {
        matches!(self, Self::Get | Self::Http2)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Get => "GET, HTTP/1.1",
            Self::Post => "POST, HTTP/1.1",
            Self::Http2 => "GET, HTTP/2",
            Self::Stream => "gRPC streams",
            Self::Upgraded => "upgraded",
        })
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub status: u16,
    pub pod: String,
    /// The first cookie that it sets, as `name=value`.
    pub cookie: Option<String>,
}

/// Between two messages of a conversation, and two requests of a client.
const PAUSE: Duration = Duration::from_millis(5);

/// Messages of the shortest and the longest conversation: a tenth of a second to a second or two.
const MESSAGES: std::ops::Range<usize> = 20..200;

/// Bytes of a POST: several pieces for everybody on its way.
const POSTED: usize = 200_000;

/// A client's connections, as far as they outlast a request.
#[derive(Default)]
pub(super) struct Client {
    http1: Option<http1::SendRequest<Body>>,
    http2: Option<http2::SendRequest<Body>>,
}

impl Client {
    /// One conversation; what goes wrong with it is a failure of the gateway.
    pub(super) async fn converse(&mut self, kind: Kind, to: SocketAddr) -> Result<()> {
        let patience = PATIENCE + PAUSE * 20 * u32::try_from(MESSAGES.end)?;
        let conversation = async {
            match kind {
                Kind::Get => self.get(to).await,
                Kind::Post => self.post(to).await,
                Kind::Http2 => self.get_http2(to).await,
                Kind::Stream => self.stream(to).await,
                Kind::Upgraded => upgraded(to).await,
            }
        };
        let result = timeout(patience, conversation).await.context("no end in sight").flatten();
        if result.is_err() {
            (self.http1, self.http2) = (None, None);
        }
        sleep(PAUSE).await;
        result
    }

    async fn get(&mut self, to: SocketAddr) -> Result<()> {
        let request = request(Method::GET, "/", empty())?;
        let response = self.connected(to).await?.send_request(request).await?;
        check(response, 0).await
    }

    async fn post(&mut self, to: SocketAddr) -> Result<()> {
        let request = request(Method::POST, "/", full(vec![b'x'; POSTED]))?;
        let response = self.connected(to).await?.send_request(request).await?;
        check(response, POSTED).await
    }

    async fn get_http2(&mut self, to: SocketAddr) -> Result<()> {
        let response = self.ask_http2(to, || request(Method::GET, "/", empty())).await?;
        check(response, 0).await
    }

    async fn stream(&mut self, to: SocketAddr) -> Result<()> {
        let mut sender = None;
        let call = || {
            let (to_body, body) = Channel::<Bytes, hyper::Error>::new(1);
            sender = Some(to_body);
            grpc(body.boxed())
        };
        let response = self.ask_http2(to, call).await?;
        let mut sender = sender.context("called")?;
        ensure!(response.status() == StatusCode::OK, "answered {}", response.status());
        let status = response.headers().get("grpc-status");
        ensure!(status.is_none(), "answered at once: {status:?}");
        let mut answers = response.into_body();
        for _ in 0..fastrand::usize(MESSAGES) {
            sender.send(Frame::data(Bytes::from_static(b"message"))).await.context("the stream is closed")?;
            let answer = answers.frame().await.context("the stream has ended")??;
            ensure!(
                answer.data_ref().is_some_and(|data| &**data == b"message"),
                "another answer: {answer:?}"
            );
            sleep(PAUSE).await;
        }
        drop(sender);
        let last = answers.frame().await.context("no trailers")??;
        let status = last.trailers_ref().and_then(|trailers| trailers.get("grpc-status"));
        ensure!(status.is_some_and(|status| status == "0"), "ended with {last:?}");
        Ok(())
    }

    async fn connected(&mut self, to: SocketAddr) -> Result<&mut http1::SendRequest<Body>> {
        if let Some(sender) = &mut self.http1
            && sender.ready().await.is_err()
        {
            self.http1 = None;
        }
        if self.http1.is_none() {
            let (sender, connection) = http1::handshake(connect(to).await?).await?;
            spawn_local(connection);
            self.http1 = Some(sender);
        }
        self.http1.as_mut().context("just connected")
    }

    /// A request is made anew on another connection only if it never left: the server had just said that it goes.
    async fn ask_http2(
        &mut self,
        to: SocketAddr,
        mut request: impl FnMut() -> Result<Request<Body>>,
    ) -> Result<Response<Incoming>> {
        let asked = self.connected_http2(to).await?.send_request(request()?).await;
        if !asked.as_ref().is_err_and(is_unprocessed) {
            return Ok(asked?);
        }
        self.http2 = None;
        Ok(self.connected_http2(to).await?.send_request(request()?).await?)
    }

    async fn connected_http2(&mut self, to: SocketAddr) -> Result<&mut http2::SendRequest<Body>> {
        if let Some(sender) = &mut self.http2
            && sender.ready().await.is_err()
        {
            self.http2 = None;
        }
        if self.http2.is_none() {
            let (sender, connection) = http2::handshake(Local, connect(to).await?).await?;
            spawn_local(connection);
            self.http2 = Some(sender);
        }
        self.http2.as_mut().context("just connected")
    }
}

async fn connect(to: SocketAddr) -> Result<TokioIo<TcpStream>> {
    let stream = TcpStream::connect(to).await.context("connecting")?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

/// Whether the server goes and has not looked at this request, which GOAWAY without an error means (RFC 9113, 8.7).
fn is_unprocessed(error: &hyper::Error) -> bool {
    let error = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_some_and(|error| error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
}

/// In the form that both versions take.
fn request(method: Method, path: &str, body: Body) -> Result<Request<Body>> {
    let uri = format!("http://{HOST}{path}");
    Ok(Request::builder().method(method).uri(uri).header("host", HOST).body(body)?)
}

fn grpc(body: Body) -> Result<Request<Body>> {
    let mut call = request(Method::POST, "/shop.Echo/Stream", body)?;
    call.headers_mut().insert("content-type", "application/grpc".parse()?);
    call.headers_mut().insert("te", "trailers".parse()?);
    Ok(call)
}

/// That an endpoint has answered, and got all of the request.
async fn check(response: Response<Incoming>, sent: usize) -> Result<()> {
    let status = response.status();
    let text = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
    let text = String::from_utf8_lossy(&text);
    if status != StatusCode::OK || !text.ends_with(&format!(" {sent}")) {
        bail!("answered {status} {text:?}");
    }
    Ok(())
}

async fn upgraded(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(to).await.context("connecting")?;
    stream.set_nodelay(true)?;
    let head = format!("GET /echo HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.context("the connection ended before it was upgraded")?);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 101 "), "answered {:?}", String::from_utf8_lossy(&answer));
    for _ in 0..fastrand::usize(MESSAGES) {
        let mut message = *b"message";
        stream.write_all(&message).await.context("sending a message")?;
        message.fill(0);
        stream.read_exact(&mut message).await.context("waiting for a message")?;
        ensure!(&message == b"message", "another answer: {message:?}");
        sleep(PAUSE).await;
    }
    stream.shutdown().await?;
    ensure!(stream.read_u8().await.is_err(), "more than was sent");
    Ok(())
}

/// The answers to so many requests, each on a connection of its own.
pub fn ask(
    client: &Namespace,
    to: SocketAddr,
    path: &str,
    cookie: Option<&str>,
    count: usize,
) -> Result<Vec<Asked>> {
    inside(client, || async {
        let mut answers = Vec::new();
        for _ in 0..count {
            let (mut sender, connection) = http1::handshake(connect(to).await?).await?;
            spawn_local(connection);
            let mut request = request(Method::GET, path, empty())?;
            if let Some(cookie) = cookie {
                request.headers_mut().insert("cookie", cookie.parse()?);
            }
            answers.push(asked(&sender.send_request(request).await?));
        }
        Ok(answers)
    })
}

/// The pods that have answered so many calls of gRPC, each of one message.
pub fn call(client: &Namespace, to: SocketAddr, count: usize) -> Result<Vec<Asked>> {
    inside(client, || async {
        let (mut sender, connection) = http2::handshake(Local, connect(to).await?).await?;
        spawn_local(connection);
        let mut answers = Vec::new();
        for _ in 0..count {
            let response = sender.send_request(grpc(full("message"))?).await?;
            let mut found = asked(&response);
            let body = response.into_body().collect().await?;
            let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
            if status.is_none_or(|status| status != "0") {
                found.status = 0;
            }
            answers.push(found);
        }
        Ok(answers)
    })
}

fn asked<B>(response: &Response<B>) -> Asked {
    let field = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    Asked {
        status: response.status().as_u16(),
        pod: field("pod").unwrap_or_default().to_owned(),
        cookie: field("set-cookie").and_then(|cookie| cookie.split(';').next()).map(str::to_owned),
    }
}

fn inside<T: Send, F: Future<Output = Result<T>>>(
    client: &Namespace,
    story: impl FnOnce() -> F + Send,
) -> Result<T> {
    client.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let limited = async { timeout(PATIENCE * 6, story()).await.map_err(io::Error::from)? };
        LocalSet::new().block_on(&runtime, limited)
    })
}
