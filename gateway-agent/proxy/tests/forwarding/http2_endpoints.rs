//! Endpoints that speak HTTP/2 in ways that RFC 9113 forbids: the request fails, nothing else does.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use gateway_agent_tables::http::BackendProtocol;
use http::Method;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{spawn_local, yield_now};

use crate::frames::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame, next_of,
};
use crate::http2::{client, full, request, speaking};
use crate::rig::{Proxy, run};

/// `:status` 200 (RFC 7541, appendix A).
const OK_BLOCK: &[u8] = &[0x88];

/// What no client is told to expect.
const PUSH_PROMISE: u8 = 5;

/// More than any flood may bring before it is ended.
const MOST: usize = 32 << 20;

/// A field without indexing (RFC 7541, 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let len = |text: &str| u8::try_from(text.len()).ok().filter(|len| *len < 127).expect("short");
    [&[0, len(name)], name.as_bytes(), &[len(value)], value.as_bytes()].concat()
}

fn head(block: &[u8], flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, 1, block)
}

fn ok(flags: u8) -> Vec<u8> {
    head(OK_BLOCK, flags)
}

/// An endpoint whose first connection sends `first` for its first request, and then `again` for as long as the connection
/// lasts. On others, every request is answered. Counts what it has sent on the first.
async fn endpoint(first: Vec<u8>, again: Vec<u8>) -> (SocketAddr, Rc<Cell<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    let sent = Rc::<Cell<usize>>::default();
    let count = Rc::clone(&sent);
    spawn_local(async move {
        let mut bad = accept(&listener).await;
        next_of(&mut bad, HEADERS).await;
        spawn_local(async move {
            let (mut from, mut to) = bad.into_split();
            spawn_local(async move { while from.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} });
            let mut piece = first;
            while to.write_all(&piece).await.is_ok() && !again.is_empty() {
                count.set(count.get() + piece.len());
                piece = again.repeat(100);
                yield_now().await;
            }
            // It stays open until the proxy ends it.
            std::future::pending::<()>().await;
        });
        loop {
            let mut good = accept(&listener).await;
            spawn_local(async move {
                while let Some(received) = frames::next(&mut good).await {
                    if received.kind == HEADERS {
                        let answer = frame(HEADERS, END_HEADERS | END_STREAM, received.stream, OK_BLOCK);
                        good.write_all(&answer).await.expect("taken");
                    }
                }
            });
        }
    });
    (address, sent)
}

/// A connection of the proxy whose preface is read and answered.
pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().await.expect("a connection");
    frames::preface(&mut socket).await;
    let settings = [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat();
    socket.write_all(&settings).await.expect("taken");
    socket
}

/// What a request to such an endpoint gets, whether it is whole, and what the endpoint could send again and again.
async fn ask(first: Vec<u8>, again: Vec<u8>) -> (u16, bool, usize) {
    let (address, sent) = endpoint(first, again).await;
    let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[address]).await;
    let mut client = client(&proxy).await;
    let (status, whole) = match client.send_request(request(Method::POST, "/", full("x"))).await {
        Ok(answered) => (answered.status().as_u16(), answered.into_body().collect().await.is_ok()),
        // The end overtakes the head.
        Err(_) => (200, false),
    };
    (status, whole, sent.get())
}

#[test]
fn answers_that_are_none_are_bad_gateways() {
    run(async {
        let long = field("a", &"b".repeat(120));
        for (name, first) in [
            ("no status", head(&field("a", "b"), END_STREAM)),
            ("a status that is no number", head(&field(":status", "abc"), END_STREAM)),
            ("two statuses", head(&[OK_BLOCK, OK_BLOCK].concat(), END_STREAM)),
            ("a status behind fields", head(&[&field("a", "b"), OK_BLOCK].concat(), END_STREAM)),
            ("an upper-case name", head(&[OK_BLOCK, &field("Abc", "d")].concat(), END_STREAM)),
            ("a line break in a value", head(&[OK_BLOCK, &field("a", "b\r\nc: d")].concat(), END_STREAM)),
            ("a field of connections", head(&[OK_BLOCK, &field("connection", "close")].concat(), END_STREAM)),
            ("an index that there is not", head(&[0xff, 0x7f], END_STREAM)),
            ("data before a head", frame(DATA, END_STREAM, 1, b"x")),
            ("data of no stream", frame(DATA, 0, 0, b"x")),
            ("data of a stream that there is not", frame(DATA, 0, 7, b"x")),
            ("a push", frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], frames::GET_BLOCK].concat())),
            ("a window that grows by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
            ("a window that overflows", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
            ("a frame that is too large", frame(PING, 0, 0, &vec![0; 20_000])),
            ("a head that is too large", head(&[OK_BLOCK, &long.repeat(120)].concat(), END_STREAM)),
            ("too many fields", head(&[OK_BLOCK, &field("a", "b").repeat(200)].concat(), END_STREAM)),
            ("a status that HTTP doesn't have", head(&field(":status", "600"), END_STREAM)),
            ("another protocol", head(&field(":status", "101"), 0)),
        ] {
            assert_eq!(ask(first, vec![]).await.0, 502, "{name}");
        }
    });
}

#[test]
fn answers_that_turn_bad_break_off() {
    run(async {
        let length = [OK_BLOCK, &field("content-length", "3")].concat();
        for (name, first) in [
            ("too short for its length", [head(&length, 0), frame(DATA, END_STREAM, 1, b"x")].concat()),
            ("too long for it", [head(&length, 0), frame(DATA, 0, 1, b"xxxx")].concat()),
            ("a reset", [ok(0), frame(DATA, 0, 1, b"x"), frame(RST_STREAM, 0, 1, &[0, 0, 0, 2])].concat()),
            ("trailers that are not the end", [ok(0), head(&field("a", "b"), 0)].concat()),
        ] {
            let (status, whole, _) = ask(first, vec![]).await;
            assert!(status == 502 || !whole, "{name}: {status}");
        }
        let many = [ok(0), frame(DATA, 0, 1, &[b'x'; 16 << 10]).repeat(100)].concat();
        let (status, whole, _) = ask(many, frame(DATA, 0, 1, &[b'x'; 16 << 10])).await;
        assert!(status == 200 && !whole, "more than windows allow");
    });
}

/// The proxy ends them before they have brought much.
#[test]
fn floods_of_endpoints_end() {
    run(async {
        for (name, first, again) in [
            ("PING", vec![], frame(PING, 0, 0, &[0; 8])),
            ("PING answers", vec![], frame(PING, ACK, 0, &[0; 8])),
            ("SETTINGS", vec![], frame(SETTINGS, 0, 0, &[])),
            ("WINDOW_UPDATE", vec![], frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
            ("unknown", vec![], frame(0xfa, 0, 0, &[])),
            ("CONTINUATION", frame(HEADERS, 0, 1, OK_BLOCK), frame(CONTINUATION, 0, 1, &[])),
            (
                "an endless head",
                frame(HEADERS, 0, 1, OK_BLOCK),
                frame(CONTINUATION, 0, 1, &field("a", &"b".repeat(100)).repeat(100)),
            ),
            ("interim responses", vec![], head(&field(":status", "103"), 0)),
        ] {
            let (status, _, sent) = ask(first, again).await;
            assert_eq!(status, 502, "{name}");
            assert!(sent < MOST, "{name}: {sent} bytes");
        }
        let (status, whole, _) = ask(ok(0), frame(DATA, 0, 1, &[])).await;
        assert!(status == 200 && !whole, "empty DATA");
    });
}

/// One endpoint's faults are nobody else's, and it is asked again by another connection.
#[test]
fn a_fault_ends_no_other_request() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[address]).await;
        let mut client = client(&proxy).await;
        let asked: Vec<_> =
            (0..3).map(|_| spawn_local(client.send_request(request(Method::POST, "/", full("x"))))).collect();
        let mut bad = accept(&listener).await;
        for _ in 0..3 {
            next_of(&mut bad, HEADERS).await;
        }
        // A stream's fault, and answers to those before and behind it.
        let answer = |stream, block: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, stream, block);
        let answers = [answer(1, OK_BLOCK), answer(3, &field("a", "b")), answer(5, OK_BLOCK)].concat();
        bad.write_all(&answers).await.expect("taken");
        let mut codes = Vec::new();
        for asked in asked {
            codes.push(asked.await.expect("no panic").expect("an answer").status().as_u16());
        }
        codes.sort_unstable();
        assert_eq!(codes, [200, 200, 502]);
        // A connection's fault.
        let asked = spawn_local(client.send_request(request(Method::POST, "/", full("x"))));
        next_of(&mut bad, HEADERS).await;
        bad.write_all(&frame(DATA, 0, 0, b"x")).await.expect("taken");
        assert_eq!(asked.await.expect("no panic").expect("an answer").status(), 502);
        let asked = spawn_local(client.send_request(request(Method::POST, "/", full("x"))));
        let mut other = accept(&listener).await;
        next_of(&mut other, HEADERS).await;
        other.write_all(&ok(END_STREAM)).await.expect("taken");
        assert_eq!(asked.await.expect("no panic").expect("an answer").status(), 200);
    });
}

/// An answer may come before the request's end, and then the word that no more of it is wanted (RFC 9113, 8.1).
#[test]
fn an_early_answer_is_whole_though_the_rest_is_refused() {
    run(async {
        let no_more = frame(RST_STREAM, 0, 1, &[0; 4]);
        let body = frame(DATA, END_STREAM, 1, b"enough");
        let (address, _) = endpoint([ok(0), body, no_more].concat(), vec![]).await;
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[address]).await;
        let mut client = proxy.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome").await;
        let response = client.response().await;
        assert_eq!((response.status, response.body.as_str()), (200, "enough"));
    });
}

/// Interim responses pass, from endpoints of either version to clients of either.
#[test]
fn interim_responses_pass() {
    run(async {
        let hint = [&field(":status", "103")[..], &field("link", "</a>")].concat();
        let (address, _) = endpoint([head(&hint, 0), ok(END_STREAM)].concat(), vec![]).await;
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[address]).await;
        let mut one = proxy.connect().await;
        one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let interim = one.response().await;
        assert!(interim.status == 103 && interim.head.contains("link: </a>\r\n"), "{}", interim.head);
        assert_eq!(one.response().await.status, 200);

        let (address, _) = endpoint([head(&hint, 0), ok(END_STREAM)].concat(), vec![]).await;
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[address]).await;
        let socket = TcpStream::connect(proxy.address).await.expect("a connection");
        let (client, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
        spawn_local(async move { drop(connection.await) });
        let asked = http::Request::get("http://a/").body(()).expect("a request");
        let (mut response, _) = client.ready().await.expect("ready").send_request(asked, true).expect("sent");
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        let interim = interim.expect("an interim response").expect("no error");
        assert!(interim.status() == 103 && interim.headers()["link"] == "</a>");
        assert_eq!(response.await.expect("a response").status(), 200);
    });
}
