//! Connections are kept, used again, and closed when they should be.

use std::time::Duration;

use gateway_agent_tables::http::HttpLimits;

use crate::rig::{Act, Origin, Proxy, run};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn one_connection_on_each_side_serves_many_requests() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = proxy.connect().await;
        for _ in 0..10 {
            client.send(GET).await;
            assert_eq!(client.response().await.body, "ok");
        }
        let mut other = proxy.connect().await;
        other.send(GET).await;
        assert_eq!(other.response().await.body, "ok");
        assert_eq!((origin.count(), origin.connections.get()), (11, 1));
    });
}

#[test]
fn http_1_0_keeps_a_connection_only_if_it_asks() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        let response = client.response().await;
        assert!(response.head.contains("Connection: keep-alive\r\n"), "{}", response.head);
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        let response = client.response().await;
        assert!(response.head.contains("Connection: close\r\n"), "{}", response.head);
        assert!(client.is_closed().await);
    });
}

/// The endpoint closes each connection after its answer without having said so: the next request comes just as it does.
#[test]
fn a_connection_that_was_closed_meanwhile_costs_no_request() {
    run(async {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned();
        let origin = Origin::start(vec![Act::SendAndClose(answer)]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = proxy.connect().await;
        for _ in 0..50 {
            client.send(GET).await;
            assert_eq!(client.response().await.body, "ok");
        }
        assert_eq!(origin.count(), 50);
    });
}

/// The endpoint reads the second request and closes: it may have acted on it.
#[test]
fn only_requests_that_change_nothing_are_sent_twice() {
    run(async {
        for (method, status) in [("GET", 200), ("PUT", 200), ("DELETE", 200), ("POST", 502), ("PATCH", 502)] {
            let origin = Origin::start(vec![Act::text("one"), Act::Close, Act::text("two")]).await;
            let proxy = Proxy::of(&[origin.address]).await;
            let mut client = proxy.connect().await;
            let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
            client.send(&request).await;
            assert_eq!(client.response().await.body, "one");
            client.send(&request).await;
            assert_eq!(client.response().await.status, status, "{method}");
        }
    });
}

#[test]
fn bytes_behind_an_answer_end_the_endpoints_connection() {
    run(async {
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        let origin = Origin::start(vec![Act::Send(answer.to_owned()), Act::text("good")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = proxy.connect().await;
        client.send(GET).await;
        assert_eq!(client.response().await.body, "ok");
        client.send(GET).await;
        assert_eq!(client.response().await.body, "good");
        assert_eq!(origin.connections.get(), 2);
    });
}

#[test]
fn clients_that_are_slow_to_ask_are_told_or_left() {
    run(async {
        let second = Duration::from_secs(1);
        let told = HttpLimits { head_timeout: second, ..HttpLimits::default() };
        let mut slow = Proxy::limited(told, &[]).await.connect().await;
        slow.send("GET / HTTP/1.1\r\nHost:").await;
        assert_eq!(slow.response().await.status, 408);
        assert!(slow.is_closed().await);
        let left = HttpLimits { idle_timeout: second, ..HttpLimits::default() };
        let mut silent = Proxy::limited(left, &[]).await.connect().await;
        assert!(silent.is_closed().await);
    });
}
