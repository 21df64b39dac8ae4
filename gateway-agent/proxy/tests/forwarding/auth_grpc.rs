//! Services that are asked by gRPC, in the bytes of Envoy's protocol.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::rc::Rc;

use gateway_agent_proxy::{Reason, Settings};
use gateway_agent_tables::http::{
    AuthProtocol, BackendProtocol, ExternalAuth, FieldName, Filter, HttpRule, Upstream,
};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::spawn_local;

use crate::http2::{Local, Out};
use crate::rig::{Act, Origin, Proxy, backend, rule, run, service, split, tables};

/// A service of gRPC.
struct Authz {
    address: SocketAddr,
    asked: Asked,
}

/// Heads of the requests that came, and their bodies.
type Asked = Rc<RefCell<Vec<(http::request::Parts, Vec<u8>)>>>;

/// What it sends: a body, and the status that follows it.
#[derive(Clone, Debug)]
struct Says(Vec<u8>, Option<&'static str>);

impl Authz {
    async fn start(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let authz = Self { address: listener.local_addr().expect("an address"), asked: Rc::default() };
        let asked = Rc::clone(&authz.asked);
        spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (says, asked) = (says.clone(), Rc::clone(&asked));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (says, asked) = (says.clone(), Rc::clone(&asked));
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.expect("a body").to_bytes().to_vec();
                        asked.borrow_mut().push((parts, body));
                        Ok::<_, Infallible>(answer(says))
                    }
                });
                let connection = hyper::server::conn::http2::Builder::new(Local)
                    .serve_connection(TokioIo::new(socket), service);
                spawn_local(async move { drop(connection.await) });
            }
        });
        authz
    }
}

fn answer(Says(body, status): Says) -> Response<Out> {
    let trailers = status.map(|status| {
        let (name, value) = ("grpc-status".parse().expect("a name"), status.parse().expect("a value"));
        Ok(HeaderMap::from_iter([(name, value)]))
    });
    let body = Full::new(body.into()).with_trailers(ready(trailers)).boxed();
    Response::builder().header("content-type", "application/grpc").body(body).expect("an answer")
}

/// A field of bytes, text or a message.
fn bytes(number: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let mut field = vec![number << 3 | 2];
    varint(value.len(), &mut field);
    field.extend_from_slice(value);
    field
}

/// A field of a number.
fn number(field: u8, value: usize) -> Vec<u8> {
    let mut bytes = vec![field << 3];
    varint(value, &mut bytes);
    bytes
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

/// With the prefix that gRPC has.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0][..], &length, message].concat()
}

fn says(parts: &[Vec<u8>]) -> Says {
    Says(framed(&parts.concat()), Some("0"))
}

/// `HeaderValueOption`; `rest` holds what is to become of fields that are there.
fn option(name: &str, value: &str, rest: &[u8]) -> Vec<u8> {
    let header = [bytes(1, name), bytes(2, value)].concat();
    [&bytes(1, header)[..], rest].concat()
}

pub(crate) fn external(request_headers: &[&str], body_limit: u32) -> ExternalAuth {
    let names = request_headers.iter().map(|it| FieldName::parse(it).expect("a name"));
    ExternalAuth {
        upstream: Upstream { service: service("auth"), protocol: BackendProtocol::Http2, encrypted: false },
        protocol: AuthProtocol::Grpc { request_headers: names.collect() },
        body_limit,
    }
}

pub(crate) fn guarded(auth: ExternalAuth) -> HttpRule {
    let mut rule = rule(split(vec![backend("web", 1, vec![])]));
    rule.filters = vec![Filter::ExternalAuth(auth)];
    rule
}

async fn start(auth: ExternalAuth, web: &Origin, service: SocketAddr) -> Proxy {
    start_with(Settings::default(), auth, web, service).await
}

pub(crate) async fn start_with(
    settings: Settings,
    auth: ExternalAuth,
    web: &Origin,
    service: SocketAddr,
) -> Proxy {
    let proxy = Proxy::start(settings).await;
    let services: [(&str, &[_]); 2] = [("web", &[web.address]), ("auth", &[service])];
    proxy.server.replace(&tables(proxy.address, vec![("/", guarded(auth))], &services));
    proxy
}

/// Whether the bytes hold this field somewhere.
fn holds(message: &[u8], field: &[u8]) -> bool {
    message.windows(field.len()).any(|part| part == field)
}

#[test]
fn a_service_is_told_all_that_it_may_know() {
    run(async {
        let entry = |name: &str, value: &str| bytes(3, [bytes(1, name), bytes(2, value)].concat());
        for (named, body_limit, sent, has, lacks) in [
            (
                &[][..],
                0,
                "hello",
                vec![
                    entry("cookie", "c=d"),
                    entry("x-team", "a,b"),
                    entry("x-forwarded-for", "127.0.0.1"),
                    number(9, 5),
                ],
                vec![bytes(11, "hello")],
            ),
            (
                &["Cookie"],
                5,
                "hello",
                vec![entry("cookie", "c=d"), bytes(11, "hello"), number(9, 5)],
                vec![b"x-team".to_vec()],
            ),
            (&[], 5, "\u{fffd}", vec![bytes(11, "\u{fffd}"), number(9, 3)], vec![]),
        ] {
            let web = Origin::start(vec![Act::text("web")]).await;
            let service = Authz::start(says(&[bytes(1, [])])).await;
            let proxy = start(external(named, body_limit), &web, service.address).await;
            let mut client = proxy.connect().await;
            let port = client.socket.local_addr().expect("an address").port();
            let length = sent.len();
            client
                .send(&format!(
                    "POST /a?b=c HTTP/1.1\r\nHost: shop.example\r\nCookie: c=d\r\nX-Team: a\r\nx-team: b\r\n\
                     Content-Length: {length}\r\n\r\n{sent}"
                ))
                .await;
            assert_eq!(client.response().await.body, "web");
            assert_eq!(web.last().1, sent);
            let asked = service.asked.borrow();
            let (parts, body) = &asked[0];
            assert_eq!(parts.uri.path(), "/envoy.service.auth.v3.Authorization/Check");
            assert_eq!(
                (&parts.headers["content-type"], &parts.headers["te"]),
                (&"application/grpc".parse().expect("a value"), &"trailers".parse().expect("a value"))
            );
            let message = &body[5..];
            assert_eq!(body, &framed(message));
            let peer =
                |port: u16| bytes(1, bytes(1, [bytes(2, "127.0.0.1"), number(3, port.into())].concat()));
            let all = [
                bytes(1, peer(port)),
                bytes(2, peer(proxy.address.port())),
                bytes(2, "POST"),
                bytes(4, "/a?b=c"),
                bytes(5, "shop.example"),
                bytes(6, "http"),
                bytes(10, "HTTP/1.1"),
            ];
            for field in all.iter().chain(&has) {
                assert!(
                    holds(message, field),
                    "{:?} {:?}",
                    String::from_utf8_lossy(field),
                    String::from_utf8_lossy(message)
                );
            }
            assert!(!lacks.iter().any(|field| holds(message, field)), "{named:?}");
        }
    });
}

#[test]
fn what_is_no_permission_is_none() {
    run(async {
        let status = |code| bytes(1, number(1, code));
        let denied = |code, fields: &[u8], body: &str| {
            bytes(2, [&bytes(1, number(1, code))[..], fields, &bytes(3, body)].concat())
        };
        let field = bytes(2, option("www-authenticate", "Basic", &[]));
        let allowed = framed(&bytes(1, []));
        for (says, code, body, reason) in [
            (says(&[status(16), denied(401, &field, "who?")]), 401, "who?", Reason::Denied),
            (
                says(&[status(7), denied(302, &bytes(2, option("location", "https://l/", &[])), "")]),
                302,
                "",
                Reason::Denied,
            ),
            (says(&[status(7), denied(0, &[], "no")]), 403, "no", Reason::Denied),
            (says(&[status(7)]), 403, "", Reason::Denied),
            // What belongs to an allowed request changes nothing about a denial.
            (says(&[status(7), bytes(3, [])]), 403, "", Reason::Denied),
            // An answer without status has decided nothing.
            (says(&[]), 500, "", Reason::AuthMalformed),
            (says(&[denied(401, &[], "")]), 500, "", Reason::AuthMalformed),
            (says(&[status(7), denied(100, &[], "")]), 500, "", Reason::AuthMalformed),
            (says(&[status(7), denied(9999, &[], "")]), 500, "", Reason::AuthMalformed),
            (
                says(&[bytes(1, []), bytes(3, bytes(2, option("x y", "1", &[])))]),
                500,
                "",
                Reason::AuthMalformed,
            ),
            (
                says(&[bytes(1, []), bytes(3, bytes(2, option("x", "1\r\ny: 2", &[])))]),
                500,
                "",
                Reason::AuthMalformed,
            ),
            (says(&[b"\x0a\xff".to_vec()]), 500, "", Reason::AuthMalformed),
            (Says(allowed.clone(), Some("13")), 500, "", Reason::AuthMalformed),
            (Says(allowed.clone(), None), 500, "", Reason::AuthMalformed),
            (Says(allowed[..6].to_vec(), Some("0")), 500, "", Reason::AuthMalformed),
            (Says([&[1], &allowed[1..]].concat(), Some("0")), 500, "", Reason::AuthMalformed),
            (Says([&allowed[..], &allowed].concat(), Some("0")), 500, "", Reason::AuthMalformed),
            (Says(vec![], Some("0")), 500, "", Reason::AuthMalformed),
            (Says(framed(&vec![0; 70_000]), Some("0")), 500, "", Reason::AuthMalformed),
        ] {
            let web = Origin::start(vec![Act::text("web")]).await;
            let service = Authz::start(says.clone()).await;
            let proxy = start(external(&[], 0), &web, service.address).await;
            let response = proxy.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!((response.status, proxy.server.counters.replies(reason)), (code, 1), "{says:?}");
            if reason == Reason::Denied {
                assert_eq!(response.body, body);
                assert_eq!(
                    response.head.contains("www-authenticate: Basic\r\n"),
                    code == 401,
                    "{}",
                    response.head
                );
            }
            assert_eq!(web.connections.get(), 0);
        }
    });
}

/// One that speaks HTTP/1.1 is no service of gRPC.
#[test]
fn another_protocol_is_no_permission() {
    run(async {
        let web = Origin::start(vec![Act::text("web")]).await;
        let ok = framed(&bytes(1, []));
        let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = service.local_addr().expect("an address");
        spawn_local(async move {
            while let Ok((mut socket, _)) = service.accept().await {
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\ngrpc-status: 0\r\n\r\n", ok.len());
                let bytes = [head.as_bytes(), &ok].concat();
                drop(tokio::io::AsyncWriteExt::write_all(&mut socket, &bytes).await);
            }
        });
        let proxy = start(external(&[], 0), &web, address).await;
        let response = proxy.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!((response.status, web.connections.get()), (500, 0));
    });
}
