//! What a pod serves on one port, in HTTP/1.1 and HTTP/2 alike:
//!
//! | request | answer |
//! |---|---|
//! | with a content type of gRPC | each piece of its body, as it comes; then `grpc-status: 0` |
//! | with `Upgrade` | 101, and then what comes |
//! | any other | the pod's name and the length of the request's body |
//!
//! Each has the pod's name in the field `pod`.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener as BlockingListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc as blocking;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use lab::{LabError, Namespace};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::{Body, Local, empty, full};

/// Longer than any conversation of the load; a pod's own grace is 30 s by default.
const GRACE: Duration = Duration::from_secs(20);

/// How often a server that ends looks whether its connections have.
const TICK: Duration = Duration::from_millis(10);

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct Server {
    end: watch::Sender<End>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    /// It takes no more connections, and finishes what there is.
    Orderly,
    AtOnce,
}

impl Server {
    /// Listens on `port` in the namespace; takes requests when this returns.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Result<Self, LabError> {
        let (end, ends) = watch::channel(End::No);
        let (ready, is_ready) = blocking::channel();
        let pod = HeaderValue::from_str(name).map_err(|error| LabError::Unexpected(error.to_string()))?;
        let thread = namespace.thread(move || {
            let bound = BlockingListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
            let bound = bound.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
            match bound {
                Ok(listener) => {
                    let _ = ready.send(Ok(()));
                    run(listener, &pod, ends);
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
        let bound = is_ready.recv().unwrap_or(Err(io::ErrorKind::Other.into()));
        let serve = |error| LabError::System { action: format!("serve {name} on port {port}"), error };
        bound.map_err(serve)?;
        Ok(Self { end, thread: Some(thread) })
    }

    /// Ends in order: who is connected is told, and every request finished.
    pub fn finish(mut self) {
        self.stop(End::Orderly);
    }

    /// Ends as a process does that is killed.
    pub fn kill(mut self) {
        self.stop(End::AtOnce);
    }

    fn stop(&mut self, how: End) {
        self.end.send_replace(how);
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed already.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(End::AtOnce);
    }
}

fn run(listener: BlockingListener, pod: &HeaderValue, mut ends: watch::Receiver<End>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs nothing but memory");
    // Dropping them closes every socket.
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::from_std(listener).expect("a listener");
        let open = Rc::new(Cell::new(0));
        let how = loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        spawn_local(connection(stream, pod.clone(), ends.clone(), Open::of(&open)));
                    }
                }
                _ = ends.changed() => break *ends.borrow(),
            }
        };
        drop(listener);
        if how == End::Orderly {
            let ended = async {
                while open.get() > 0 {
                    sleep(TICK).await;
                }
            };
            // Whoever is still there then is cut off, as the kubelet does it.
            let _ = timeout(GRACE, ended).await;
        }
    });
}

/// A connection, or what it became.
struct Open(Rc<Cell<usize>>);

impl Open {
    fn of(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn connection(stream: TcpStream, pod: HeaderValue, mut ends: watch::Receiver<End>, open: Open) {
    let _ = stream.set_nodelay(true);
    let count = Rc::clone(&open.0);
    let service = service_fn(move |request| answer(request, pod.clone(), Open::of(&count)));
    let builder = auto::Builder::new(Local);
    let mut served = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    loop {
        tokio::select! {
            // Its client sees whatever went wrong.
            _ = served.as_mut() => return,
            changed = ends.changed() => {
                if changed.is_err() {
                    return;
                }
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer(
    mut request: Request<Incoming>,
    pod: HeaderValue,
    open: Open,
) -> Result<Response<Body>, Infallible> {
    let is = |name, value: &str| {
        let field: Option<&HeaderValue> = request.headers().get(name);
        field.is_some_and(|field| field.as_bytes().starts_with(value.as_bytes()))
    };
    let mut response = if is(CONTENT_TYPE, "application/grpc") {
        let mut response = Response::new(echo(request.into_body()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    } else if is(UPGRADE, "") {
        let upgraded = hyper::upgrade::on(&mut request);
        spawn_local(async move {
            let _open = open;
            if let Ok(upgraded) = upgraded.await {
                let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut to).await;
            }
        });
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("echo"));
        response
    } else {
        let name = pod.to_str().unwrap_or_default().to_owned();
        let mut response = Response::new(empty());
        if let Ok(body) = request.into_body().collect().await {
            *response.body_mut() = full(format!("{name} {}", body.to_bytes().len()));
        } else {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        response
    };
    response.headers_mut().insert("pod", pod);
    Ok(response)
}

/// A body that repeats another one, piece by piece.
fn echo(mut body: Incoming) -> Body {
    let (mut sender, channel) = Channel::<Bytes, hyper::Error>::new(1);
    spawn_local(async move {
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data()
                && sender.send(Frame::data(data)).await.is_err()
            {
                return;
            }
        }
        let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from(0))]);
        let _ = sender.send_trailers(trailers).await;
    });
    channel.boxed()
}
