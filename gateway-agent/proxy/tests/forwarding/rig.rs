//! A proxy, endpoints and clients on real sockets, all in one thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gateway_agent_proxy::h1::{
    AnswerTo, BodyReader, BodyWriter, Framing, HeadLimits, Piece, RequestHead, ResponseHead,
};
use gateway_agent_proxy::{Server, Settings, Tcp, Worker};
use gateway_agent_tables::http::{
    BackendProtocol, Filter, HostRoutes, HttpAction, HttpBackend, HttpEndpoints, HttpFrontend, HttpLimits,
    HttpListener, HttpMatch, HttpRoute, HttpRouteKind, HttpRouteRule, HttpRule, HttpRuleName, HttpService,
    HttpSettings, HttpSplit, HttpTables, HttpTarget, HttpTelemetry, Names, Path, PathMatch, RouteAge, Scheme,
    Timeouts, Upstream,
};
use gateway_agent_tables::{Endpoint, FrontendKey, HostPattern, ListenerName, ObjectName, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;
use tokio::time::timeout;

/// Runs a test on a local runtime. None of them takes long, except on machines that are slow: one that hangs fails.
pub(crate) fn run(test: impl Future<Output = ()>) {
    run_within(Duration::from_mins(3), test);
}

pub(crate) fn run_within(limit: Duration, test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let limited = async { timeout(limit, test).await.expect("the test hangs") };
    runtime.expect("a runtime").block_on(limited);
}

/// A proxy and where it listens.
pub(crate) struct Proxy {
    pub(crate) server: Arc<Server>,
    pub(crate) address: SocketAddr,
}

/// One Service port's name.
pub(crate) fn service(name: &str) -> HttpService {
    let service = ObjectName { namespace: "shop".to_owned(), name: name.to_owned() };
    HttpService { service, port: NonZeroU16::MIN }
}

pub(crate) fn backend(name: &str, weight: u32, filters: Vec<Filter>) -> HttpBackend {
    let upstream = Upstream { service: service(name), protocol: BackendProtocol::Http1, encrypted: false };
    HttpBackend { name: name.to_owned(), weight, filters, target: HttpTarget::Forward(upstream) }
}

pub(crate) fn split(backends: Vec<HttpBackend>) -> HttpAction {
    HttpAction::Forward(HttpSplit::new(backends).expect("a split"))
}

/// A rule for a path prefix, without anything but its action.
pub(crate) fn rule(action: HttpAction) -> HttpRule {
    let route = ObjectName { namespace: "shop".to_owned(), name: "web".to_owned() };
    HttpRule {
        name: HttpRuleName { kind: HttpRouteKind::Http, route, rule: 0, name: None },
        filters: vec![],
        action,
        timeouts: Timeouts::default(),
        retry: None,
        session: None,
    }
}

/// Tables with one listener for all hosts, whose rules match path prefixes.
pub(crate) fn tables(
    address: SocketAddr,
    rules: Vec<(&str, HttpRule)>,
    services: &[(&str, &[SocketAddr])],
) -> HttpTables {
    let port = NonZeroU16::new(address.port()).expect("a port");
    let key = FrontendKey { address: address.ip(), port, protocol: Protocol::Tcp };
    let object = |name: &str| ObjectName { namespace: "shop".to_owned(), name: name.to_owned() };
    let listener = ListenerName { gateway: object("gateway"), listener: "http".to_owned() };
    let rules = rules.into_iter().map(|(prefix, rule)| {
        let path = PathMatch::Prefix(Path::parse(prefix).expect("a path"));
        HttpRouteRule { matches: vec![HttpMatch { path, ..HttpMatch::any() }], rule: Arc::new(rule) }
    });
    let route = HttpRoute { age: RouteAge::default(), rules: rules.collect() };
    let routes = HostRoutes { http: vec![object("web")].into(), grpc: Names::default() };
    let services = services.iter().map(|(name, addresses)| {
        let ready = addresses.iter().map(|address| Endpoint { address: *address, node: None });
        (service(name), HttpEndpoints { ready: ready.collect(), ..HttpEndpoints::default() })
    });
    HttpTables {
        frontends: BTreeMap::from([(
            key,
            HttpFrontend { listeners: BTreeMap::from([(HostPattern::Any, listener.clone())]) },
        )]),
        listeners: BTreeMap::from([(
            listener,
            HttpListener {
                scheme: Scheme::Http,
                port,
                settings: HttpSettings::default(),
                hosts: BTreeMap::from([(HostPattern::Any, routes)]),
                telemetry: HttpTelemetry::default(),
            },
        )]),
        http_routes: BTreeMap::from([(object("web"), Arc::new(route))]),
        grpc_routes: BTreeMap::new(),
        services: services.collect(),
    }
}

impl Proxy {
    pub(crate) async fn start(settings: Settings) -> Self {
        Self::of_server(Server::new(settings)).await
    }

    pub(crate) async fn of_server(server: Arc<Server>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let worker = Worker::start(Arc::clone(&server), Tcp);
        spawn_local(async move {
            while let Ok((socket, peer)) = listener.accept().await {
                let local = socket.local_addr().expect("an address");
                spawn_local(worker.connection(socket, local, peer));
            }
        });
        Self { server, address }
    }

    /// One that gives every request to these endpoints, with these settings of the Gateway.
    pub(crate) async fn set(settings: HttpSettings, endpoints: &[SocketAddr]) -> Self {
        let proxy = Self::start(Settings::default()).await;
        let rule = rule(split(vec![backend("web", 1, vec![])]));
        let mut tables = tables(proxy.address, vec![("/", rule)], &[("web", endpoints)]);
        tables.listeners.values_mut().for_each(|listener| listener.settings = settings);
        proxy.server.replace(&tables);
        proxy
    }

    /// The same with these limits.
    pub(crate) async fn limited(limits: HttpLimits, endpoints: &[SocketAddr]) -> Self {
        Self::set(HttpSettings { limits, ..HttpSettings::default() }, endpoints).await
    }

    /// One that gives every request to these endpoints.
    pub(crate) async fn of(endpoints: &[SocketAddr]) -> Self {
        Self::with(rule(split(vec![backend("web", 1, vec![])])), endpoints).await
    }

    /// One with one rule for every request, whose backend `web` has these endpoints.
    pub(crate) async fn with(rule: HttpRule, endpoints: &[SocketAddr]) -> Self {
        let proxy = Self::start(Settings::default()).await;
        proxy.server.replace(&tables(proxy.address, vec![("/", rule)], &[("web", endpoints)]));
        proxy
    }

    pub(crate) async fn connect(&self) -> Client {
        Client { socket: TcpStream::connect(self.address).await.expect("a connection"), received: Vec::new() }
    }

    /// The response to one request on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Response {
        let mut client = self.connect().await;
        client.send(request).await;
        client.response().await
    }
}

/// A client that sends bytes as they are.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    received: Vec<u8>,
}

/// A response as the client sees it.
#[derive(Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    pub(crate) trailers: String,
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: &str) {
        self.socket.write_all(bytes.as_bytes()).await.expect("the proxy takes it");
    }

    pub(crate) async fn response(&mut self) -> Response {
        self.response_to(false).await
    }

    /// Reads one response, interim ones too. It fails unless the response is whole.
    pub(crate) async fn response_to(&mut self, head: bool) -> Response {
        let mut response = Response::default();
        let to = AnswerTo { head, upgrade: true };
        let mut reader = loop {
            let parsed = ResponseHead::parse(&self.received, to, HeadLimits::default()).expect("no fault");
            if let Some(head) = parsed {
                let (len, framing) = (head.len, head.framing);
                response.status = head.status;
                response.head = String::from_utf8(self.received.drain(..len).collect()).expect("text");
                break BodyReader::new(framing, HeadLimits::default());
            }
            assert!(self.read().await, "the connection ended without a response: {:?}", self.received);
        };
        loop {
            let mut input = &self.received[..];
            let mut body = String::new();
            let ended = loop {
                match reader.next(&mut input).expect("no fault") {
                    Piece::Data(data) => body.push_str(std::str::from_utf8(data).expect("text")),
                    Piece::More => break false,
                    Piece::End => break true,
                }
            };
            response.body.push_str(&body);
            self.received = input.to_vec();
            if ended || (!self.read().await && reader.may_close()) {
                response.trailers = String::from_utf8(reader.trailers().to_vec()).expect("text");
                return response;
            }
        }
    }

    /// False: the connection has ended.
    async fn read(&mut self) -> bool {
        self.socket.read_buf(&mut self.received).await.is_ok_and(|read| read > 0)
    }

    /// Whether the proxy closes, having sent nothing more.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.received.is_empty() && !self.read().await
    }

    /// All that comes until the connection ends.
    pub(crate) async fn rest(mut self) -> String {
        while self.read().await {}
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

/// What an endpoint does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends these bytes once the request is read, and goes on.
    Send(String),
    /// The same, and closes.
    SendAndClose(String),
    /// Sends these bytes as soon as it has the head, and closes when the client does.
    SendEarly(String),
    /// Sends 100, and then these.
    Continue(String),
    /// Closes without a byte.
    Close,
    /// Says nothing until the connection ends.
    Silence,
    /// Takes the connection over and sends back what comes.
    Upgrade,
}

impl Act {
    pub(crate) fn text(body: &str) -> Self {
        Self::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }
}

/// A server on a real socket.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// Heads of the requests that came, and their bodies.
    pub(crate) requests: Rc<RefCell<Vec<(String, String)>>>,
    pub(crate) connections: Rc<Cell<usize>>,
}

impl Origin {
    /// One that does these in turn, the last of them again and again.
    pub(crate) async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let origin = Self { address, requests: Rc::default(), connections: Rc::default() };
        let (requests, connections) = (Rc::clone(&origin.requests), Rc::clone(&origin.connections));
        let acts = Rc::new(acts);
        let next = Rc::new(Cell::new(0));
        spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                connections.set(connections.get() + 1);
                spawn_local(serve(socket, Rc::clone(&acts), Rc::clone(&next), Rc::clone(&requests)));
            }
        });
        origin
    }

    pub(crate) fn last(&self) -> (String, String) {
        self.requests.borrow().last().cloned().expect("a request")
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.borrow().len()
    }
}

async fn serve(
    mut socket: TcpStream,
    acts: Rc<Vec<Act>>,
    next: Rc<Cell<usize>>,
    requests: Rc<RefCell<Vec<(String, String)>>>,
) {
    let mut received = Vec::new();
    loop {
        let (head, mut reader) = loop {
            if let Some(head) = RequestHead::parse(&received, HeadLimits::default()).expect("no fault") {
                let (len, framing) = (head.len, head.framing);
                let text = String::from_utf8(received.drain(..len).collect()).expect("text");
                break (text, BodyReader::new(framing, HeadLimits::default()));
            }
            if !socket.read_buf(&mut received).await.is_ok_and(|read| read > 0) {
                return;
            }
        };
        let act = acts[next.replace(next.get() + 1).min(acts.len() - 1)].clone();
        match &act {
            Act::SendEarly(bytes) => {
                requests.borrow_mut().push((head, String::new()));
                let _ = socket.write_all(bytes.as_bytes()).await;
                while socket.read_buf(&mut received).await.is_ok_and(|read| read > 0) {}
                return;
            }
            Act::Continue(_) => socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.expect("a reader"),
            _ => {}
        }
        let mut body = Vec::new();
        loop {
            let mut input = &received[..];
            let ended = loop {
                match reader.next(&mut input).expect("no fault") {
                    Piece::Data(data) => body.extend_from_slice(data),
                    Piece::More => break false,
                    Piece::End => break true,
                }
            };
            received = input.to_vec();
            if ended {
                break;
            }
            if !socket.read_buf(&mut received).await.is_ok_and(|read| read > 0) {
                return;
            }
        }
        body.extend_from_slice(reader.trailers());
        requests.borrow_mut().push((head, String::from_utf8(body).expect("text")));
        match act {
            Act::Send(bytes) | Act::Continue(bytes) => {
                if socket.write_all(bytes.as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::SendAndClose(bytes) => return drop(socket.write_all(bytes.as_bytes()).await),
            Act::Close => return,
            Act::Silence => {
                while socket.read_buf(&mut received).await.is_ok_and(|read| read > 0) {}
                return;
            }
            Act::Upgrade => {
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello ";
                socket.write_all(head.as_bytes()).await.expect("a reader");
                let (mut from, mut to) = socket.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
                return;
            }
            Act::SendEarly(_) => unreachable!("done above"),
        }
    }
}

/// A chunked body of these pieces.
pub(crate) fn chunked(pieces: &[&str], trailers: &str) -> String {
    let mut body = Vec::new();
    for piece in pieces {
        BodyWriter::Chunked.frame(piece.as_bytes(), &mut body);
    }
    BodyWriter::Chunked.finish(trailers.as_bytes(), &mut body);
    String::from_utf8(body).expect("text")
}

/// That the framing of a head is this.
pub(crate) fn assert_framing(head: &str, framing: Framing) {
    let parsed =
        ResponseHead::parse(head.as_bytes(), AnswerTo { head: false, upgrade: false }, HeadLimits::default());
    assert_eq!(parsed.expect("no fault").expect("a head").framing, framing, "{head}");
}
