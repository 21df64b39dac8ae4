//! HTTP for who watches over the agent: a few connections, a few paths.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use gateway_agent_kernel::Pins;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::page::{MOST_SERIES, capped, text};
use super::{Figures, Place, Request, requests, traffic};
use crate::proxy_link::ProxyFigures;

/// Scrapers and probes are few; more than these wait.
const MOST_CONNECTIONS: usize = 16;

/// A client that has not sent its request by then is dropped; a role that has not answered by then is unwell.
const PATIENCE: Duration = Duration::from_secs(5);

/// Until a port that somebody else has is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// `OpenMetrics` 1.0, section 3.1.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Listens as long as it lives.
#[derive(Debug)]
pub struct Server {
    task: JoinHandle<()>,
}

/// Where figures come from.
#[derive(Debug)]
struct Source {
    role: mpsc::Sender<Request>,
    node: Option<NodeFigures>,
}

/// What counts on a node beside the agent.
#[derive(Clone, Debug)]
pub struct NodeFigures {
    /// Of the kernel's counters.
    pub pin: PathBuf,
    pub proxy: ProxyFigures,
}

impl Server {
    pub fn start(place: Place, role: mpsc::Sender<Request>, node: Option<NodeFigures>) -> Self {
        Self { task: tokio::spawn(serve(place, Arc::new(Source { role, node }))) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(place: Place, source: Arc<Source>) {
    let listener = listen(place).await;
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    // Ends with this task.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // Never closed.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let source = source.clone();
                connections.spawn(async move {
                    converse(stream, source).await;
                    drop(permit);
                });
            }
            Err(error) => {
                debug!("metrics at {place}: {error}");
                // Out of descriptors, most likely; they come back.
                sleep(RETRY).await;
            }
        }
    }
}

/// Somebody else's port doesn't keep the agent from its work.
async fn listen(place: Place) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(&*place.addresses()).await {
            Ok(listener) => {
                info!(event = "metrics", "metrics at {place}");
                return listener;
            }
            Err(error) if !told => {
                warn!("no metrics at {place}: {error}; it is tried again; choose another --metrics");
                told = true;
            }
            Err(_) => {}
        }
        sleep(RETRY).await;
    }
}

async fn converse(stream: TcpStream, source: Arc<Source>) {
    let service = service_fn(move |request| answer(request, source.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        debug!("a client of the metrics went away: {error}");
    }
}

async fn answer(
    request: HttpRequest<Incoming>,
    source: Arc<Source>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    if !["/metrics", "/healthz", "/readyz"].contains(&path) {
        return Ok(plain(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n"));
    }
    let Some(figures) = source.figures().await else {
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "no answer\n"));
    };
    Ok(match path {
        "/metrics" => match source.page(figures).await {
            Ok(page) => typed(StatusCode::OK, OPENMETRICS, page),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error),
        },
        "/readyz" if !figures.ready => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        _ => plain(StatusCode::OK, "ok\n"),
    })
}

impl Source {
    /// None: the role has ended or hangs.
    async fn figures(&self) -> Option<Figures> {
        let (reply, figures) = oneshot::channel();
        let exchange = async {
            self.role.send(reply).await.ok()?;
            figures.await.ok()
        };
        timeout(PATIENCE, exchange).await.ok().flatten()
    }

    async fn page(&self, figures: Figures) -> Result<String, String> {
        let mut families = figures.families;
        if let Some(NodeFigures { pin, proxy }) = self.node.clone() {
            let counting = spawn_blocking(move || Pins::open(&pin).and_then(|pins| pins.stats()));
            let (counted, proxy) = join(counting, proxy.ask()).await;
            families.extend(requests(proxy.as_ref()));
            let counted = counted.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            families.extend(traffic(&counted));
        }
        text(capped(families, MOST_SERIES)).map_err(|error| error.to_string())
    }
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
