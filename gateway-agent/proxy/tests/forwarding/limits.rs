//! What a Gateway's clients may take, and what they are told when they want more.

use gateway_agent_proxy::h1::Fault;
use gateway_agent_proxy::{Closed, Reason};
use gateway_agent_tables::http::{DoubledSlashes, EncodedSlashes, HttpLimits, HttpSettings, PathRules};
use tokio::task::yield_now;

use crate::rig::{Act, Origin, Proxy, chunked, run};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn connections_beyond_the_limit_are_closed_and_counted() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let limits = HttpLimits { connections: 2, ..HttpLimits::default() };
        let proxy = Proxy::limited(limits, &[origin.address]).await;
        let mut clients = [proxy.connect().await, proxy.connect().await];
        for client in &mut clients {
            client.send(GET).await;
            assert_eq!(client.response().await.status, 200);
        }
        assert!(proxy.connect().await.is_closed().await);
        assert_eq!(proxy.server.counters.closed(Closed::GatewayConnections), 1);
        let [first, mut second] = clients;
        drop(first);
        second.send(GET).await;
        assert_eq!(second.response().await.status, 200, "those that are open go on");
        // The proxy learns of the end when it gets to it.
        loop {
            let mut third = proxy.connect().await;
            if third.socket.try_write(GET.as_bytes()).is_ok() && !third.is_closed().await {
                break;
            }
            yield_now().await;
        }
    });
}

#[test]
fn requests_beyond_the_limit_get_503() {
    run(async {
        let origin = Origin::start(vec![Act::Silence]).await;
        let limits = HttpLimits { requests: 1, ..HttpLimits::default() };
        let proxy = Proxy::limited(limits, &[origin.address]).await;
        let mut waiting = proxy.connect().await;
        waiting.send(GET).await;
        while origin.count() == 0 {
            yield_now().await;
        }
        assert_eq!(proxy.ask(GET).await.status, 503);
        assert_eq!(proxy.server.counters.replies(Reason::GatewayBusy), 1);
        drop(waiting);
    });
}

#[test]
fn endpoints_get_no_more_than_they_may() {
    run(async {
        let origins = [Origin::start(vec![Act::Silence]).await, Origin::start(vec![Act::Silence]).await];
        let limits = HttpLimits { endpoint_requests: Some(1), ..HttpLimits::default() };
        let proxy = Proxy::limited(limits, &[origins[0].address, origins[1].address]).await;
        let mut waiting = [proxy.connect().await, proxy.connect().await];
        for (index, client) in waiting.iter_mut().enumerate() {
            client.send(GET).await;
            while origins.iter().map(Origin::count).sum::<usize>() <= index {
                yield_now().await;
            }
        }
        assert_eq!(origins.each_ref().map(Origin::count), [1, 1]);
        assert_eq!(proxy.ask(GET).await.status, 503);
        assert_eq!(proxy.server.counters.replies(Reason::EndpointsBusy), 1);
    });
}

#[test]
fn bodies_and_heads_beyond_the_limit_are_refused() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let limits =
            HttpLimits { body_bytes: Some(10), head_bytes: 1024, head_fields: 5, ..HttpLimits::default() };
        let proxy = Proxy::limited(limits, &[origin.address]).await;
        let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}");
        let chunks = |pieces: &[&str]| post("Transfer-Encoding: chunked", &chunked(pieces, ""));
        let long = "x".repeat(1100);
        for (request, status) in [
            (post("Content-Length: 10", "0123456789"), 200),
            (chunks(&["01234", "56789"]), 200),
            (post("Content-Length: 11", ""), 413),
            (post("Content-Length: 11\r\nExpect: 100-continue", ""), 413),
            (chunks(&["01234", "567890"]), 413),
            (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
            (format!("GET / HTTP/1.1\r\nHost: a\r\nb: {long}\r\n\r\n"), 431),
            (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "b: c\r\n".repeat(5)), 431),
        ] {
            assert_eq!(proxy.ask(&request).await.status, status, "{request:.80}");
        }
        assert_eq!(proxy.server.counters.faults(Fault::BodySize), 3);
        // One that grows too large on its way.
        let mut client = proxy.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n").await;
        while origin.connections.get() == 0 {
            yield_now().await;
        }
        client.send("6\r\n").await;
        assert_eq!(client.response().await.status, 413);
    });
}

#[test]
fn what_is_matched_is_what_is_forwarded() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let by_default = PathRules::default();
        let decode = PathRules { encoded_slashes: EncodedSlashes::Decode, ..by_default };
        let refuse = PathRules { encoded_slashes: EncodedSlashes::Refuse, ..by_default };
        let keep = PathRules { doubled_slashes: DoubledSlashes::Keep, ..by_default };
        for (paths, sent, forwarded) in [
            (by_default, "/%41//b/../c?d=%2e", Some("/A/c?d=%2e")),
            (by_default, "/a%2fb", Some("/a%2Fb")),
            (by_default, "/a|b", Some("/a%7Cb")),
            (by_default, "/a/../../b", None),
            (by_default, "/a%5c..%5cb", None),
            (by_default, "/a/..;/b", None),
            (by_default, "/%zz", None),
            (decode, "/a%2F..%2fb", Some("/b")),
            (refuse, "/a%2Fb", None),
            (keep, "//a", Some("//a")),
        ] {
            let settings = HttpSettings { paths, ..HttpSettings::default() };
            let proxy = Proxy::set(settings, &[origin.address]).await;
            let status = proxy.ask(&format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n")).await.status;
            assert_eq!(status, if forwarded.is_some() { 200 } else { 400 }, "{sent}");
            if let Some(forwarded) = forwarded {
                let head = origin.last().0;
                assert_eq!(head.split(' ').nth(1), Some(forwarded), "{sent}");
            }
        }
    });
}

#[test]
fn only_trusted_proxies_say_who_the_client_is() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        for (trusted_hops, list) in [(0, "127.0.0.1"), (1, "10.0.0.2, 127.0.0.1")] {
            let settings = HttpSettings { trusted_hops, ..HttpSettings::default() };
            let proxy = Proxy::set(settings, &[origin.address]).await;
            let fields = "X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\nX-Forwarded-Proto: https";
            proxy.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")).await;
            let head = origin.last().0;
            assert!(head.contains(&format!("X-Forwarded-For: {list}\r\n")), "{head}");
            assert_eq!(head.contains("X-Forwarded-Proto: https\r\n"), trusted_hops == 1, "{head}");
        }
    });
}

#[test]
fn endpoints_that_say_too_much_are_not_believed() {
    run(async {
        let endless = format!(
            "{}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 103 Early\r\n\r\n".repeat(40)
        );
        let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        for (answer, request, status) in [
            (endless, GET, 502),
            // Bodies where there are none: they must not become the answer to what follows.
            (
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{evil}", evil.len()),
                "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
                200,
            ),
            (format!("HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n{evil}", evil.len()), GET, 204),
            (format!("HTTP/1.1 304 Not Modified\r\n\r\n{evil}"), GET, 304),
            (format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{evil}"), GET, 200),
        ] {
            let origin = Origin::start(vec![Act::Send(answer), Act::text("good")]).await;
            let proxy = Proxy::of(&[origin.address]).await;
            let mut client = proxy.connect().await;
            client.send(request).await;
            let mut first = client.response_to(request.starts_with("HEAD")).await;
            while first.status == 103 {
                first = client.response_to(false).await;
            }
            assert_eq!(first.status, status);
            client.send(GET).await;
            assert_eq!(client.response().await.body, "good", "after {status}");
        }
    });
}
