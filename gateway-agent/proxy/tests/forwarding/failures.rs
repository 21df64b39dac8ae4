//! What goes wrong, and what the client learns of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use gateway_agent_proxy::Reason;
use gateway_agent_proxy::h1::Fault;
use gateway_agent_tables::http::{HttpLimits, Retry, RetryCode, Timeout, Timeouts};
use tokio::net::TcpSocket;

use crate::rig::{Act, Origin, Proxy, backend, rule, run, split};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// An address that refuses connections: somebody has it and doesn't listen, until the process ends. One that was given back
/// might be another test's in a moment.
pub(crate) fn refusing() -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = socket.local_addr().expect("an address");
    std::mem::forget(socket);
    address
}

#[test]
fn malformed_requests_are_refused_and_counted() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        for (request, status, fault) in [
            ("GET / HTTP/1.1\r\n\r\n", 400, Fault::HostMissing),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400, Fault::BareLf),
            ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, Fault::Version),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501, Fault::Connect),
            ("GET /../a HTTP/1.1\r\nHost: a\r\n\r\n", 400, Fault::Path),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
                Fault::LengthAndEncoding,
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400, Fault::ChunkSize),
            (&format!("GET /{} HTTP/1.1\r\n", "a".repeat(70_000)), 414, Fault::RequestLineSize),
            (&format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "a: b\r\n".repeat(200)), 431, Fault::FieldCount),
        ] {
            let mut client = proxy.connect().await;
            client.send(request).await;
            let response = client.response().await;
            assert_eq!(response.status, status, "{request:.100?}");
            assert!(response.head.contains("Connection: close"), "{}", response.head);
            assert!(client.is_closed().await, "{request:.100?}");
            assert_eq!(proxy.server.counters.faults(fault), 1, "{fault}");
        }
        assert_eq!(origin.count(), 0);
    });
}

/// A second chunk that is malformed comes when the request is already with the endpoint.
#[test]
fn a_body_that_turns_bad_ends_the_request() {
    run(async {
        let origin = Origin::start(vec![Act::Silence]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = proxy.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
        client.send("zz").await;
        assert_eq!(client.response().await.status, 400);
        assert!(client.is_closed().await);
    });
}

#[test]
fn malformed_answers_are_not_passed_on() {
    run(async {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "hello",
        ] {
            let origin = Origin::start(vec![Act::SendAndClose(answer.to_owned())]).await;
            let proxy = Proxy::of(&[origin.address]).await;
            assert_eq!(proxy.ask(GET).await.status, 502, "{answer:?}");
        }
    });
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_client() {
    run(async {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ] {
            let origin = Origin::start(vec![Act::SendAndClose(answer.to_owned())]).await;
            let proxy = Proxy::of(&[origin.address]).await;
            let mut client = proxy.connect().await;
            client.send(GET).await;
            let received = client.rest().await;
            assert!(received.ends_with("hello") || received.ends_with("hello\r\n"), "{received:?}");
            assert_eq!(proxy.server.counters.aborted(), 1);
        }
    });
}

#[test]
fn endpoints_that_refuse_are_passed_over() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let proxy = Proxy::of(&[refusing(), origin.address, refusing()]).await;
        for method in ["GET", "POST"] {
            for _ in 0..20 {
                let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
                assert_eq!(proxy.ask(&request).await.status, 200);
            }
        }
        let none = Proxy::of(&[refusing(), refusing()]).await;
        assert_eq!(none.ask(GET).await.status, 503);
        assert_eq!(none.server.counters.replies(Reason::Unreachable), 1);
    });
}

#[test]
fn an_endpoint_that_closes_without_an_answer_is_a_bad_gateway() {
    run(async {
        let origin = Origin::start(vec![Act::Close]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = proxy.connect().await;
        client.send(GET).await;
        assert_eq!(client.response().await.status, 502);
        client.send(GET).await;
        assert_eq!(client.response().await.status, 502, "the client's connection goes on");
        assert_eq!(origin.count(), 2, "nothing was sent twice");
    });
}

#[test]
fn time_outs_are_answered_with_504() {
    run(async {
        let origin = Origin::start(vec![Act::Silence]).await;
        let after = Duration::from_millis(200);
        let limit = Timeout::After(after);
        for timeouts in [
            Timeouts { request: limit, backend_request: Timeout::Default },
            Timeouts { request: Timeout::Default, backend_request: limit },
        ] {
            let mut rule = rule(split(vec![backend("web", 1, vec![])]));
            rule.timeouts = timeouts;
            let proxy = Proxy::with(rule, &[origin.address]).await;
            let begun = tokio::time::Instant::now();
            assert_eq!(proxy.ask(GET).await.status, 504);
            assert!(begun.elapsed() >= after, "{:?}", begun.elapsed());
        }
        let limits = HttpLimits { stall_timeout: Duration::from_millis(500), ..HttpLimits::default() };
        let proxy = Proxy::limited(limits, &[origin.address]).await;
        assert_eq!(proxy.ask(GET).await.status, 504);
        let body = proxy.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel").await;
        assert_eq!(body.status, 408, "the client is late, not the endpoint");
    });
}

#[test]
fn rules_retry_codes_and_failures() {
    run(async {
        let code = |code: u16| Act::Send(format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n"));
        for (acts, method, status, requests) in [
            (vec![code(503), code(500), Act::text("ok")], "GET", 200, 3),
            (vec![code(503), code(500), Act::text("ok")], "POST", 200, 3),
            (vec![code(503)], "GET", 503, 4),
            (vec![code(404)], "GET", 404, 1),
            (vec![Act::Close, Act::text("ok")], "GET", 502, 1),
            (vec![Act::Close, Act::text("ok")], "POST", 502, 1),
            (vec![Act::Silence, Act::text("ok")], "GET", 200, 2),
        ] {
            let mut rule = rule(split(vec![backend("web", 1, vec![])]));
            let codes = [500, 503].map(|code| RetryCode::new(code).expect("a code"));
            rule.retry = Some(Box::new(Retry {
                codes: BTreeSet::from(codes),
                attempts: NonZeroU32::new(3).expect("not zero"),
                backoff: Some(Duration::from_millis(5)),
            }));
            if matches!(acts[0], Act::Silence) {
                rule.timeouts.backend_request = Timeout::After(Duration::from_millis(300));
            }
            let origin = Origin::start(acts.clone()).await;
            let proxy = Proxy::with(rule, &[origin.address]).await;
            let response =
                proxy.ask(&format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")).await;
            assert_eq!((response.status, origin.count()), (status, requests), "{acts:?} {method}");
        }
    });
}

#[test]
fn a_requests_time_counts_its_tries() {
    run(async {
        let mut rule = rule(split(vec![backend("web", 1, vec![])]));
        let codes = BTreeSet::from([RetryCode::new(503).expect("a code")]);
        let attempts = NonZeroU32::new(1000).expect("not zero");
        rule.retry = Some(Box::new(Retry { codes, attempts, backoff: Some(Duration::from_millis(50)) }));
        // Two tries come before it, also on a slow machine.
        rule.timeouts.request = Timeout::After(Duration::from_secs(3));
        let origin =
            Origin::start(vec![Act::Send("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n".to_owned())]).await;
        let proxy = Proxy::with(rule, &[origin.address]).await;
        assert_eq!(proxy.ask(GET).await.status, 504);
        assert!(origin.count() > 1);
    });
}

/// Nothing was sent, so whatever the method: the endpoint may be there by the next try.
#[test]
fn connections_that_are_refused_are_tried_again_after_pauses() {
    run(async {
        for method in ["GET", "POST"] {
            let mut rule = rule(split(vec![backend("web", 1, vec![])]));
            let (attempts, backoff) = (NonZeroU32::new(2).expect("not zero"), Duration::from_millis(50));
            rule.retry = Some(Box::new(Retry { codes: BTreeSet::new(), attempts, backoff: Some(backoff) }));
            let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
            let proxy = Proxy::with(rule.clone(), &[refusing()]).await;
            let begun = tokio::time::Instant::now();
            assert_eq!(proxy.ask(&request).await.status, 503);
            assert!(begun.elapsed() >= 3 * backoff, "{:?}", begun.elapsed());
            assert_eq!(proxy.server.counters.replies(Reason::Unreachable), 1);
            rule.timeouts.request = Timeout::After(backoff);
            let proxy = Proxy::with(rule, &[refusing()]).await;
            assert_eq!(proxy.ask(&request).await.status, 504, "the request's time is over before");
        }
    });
}
