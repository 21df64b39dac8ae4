//! What telemetry costs a request: `cargo bench -p gateway-agent-proxy`. Sockets are pipes in memory, so that nothing of
//! the kernel is in the figures; all but the pipes is as in the real proxy.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use gateway_agent_proxy::filter::TraceParent;
use gateway_agent_proxy::h1::Fields;
use gateway_agent_proxy::{Connect, Server, Settings, Socket, Worker};
use gateway_agent_tables::http::{
    BackendProtocol, HostRoutes, HttpAction, HttpBackend, HttpEndpoints, HttpFrontend, HttpListener,
    HttpMatch, HttpRoute, HttpRouteKind, HttpRouteRule, HttpRule, HttpRuleName, HttpService, HttpSettings,
    HttpSplit, HttpTables, HttpTarget, HttpTelemetry, Names, RouteAge, Scheme, Timeouts, Upstream,
};
use gateway_agent_tables::{Endpoint, FrontendKey, HostPattern, ListenerName, ObjectName, Protocol};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex,
};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

/// Enough for a mean that repeats within a few per cent; the environment may want fewer, for an instruction counter.
const REQUESTS: u32 = 200_000;

const REQUEST: &[u8] =
    b"GET /shop/items HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Accept: text/html\r\nAccept-Language: en\r\nAccept-Encoding: gzip\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

fn main() {
    let requests = std::env::var("REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(REQUESTS);
    println!("trace context: {:.0} ns", trace_context(requests));
    for (log, one_in) in [("none", 0), ("one in 100", 100), ("of all", 1), ("none, again", 0)] {
        println!("a request, access log {log}: {:.0} ns", request(requests, NonZeroU32::new(one_in)));
    }
}

fn trace_context(requests: u32) -> f64 {
    let mut random = fastrand::Rng::with_seed(1);
    let started = Instant::now();
    for _ in 0..requests {
        let mut fields = Fields::default();
        let trace = TraceParent::of(black_box(&fields), || random.u32(..));
        trace.apply(&mut fields);
        black_box(&fields);
    }
    per(started.elapsed(), requests)
}

fn request(requests: u32, access_log: Option<NonZeroU32>) -> f64 {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(async {
        let server = Server::with_log(Settings::default(), Box::new(io::sink()));
        server.replace(&tables(access_log));
        let worker: Rc<Worker<Origin>> = Worker::start(server, Origin);
        let (mut client, proxied) = duplex(PIPE);
        spawn_local(worker.connection(Piped(proxied), address(), address()));
        let mut received = [0; PIPE];
        let mut took = Duration::ZERO;
        // What is met first is allocated.
        for count in [requests / 10, requests] {
            let started = Instant::now();
            for _ in 0..count {
                client.write_all(REQUEST).await.expect("the proxy takes it");
                let read = client.read(&mut received).await.expect("an answer");
                assert!(received[..read].ends_with(b"hello"));
            }
            took = started.elapsed();
        }
        per(took, requests)
    })
}

fn per(took: Duration, requests: u32) -> f64 {
    took.as_secs_f64() * 1e9 / f64::from(requests)
}

/// Bytes of a pipe: more than any message here.
const PIPE: usize = 4 << 10;

#[derive(Debug)]
struct Piped(DuplexStream);

impl Socket for Piped {
    fn is_quiet(&mut self) -> bool {
        true
    }
}

impl AsyncRead for Piped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, to)
    }
}

impl AsyncWrite for Piped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// An endpoint that answers each request at once.
#[derive(Debug)]
struct Origin;

impl Connect for Origin {
    type Socket = Piped;

    async fn connect(&self, _: SocketAddr) -> io::Result<Piped> {
        let (ours, mut theirs) = duplex(PIPE);
        spawn_local(async move {
            let mut received = [0; PIPE];
            while theirs.read(&mut received).await.is_ok_and(|read| read > 0) {
                if theirs.write_all(RESPONSE).await.is_err() {
                    return;
                }
            }
        });
        Ok(Piped(ours))
    }
}

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 80))
}

/// One listener and one route to one endpoint.
fn tables(access_log: Option<NonZeroU32>) -> HttpTables {
    let object = |name: &str| ObjectName { namespace: "shop".to_owned(), name: name.to_owned() };
    let port = NonZeroU16::new(80).expect("a port");
    let name = ListenerName { gateway: object("edge"), listener: "http".to_owned() };
    let key = FrontendKey { address: address().ip(), port, protocol: Protocol::Tcp };
    let service = HttpService { service: object("web"), port };
    let upstream = Upstream { service: service.clone(), protocol: BackendProtocol::Http1, encrypted: false };
    let target = HttpTarget::Forward(upstream);
    let backend = HttpBackend { name: "shop/web:80".to_owned(), weight: 1, filters: vec![], target };
    let rule = Arc::new(HttpRule {
        name: HttpRuleName { kind: HttpRouteKind::Http, route: object("web"), rule: 0, name: None },
        filters: vec![],
        action: HttpAction::Forward(HttpSplit::new(vec![backend]).expect("a split")),
        timeouts: Timeouts::default(),
        retry: None,
        session: None,
    });
    let rules = vec![HttpRouteRule { matches: vec![HttpMatch::any()], rule }];
    let routes = HostRoutes { http: vec![object("web")].into(), grpc: Names::default() };
    let telemetry = HttpTelemetry { access_log, ..HttpTelemetry::default() };
    let listener = HttpListener {
        scheme: Scheme::Http,
        port,
        settings: HttpSettings::default(),
        hosts: BTreeMap::from([(HostPattern::Any, routes)]),
        telemetry,
    };
    let frontend = HttpFrontend { listeners: BTreeMap::from([(HostPattern::Any, name.clone())]) };
    let ready = [Endpoint { address: address(), node: None }].into();
    HttpTables {
        frontends: BTreeMap::from([(key, frontend)]),
        listeners: BTreeMap::from([(name, listener)]),
        http_routes: BTreeMap::from([(
            object("web"),
            Arc::new(HttpRoute { age: RouteAge::default(), rules }),
        )]),
        grpc_routes: BTreeMap::new(),
        services: BTreeMap::from([(service, HttpEndpoints { ready, ..HttpEndpoints::default() })]),
    }
}
