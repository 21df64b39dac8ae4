//! The servers behind the proxies: as cheap as can be in HTTP/1.1, by hyper in HTTP/2.

use std::convert::Infallible;
use std::net::{SocketAddr, SocketAddrV4};
use std::thread;

use anyhow::Result;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::subject::{AUTHORIZER, ENDPOINTS_HTTP1, ENDPOINTS_HTTP2};
use crate::cpu::Cpus;
use crate::lane::{BACKEND, Lane};

/// Bytes of an answer's body.
pub(crate) const SMALL_BYTES: usize = 1024;
pub(crate) const LARGE_BYTES: usize = 100 << 10;

/// What the paths end in that have a large answer.
pub(crate) const LARGE: &str = "large";

/// Starts them, all in one thread on the processor that they share with the load.
pub(crate) fn serve(lane: &Lane, cpus: &Cpus) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listen = |port: u16| {
        lane.backend.inside(|| {
            let listener = std::net::TcpListener::bind(SocketAddr::from(SocketAddrV4::new(BACKEND, port)))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
    };
    let http1 = [listen(ENDPOINTS_HTTP1[0])?, listen(ENDPOINTS_HTTP1[1])?];
    let http2 = [listen(ENDPOINTS_HTTP2[0])?, listen(ENDPOINTS_HTTP2[1])?, listen(AUTHORIZER)?];
    let cpus = cpus.clone();
    thread::spawn(move || {
        cpus.pin(1)?;
        runtime.block_on(async {
            for listener in http1 {
                tokio::spawn(accept(TcpListener::from_std(listener)?, speak_http1));
            }
            for listener in http2 {
                tokio::spawn(accept(TcpListener::from_std(listener)?, speak_http2));
            }
            std::future::pending::<Result<()>>().await
        })
    });
    Ok(())
}

/// Until the run ends.
async fn accept<F: Future<Output = ()> + Send + 'static>(listener: TcpListener, speak: fn(TcpStream) -> F) {
    while let Ok((stream, _)) = listener.accept().await {
        if stream.set_nodelay(true).is_ok() {
            tokio::spawn(speak(stream));
        }
    }
}

/// Requests without bodies. A client that breaks off is gone.
async fn speak_http1(mut stream: TcpStream) {
    let [small, large] = [SMALL_BYTES, LARGE_BYTES].map(answer);
    let mut received = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        received.extend_from_slice(&buffer[..read]);
        while let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let line = received.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let is_large =
                line.strip_suffix(b" HTTP/1.1").is_some_and(|line| line.ends_with(LARGE.as_bytes()));
            if stream.write_all(if is_large { &large } else { &small }).await.is_err() {
                return;
            }
            received.drain(..end + 4);
        }
    }
}

fn answer(bytes: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; bytes]].concat()
}

async fn speak_http2(stream: TcpStream) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(respond(request).await) });
    // Whoever loads it sees what fails.
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// Allows a request: a `CheckResponse` whose status (field 1) is OK, which is empty; behind flag and length.
const ALLOWED: [u8; 7] = [0, 0, 0, 0, 2, 0x0a, 0];
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A body, or one message and gRPC's status.
async fn respond(request: Request<Incoming>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let is_grpc = request.headers().get(CONTENT_TYPE).is_some_and(|value| value == GRPC);
    let is_check = request.uri().path() == CHECK;
    let whole = request.into_body().collect().await.is_ok();
    let (content_type, body) = if is_grpc && whole {
        let mut message = vec![b'x'; SMALL_BYTES];
        let length = u32::try_from(SMALL_BYTES - 5).unwrap_or_default();
        message[0] = 0;
        message[1..5].copy_from_slice(&length.to_be_bytes());
        let message = if is_check { ALLOWED.to_vec() } else { message };
        let trailers =
            HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
        (GRPC, Full::from(message).with_trailers(async { Some(Ok(trailers)) }).boxed_unsync())
    } else {
        ("text/plain", Full::from(vec![b'x'; SMALL_BYTES]).boxed_unsync())
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

const GRPC: &str = "application/grpc";
