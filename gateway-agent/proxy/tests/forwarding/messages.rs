//! What is sent arrives: heads, bodies, trailers, interim responses, other protocols.

use std::fmt::Write as _;

use gateway_agent_proxy::h1::Framing;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::{Act, Origin, Proxy, assert_framing, chunked, run};

#[test]
fn a_request_arrives_with_what_is_known_of_the_client() {
    run(async {
        let origin = Origin::start(vec![Act::text("hello")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let response = proxy
            .ask("GET /a/../b?c=d HTTP/1.1\r\nHost: shop.example:80\r\nX-One: 1\r\nConnection: close, X-Two\r\nX-Two: 2\r\n\r\n")
            .await;
        assert_eq!((response.status, &*response.body), (200, "hello"));
        assert!(response.head.contains("Connection: close\r\n"), "{}", response.head);
        let (head, _) = origin.last();
        let (head, trace) = head.split_once("traceparent: 00-").expect("a trace");
        assert_eq!((trace.len(), &trace[49..]), (56, "-02\r\n\r\n"), "{trace}");
        assert_eq!(
            head,
            "GET /b?c=d HTTP/1.1\r\nHost: shop.example:80\r\nX-One: 1\r\nX-Forwarded-For: 127.0.0.1\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: shop.example:80\r\n"
        );
    });
}

/// RFC 9110, 6.6.1.
#[test]
fn every_answer_has_one_date() {
    run(async {
        const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        let aged = Act::Send(format!("HTTP/1.1 200 OK\r\ndate: {OLD}\r\nContent-Length: 0\r\n\r\n"));
        let origin = Origin::start(vec![aged, Act::text("unaged")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        for (request, is_old) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
            // The proxy's own: a 400.
            ("GET / HTTP/1.1\r\n\r\n", false),
        ] {
            let response = proxy.ask(request).await;
            let head = response.head.to_ascii_lowercase();
            let dates: Vec<_> = head.lines().filter_map(|line| line.strip_prefix("date: ")).collect();
            assert!(matches!(*dates, [date] if date.ends_with(" gmt")), "{head}");
            assert_eq!(dates[0] == OLD.to_ascii_lowercase(), is_old, "{head}");
        }
    });
}

#[test]
fn bodies_arrive_however_their_end_is_told() {
    run(async {
        let long = "0123456789abcdef".repeat(100_000);
        for (lines, body, expected) in [
            ("Content-Length: 5\r\n", "hello".to_owned(), "hello".to_owned()),
            ("Content-Length: 0\r\n", String::new(), String::new()),
            (&*format!("Content-Length: {}\r\n", long.len()), long.clone(), long.clone()),
            ("Transfer-Encoding: chunked\r\n", chunked(&["he", "llo"], ""), "hello".to_owned()),
            (
                "Transfer-Encoding: chunked\r\n",
                chunked(&["hello"], "X-Sum: 1\r\n"),
                "helloX-Sum: 1\r\n".to_owned(),
            ),
            ("Transfer-Encoding: chunked\r\n", chunked(&[&long, &long], ""), long.repeat(2)),
        ] {
            let origin = Origin::start(vec![Act::text("taken")]).await;
            let proxy = Proxy::of(&[origin.address]).await;
            let response = proxy.ask(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")).await;
            assert_eq!((response.status, &*response.body), (200, "taken"), "{lines}");
            assert!(origin.last().1 == expected, "{lines}");
        }
    });
}

#[test]
fn answers_arrive_however_their_end_is_told() {
    run(async {
        let long = "0123456789abcdef".repeat(200_000);
        let of_length =
            |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let of_chunks = |body: &str| {
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunked(&[body], ""))
        };
        let until_close = |body: &str| format!("HTTP/1.1 200 OK\r\n\r\n{body}");
        for body in ["hello", &long] {
            for (act, in_11, in_10) in [
                (
                    Act::Send(of_length(body)),
                    Framing::Length(body.len() as u64),
                    Framing::Length(body.len() as u64),
                ),
                (Act::Send(of_chunks(body)), Framing::Chunked, Framing::UntilClose),
                (Act::SendAndClose(until_close(body)), Framing::Chunked, Framing::UntilClose),
            ] {
                let origin = Origin::start(vec![act]).await;
                let proxy = Proxy::of(&[origin.address]).await;
                for (version, framing) in [("1.1", in_11), ("1.0", in_10)] {
                    let response = proxy.ask(&format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n")).await;
                    assert_framing(&response.head, framing);
                    assert!(response.body == body, "{version} {framing:?}");
                }
            }
        }
    });
}

#[test]
fn answers_without_body_have_none() {
    run(async {
        for (method, answer, length) in [
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n", false),
            ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", true),
        ] {
            let origin = Origin::start(vec![Act::Send(answer.to_owned()), Act::text("next")]).await;
            let proxy = Proxy::of(&[origin.address]).await;
            let mut client = proxy.connect().await;
            client
                .send(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            let response = client.response_to(method == "HEAD").await;
            assert_eq!(response.head.contains("Content-Length: 5"), length, "{}", response.head);
            assert_eq!(client.response().await.body, "next");
            assert_eq!(origin.connections.get(), 1, "the endpoint's connection is used again");
        }
    });
}

#[test]
fn trailers_and_interim_answers_are_passed_on() {
    run(async {
        let answer = format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            chunked(&["hello"], "x-sum: 1\r\n")
        );
        let origin = Origin::start(vec![Act::Send(answer)]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n").await;
        let interim = client.response().await;
        assert_eq!(interim.head, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        let response = client.response().await;
        assert_eq!((&*response.body, &*response.trailers), ("hello", "x-sum: 1\r\n"));
        assert!(origin.last().0.contains("TE: trailers\r\nConnection: TE\r\n"));
        let old = proxy.ask("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!((old.status, &*old.body), (200, "hello"), "HTTP/1.0 has no interim answers");
    });
}

#[test]
fn a_client_that_waits_for_100_gets_it_from_the_endpoint() {
    run(async {
        let origin =
            Origin::start(vec![Act::Continue("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned())])
                .await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = proxy.connect().await;
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
        assert_eq!(client.response().await.status, 100);
        client.send("hello").await;
        assert_eq!(client.response().await.body, "ok");
        assert_eq!(origin.last().1, "hello");
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response().await.status, 100);
    });
}

#[test]
fn an_answer_before_the_requests_end_is_passed_on_and_both_connections_end() {
    run(async {
        let answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig".to_owned();
        let origin = Origin::start(vec![Act::SendEarly(answer)]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = proxy.connect().await;
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin").await;
        let response = client.response().await;
        assert_eq!((response.status, &*response.body), (413, "big"));
        assert!(response.head.contains("Connection: close"), "{}", response.head);
        assert!(client.is_closed().await);
    });
}

#[test]
fn a_protocol_is_changed_and_bytes_pass_both_ways() {
    run(async {
        let origin = Origin::start(vec![Act::Upgrade]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = proxy.connect().await;
        client.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\nearly ").await;
        let response = client.response_to(true).await;
        assert_eq!(response.status, 101);
        assert!(response.head.contains("Connection: Upgrade\r\nUpgrade: websocket\r\n"), "{}", response.head);
        let (head, _) = origin.last();
        assert!(head.contains("Connection: Upgrade\r\nUpgrade: websocket\r\n"), "{head}");
        client.send("and late").await;
        client.socket.shutdown().await.expect("half closed");
        assert_eq!(client.rest().await, "hello early and late");
    });
}

#[test]
fn requests_may_come_in_any_pieces() {
    run(async {
        let mut text = String::new();
        for (number, framing) in [
            (1, "Content-Length: 5\r\n\r\nhello"),
            (2, "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
            (3, "\r\n"),
        ] {
            let _ = write!(text, "POST /{number} HTTP/1.1\r\nHost: a\r\n{framing}");
        }
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        for at in (0..text.len()).step_by(5) {
            let mut client = proxy.connect().await;
            client.socket.set_nodelay(true).expect("a socket");
            client.send(&text[..at]).await;
            // The proxy reads the first part before there is a second.
            tokio::task::yield_now().await;
            client.send(&text[at..]).await;
            for _ in 0..3 {
                assert_eq!(client.response().await.body, "ok");
            }
            let requests = origin.requests.borrow();
            let last: Vec<_> =
                requests[requests.len() - 3..].iter().map(|(head, body)| (&head[..7], &**body)).collect();
            assert_eq!(last, [("POST /1", "hello"), ("POST /2", "hello"), ("POST /3", "")], "split at {at}");
        }
    });
}

/// A client that reads nothing stops the endpoint: what waits for it stays small.
#[test]
fn a_slow_client_slows_the_endpoint() {
    run(async {
        const LEN: usize = 64 << 20;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let proxy = Proxy::of(&[listener.local_addr().expect("an address")]).await;
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (mut origin, _) = listener.accept().await.expect("a connection");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n");
        origin.write_all(head.as_bytes()).await.expect("a reader");
        let piece = vec![b'a'; 1 << 20];
        let mut sent = 0;
        // Until nothing is taken for a while: the buffers of four sockets are full.
        while let Ok(written) =
            tokio::time::timeout(std::time::Duration::from_millis(300), origin.write(&piece)).await
        {
            sent += written.expect("a reader");
        }
        assert!(sent < LEN / 2, "{sent} bytes went into buffers");
        let reader = async {
            let mut received = 0;
            let mut buffer = vec![0; 1 << 20];
            while received < LEN + 1 {
                let read = client.socket.read(&mut buffer).await.expect("a connection");
                received += read;
                if read == 0 || received >= LEN + head.len() - 40 {
                    break;
                }
            }
            received
        };
        let writer = async {
            while sent < LEN {
                sent += origin.write(&piece[..(LEN - sent).min(piece.len())]).await.expect("a reader");
            }
        };
        let (received, ()) = tokio::join!(reader, writer);
        assert!(received >= LEN, "{received}");
    });
}
