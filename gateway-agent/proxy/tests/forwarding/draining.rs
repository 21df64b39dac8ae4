//! A proxy that drains: what is under way comes to its end, and no request meets a connection that closes.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use gateway_agent_proxy::Settings;
use gateway_agent_tables::http::BackendProtocol;
use http::Method;
use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::frames::{ACK, DATA, GOAWAY, HEADERS, PING, frame, get, next, next_of, open};
use crate::http2::{Echo, client, empty, request, speaking, text};
use crate::rig::{Act, Origin, Proxy, backend, rule, run, split, tables};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn what_was_asked_before_is_answered() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let proxy = Proxy::of(&[listener.local_addr().expect("an address")]).await;
        let mut busy = proxy.connect().await;
        busy.send(GET).await;
        let (origin, _) = listener.accept().await.expect("a connection");
        proxy.server.drain();
        origin.writable().await.expect("a connection");
        origin.try_write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast").expect("a connection");
        let response = busy.response().await;
        assert_eq!(response.body, "last");
        assert!(response.head.contains("Connection: close\r\n"), "{}", response.head);
        assert!(busy.is_closed().await);
    });
}

/// A client of HTTP/2 is told that the proxy drains: from then on idle ones of HTTP/1.1 could be closed.
#[test]
fn idle_clients_may_ask_once_more() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let (mut asks, mut fresh) = (proxy.connect().await, proxy.connect().await);
        asks.send(GET).await;
        assert_eq!(asks.response().await.body, "ok");
        let mut told = open(&proxy).await;
        proxy.server.drain();
        next_of(&mut told, GOAWAY).await;
        for client in [&mut asks, &mut fresh] {
            client.send(GET).await;
            let response = client.response().await;
            assert_eq!(response.body, "ok");
            assert!(response.head.contains("Connection: close\r\n"), "{}", response.head);
            assert!(client.is_closed().await);
        }
    });
}

/// Their connections end, and what comes too late is read, so that nothing is reset.
#[test]
fn clients_that_ask_nothing_are_left_in_the_end() {
    run(async {
        let idle_grace = Duration::from_secs(2);
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let proxy = Proxy::start(Settings { idle_grace, ..Settings::default() }).await;
        let rule = rule(split(vec![backend("web", 1, vec![])]));
        proxy.server.replace(&tables(proxy.address, vec![("/", rule)], &[("web", &[origin.address])]));
        let mut idle = proxy.connect().await;
        idle.send(GET).await;
        assert_eq!(idle.response().await.body, "ok");
        let begun = Instant::now();
        proxy.server.drain();
        assert!(idle.is_closed().await);
        assert!(begun.elapsed() >= idle_grace, "after {:?}", begun.elapsed());
        idle.send(GET).await;
        idle.socket.shutdown().await.expect("not reset");
        assert_eq!(idle.socket.read(&mut [0]).await.expect("not reset"), 0);
        assert_eq!(origin.count(), 1);
    });
}

#[test]
fn streams_are_finished_and_no_more_are_taken() {
    run(async {
        let echo = Echo::start().await;
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[echo.address]).await;
        let mut client = client(&proxy).await;
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        let response =
            client.send_request(request(Method::POST, "/", body.boxed())).await.expect("a response");
        proxy.server.drain();
        while !client.is_closed()
            && client.ready().await.is_ok()
            && client.send_request(request(Method::GET, "/", empty())).await.is_ok()
        {
            tokio::task::yield_now().await;
        }
        sender.send_data(Bytes::from_static(b"last")).await.expect("the stream is open");
        drop(sender);
        assert_eq!(text(response).await.2, "last");
    });
}

/// A request that was on its way when the proxy said that it goes is answered (RFC 9113, 6.8).
#[test]
fn streams_that_cross_the_farewell_are_served() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut socket = open(&proxy).await;
        socket.write_all(&get(1)).await.expect("taken");
        next_of(&mut socket, DATA).await;
        proxy.server.drain();
        let last = |goaway: &[u8]| u32::from_be_bytes(goaway[..4].try_into().expect("a stream's id"));
        assert_eq!(last(&next_of(&mut socket, GOAWAY).await.payload), u32::MAX >> 1);
        let ping = next_of(&mut socket, PING).await;
        // Sent before the farewell was read, so before the answer to what followed it.
        socket.write_all(&[get(3), frame(PING, ACK, 0, &ping.payload)].concat()).await.expect("taken");
        let (mut answered, mut farewell) = (false, None);
        while let Some(received) = next(&mut socket).await {
            match received.kind {
                HEADERS => answered |= received.stream == 3,
                GOAWAY => farewell = Some(last(&received.payload)),
                _ => {}
            }
        }
        assert_eq!((answered, farewell), (true, Some(3)));
        assert_eq!(origin.count(), 2);
    });
}
