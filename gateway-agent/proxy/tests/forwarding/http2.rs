//! HTTP/2 in front, behind, and both; gRPC.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use gateway_agent_proxy::Settings;
use gateway_agent_tables::ObjectName;
use gateway_agent_tables::http::{
    BackendProtocol, GrpcMatch, GrpcName, GrpcNameMatch, HttpAction, HttpBackend, HttpLimits, HttpRefusal,
    HttpRoute, HttpRouteRule, HttpRule, HttpTables, HttpTarget, RouteAge, Upstream,
};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::channel::Channel;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::rig::{Act, Origin, Proxy, chunked, rule, run, service, split, tables};

#[derive(Clone)]
pub(crate) struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

pub(crate) type Out = BoxBody<Bytes, Infallible>;

pub(crate) fn empty() -> Out {
    Empty::new().boxed()
}

pub(crate) fn full(text: &str) -> Out {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed()
}

pub(crate) async fn client(proxy: &Proxy) -> SendRequest<Out> {
    let socket = TcpStream::connect(proxy.address).await.expect("a connection");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(Local, TokioIo::new(socket)).await.expect("HTTP/2");
    spawn_local(async move { drop(connection.await) });
    sender
}

pub(crate) fn request(method: Method, path: &str, body: Out) -> Request<Out> {
    let request = Request::builder().method(method).uri(format!("http://shop.example{path}"));
    request.header("te", "trailers").body(body).expect("a request")
}

pub(crate) async fn text(response: Response<Incoming>) -> (u16, HeaderMap, String, Option<HeaderMap>) {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body");
    let trailers = body.trailers().cloned();
    let bytes = body.to_bytes().to_vec();
    (parts.status.as_u16(), parts.headers, String::from_utf8(bytes).expect("text"), trailers)
}

/// An endpoint that sends back what it gets, each piece as it comes, and then a trailer.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    heads: Rc<RefCell<Vec<http::request::Parts>>>,
    /// Streams that have not ended.
    pub(crate) open: Rc<Cell<usize>>,
}

impl Echo {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let echo = Self { address, heads: Rc::default(), open: Rc::default() };
        let (seen, open) = (Rc::clone(&echo.heads), Rc::clone(&echo.open));
        spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (seen, open) = (Rc::clone(&seen), Rc::clone(&open));
                let service = service_fn(move |request: Request<Incoming>| {
                    answer(request, Rc::clone(&seen), Open::of(&open))
                });
                let connection = hyper::server::conn::http2::Builder::new(Local)
                    .serve_connection(TokioIo::new(socket), service);
                spawn_local(async move { drop(connection.await) });
            }
        });
        echo
    }
}

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

/// Sends the body back, for `/length` with its length in the head, or for `/silence` nothing at all.
async fn answer(
    request: Request<Incoming>,
    seen: Rc<RefCell<Vec<http::request::Parts>>>,
    open: Open,
) -> Result<Response<Channel<Bytes, Infallible>>, Infallible> {
    let (parts, body) = request.into_parts();
    let silent = parts.uri.path() == "/silence";
    let length = parts.headers.get("content-length").filter(|_| parts.uri.path() == "/length").cloned();
    seen.borrow_mut().push(parts);
    if silent {
        std::future::pending::<()>().await;
    }
    let mut response = Response::new(echo(body, open));
    if let Some(length) = length {
        response.headers_mut().insert("content-length", length);
    }
    Ok(response)
}

fn echo(mut body: Incoming, open: Open) -> Channel<Bytes, Infallible> {
    let (mut sender, channel) = Channel::new(1);
    spawn_local(async move {
        let _open = open;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return };
            if let Ok(data) = frame.into_data()
                && sender.send_data(data).await.is_err()
            {
                return;
            }
        }
        let trailers = [("grpc-status".parse().expect("a name"), "0".parse().expect("a value"))];
        drop(sender.send_trailers(HeaderMap::from_iter(trailers)).await);
    });
    channel
}

/// A rule whose backend `web` speaks this.
pub(crate) fn speaking(protocol: BackendProtocol) -> HttpRule {
    let upstream = Upstream { service: service("web"), protocol, encrypted: false };
    let backend = HttpBackend {
        name: "web".to_owned(),
        weight: 1,
        filters: vec![],
        target: HttpTarget::Forward(upstream),
    };
    rule(split(vec![backend]))
}

#[test]
fn clients_of_http_2_reach_endpoints_of_http_1() {
    run(async {
        let long = "0123456789abcdef".repeat(20_000);
        let chunks = format!(
            "HTTP/1.1 200 OK\r\nX-From: origin\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            chunked(&[&long, "end"], "x-sum: 1\r\n")
        );
        let origin = Origin::start(vec![
            Act::text("hello"),
            Act::Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_owned()),
            Act::Send(chunks),
            Act::text("taken"),
        ])
        .await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = client(&proxy).await;
        let get = client.send_request(request(Method::GET, "/a?b=c", empty())).await.expect("a response");
        assert_eq!(text(get).await.2, "hello");
        let (head, _) = origin.last();
        assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\n"), "{head}");
        assert!(
            head.contains("X-Forwarded-For: 127.0.0.1\r\n") && !head.contains("Content-Length"),
            "{head}"
        );
        let head = client.send_request(request(Method::HEAD, "/", empty())).await.expect("a response");
        let (status, headers, body, _) = text(head).await;
        assert_eq!(
            (status, &*body, headers.get("content-length").map(http::HeaderValue::as_bytes)),
            (200, "", Some(&b"5"[..]))
        );
        let get = client.send_request(request(Method::GET, "/", empty())).await.expect("a response");
        let (_, headers, body, trailers) = text(get).await;
        assert!(body == format!("{long}end") && headers.contains_key("x-from"));
        assert_eq!(trailers.expect("trailers")["x-sum"], "1");
        let post = client.send_request(request(Method::POST, "/", full(&long))).await.expect("a response");
        assert_eq!(text(post).await.2, "taken");
        assert!(origin.last().1 == long);
    });
}

#[test]
fn clients_of_http_1_reach_endpoints_of_http_2() {
    run(async {
        let echo = Echo::start().await;
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[echo.address]).await;
        let long = "0123456789abcdef".repeat(20_000);
        let mut client = proxy.connect().await;
        for (lines, body) in [
            (format!("Content-Length: {}\r\n", long.len()), long.clone()),
            ("Transfer-Encoding: chunked\r\n".to_owned(), chunked(&[&long], "")),
        ] {
            client
                .send(&format!("POST /a?b HTTP/1.1\r\nHost: shop.example\r\nX-One: 1\r\n{lines}\r\n{body}"))
                .await;
            let response = client.response().await;
            assert!(
                response.status == 200 && response.body == long,
                "{lines} {} {}",
                response.head,
                response.body.len()
            );
            assert_eq!(response.trailers, "grpc-status: 0\r\n");
        }
        let heads = echo.heads.borrow();
        assert_eq!(heads[0].uri, "http://shop.example/a?b");
        assert_eq!(heads[0].headers["x-one"], "1");
    });
}

/// Each message is answered before the next is sent: nothing waits for an end.
#[test]
fn grpc_streams_both_ways() {
    run(async {
        let echo = Echo::start().await;
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[echo.address]).await;
        let mut client = client(&proxy).await;
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        let mut call = request(Method::POST, "/shop.Cart/Add", body.boxed());
        call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
        let response = client.send_request(call).await.expect("a response");
        let mut answers = response.into_body();
        for message in ["one", "two", "three"] {
            sender.send_data(Bytes::from_static(message.as_bytes())).await.expect("room");
            let answer = answers.frame().await.expect("a frame").expect("no error");
            assert_eq!(answer.into_data().expect("data"), message);
        }
        drop(sender);
        let trailers = answers.frame().await.expect("a frame").expect("no error");
        assert_eq!(trailers.into_trailers().expect("trailers")["grpc-status"], "0");
        assert_eq!(echo.heads.borrow()[0].headers["te"], "trailers");
    });
}

#[test]
fn grpc_learns_of_failures_in_its_own_words() {
    run(async {
        let proxy = Proxy::start(Settings::default()).await;
        proxy.server.replace(&grpc_tables(proxy.address));
        let mut client = client(&proxy).await;
        for (path, status) in [("/shop.Cart/Add", "14"), ("/shop.Cart/Remove", "12"), ("/other", "12")] {
            let mut call = request(Method::POST, path, full("message"));
            call.headers_mut().insert("content-type", "application/grpc+proto".parse().expect("a value"));
            let response = client.send_request(call).await.expect("a response");
            let (code, headers, body, _) = text(response).await;
            assert_eq!(
                (code, &*body, headers["grpc-status"].as_bytes()),
                (200, "", status.as_bytes()),
                "{path}"
            );
        }
        let plain =
            client.send_request(request(Method::GET, "/shop.Cart/Add", empty())).await.expect("a response");
        assert_eq!(plain.status(), 404, "no call of gRPC");
    });
}

/// A caller's deadline ends its call, whatever the endpoint does.
#[test]
fn grpc_deadlines_hold() {
    run(async {
        let echo = Echo::start().await;
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[echo.address]).await;
        let mut client = client(&proxy).await;
        let mut call = request(Method::POST, "/silence", full("message"));
        for (name, value) in [("content-type", "application/grpc"), ("grpc-timeout", "100m")] {
            call.headers_mut().insert(name, value.parse().expect("a value"));
        }
        let (code, headers, body, _) = text(client.send_request(call).await.expect("a response")).await;
        assert_eq!((code, &*body, headers["grpc-status"].as_bytes()), (200, "", &b"4"[..]));
    });
}

/// One GRPCRoute, whose only rule refuses `shop.Cart/Add`.
fn grpc_tables(address: SocketAddr) -> HttpTables {
    let mut tables = tables(address, vec![], &[]);
    let name = |text| GrpcNameMatch::Exact(GrpcName::parse(text).expect("a name"));
    let matched = GrpcMatch { service: name("shop.Cart"), method: name("Add"), headers: vec![] };
    let rule = Arc::new(rule(HttpAction::Refuse(HttpRefusal::InvalidBackend)));
    let route =
        HttpRoute { age: RouteAge::default(), rules: vec![HttpRouteRule { matches: vec![matched], rule }] };
    let object = ObjectName { namespace: "shop".to_owned(), name: "cart".to_owned() };
    for listener in tables.listeners.values_mut() {
        for host in listener.hosts.values_mut() {
            host.grpc = vec![object.clone()].into();
        }
    }
    tables.grpc_routes = BTreeMap::from([(object, Arc::new(route))]);
    tables
}

/// HTTP/1.1 stands between the two, where an answer has either a length or trailers.
#[test]
fn trailers_follow_an_answer_that_names_its_length() {
    run(async {
        let echo = Echo::start().await;
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[echo.address]).await;
        let mut client = client(&proxy).await;
        let asked = request(Method::POST, "/length", full("hello"));
        let (code, _, body, trailers) = text(client.send_request(asked).await.expect("an answer")).await;
        assert_eq!((code, body.as_str()), (200, "hello"));
        assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
    });
}

#[test]
fn an_authority_and_a_host_must_agree() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = client(&proxy).await;
        for (host, status) in [("shop.example", 200), ("other.example", 400)] {
            let mut request = request(Method::GET, "/", empty());
            request.headers_mut().insert("host", host.parse().expect("a value"));
            assert_eq!(client.send_request(request).await.expect("a response").status(), status, "{host}");
        }
    });
}

/// A client that goes takes its streams along, at the endpoint too: one that is still sending, and one that waits.
#[test]
fn a_stream_that_is_given_up_ends_everywhere() {
    run(async {
        let echo = Echo::start().await;
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[echo.address]).await;
        let socket =
            TcpStream::connect(proxy.address).await.and_then(TcpStream::into_std).expect("a connection");
        let same = socket.try_clone().expect("a descriptor");
        let io = TokioIo::new(TcpStream::from_std(socket).expect("a connection"));
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(Local, io).await.expect("HTTP/2");
        spawn_local(async move { drop(connection.await) });
        let (_sender, body) = Channel::<Bytes, Infallible>::new(1);
        let sending =
            client.send_request(request(Method::POST, "/", body.boxed())).await.expect("a response");
        let waiting = spawn_local(client.send_request(request(Method::GET, "/silence", empty())));
        while echo.open.get() < 2 {
            tokio::task::yield_now().await;
        }
        same.shutdown(Shutdown::Both).expect("a connection");
        while echo.open.get() > 0 {
            tokio::task::yield_now().await;
        }
        drop((sending, waiting));
    });
}

#[test]
fn limits_hold_for_streams_too() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let limits =
            HttpLimits { head_bytes: 1024, head_fields: 10, body_bytes: Some(5), ..HttpLimits::default() };
        let proxy = Proxy::limited(limits, &[origin.address]).await;
        let mut client = client(&proxy).await;
        let with = |name: &str, value: String, body: Out| {
            let mut request = request(Method::POST, "/", body);
            request.headers_mut().insert(
                http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                value.parse().expect("a value"),
            );
            request
        };
        for (request, status) in [
            (with("a", "b".to_owned(), full("12345")), 200),
            (with("a", "b".repeat(2000), empty()), 431),
            (with("a", "b".to_owned(), full("123456")), 413),
            (with("content-length", "6".to_owned(), full("123456")), 413),
        ] {
            client.ready().await.expect("the connection stays");
            let response = client.send_request(request).await.expect("an answer");
            assert_eq!(response.status().as_u16(), status);
        }
        let mut many = request(Method::GET, "/", empty());
        for number in 0..10 {
            many.headers_mut().insert(
                http::HeaderName::try_from(format!("a{number}")).expect("a name"),
                "b".parse().expect("a value"),
            );
        }
        assert_eq!(client.send_request(many).await.expect("an answer").status(), 431);
    });
}
