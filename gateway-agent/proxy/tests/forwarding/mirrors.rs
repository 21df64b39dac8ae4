//! Copies of requests. Clients see nothing of what becomes of them.

use std::num::NonZeroU32;
use std::time::Duration;

use gateway_agent_proxy::Settings;
use gateway_agent_tables::http::{
    BackendProtocol, Filter, Fraction, Hostname, HttpRule, Mirror, Path, PathRewrite, Upstream, UrlRewrite,
};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::failures::refusing;
use crate::rig::{Act, Origin, Proxy, backend, chunked, rule, run, service, split, tables};

fn mirror(name: &str, share: Fraction) -> Filter {
    let upstream = Upstream { service: service(name), protocol: BackendProtocol::Http1, encrypted: false };
    Filter::Mirror(Mirror { upstream, share })
}

fn mirrored(to: &[&str]) -> HttpRule {
    let filters = to.iter().map(|name| mirror(name, Fraction::ALL)).collect();
    HttpRule { filters, ..rule(split(vec![backend("web", 1, vec![])])) }
}

/// Until this holds; the test's own limit ends what never does.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Copies are whole, whatever part of the body came with the head, and their answers go nowhere.
#[test]
fn mirrors_get_copies_and_their_answers_go_nowhere() {
    run(async {
        let long = "0123456789abcdef".repeat(50_000);
        for (lines, body, arrived) in [
            ("", String::new(), String::new()),
            ("Content-Length: 5\r\n", "hello".to_owned(), "hello".to_owned()),
            (&*format!("Content-Length: {}\r\n", long.len()), long.clone(), long.clone()),
            (
                "Transfer-Encoding: chunked\r\n",
                chunked(&[&long, "x"], "x-sum: 1\r\n"),
                format!("{long}xx-sum: 1\r\n"),
            ),
        ] {
            let origin = Origin::start(vec![Act::text("ok")]).await;
            let failing = "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno".to_owned();
            let copies = [
                Origin::start(vec![Act::Send(failing)]).await,
                Origin::start(vec![Act::text("copied")]).await,
            ];
            let proxy = Proxy::start(Settings::default()).await;
            let mut rule = rule(split(vec![backend("web", 1, vec![])]));
            let never = Fraction::new(0, NonZeroU32::MIN).expect("none");
            rule.filters =
                vec![mirror("one", Fraction::ALL), mirror("two", Fraction::ALL), mirror("web", never)];
            let services: [(&str, &[_]); 3] =
                [("web", &[origin.address]), ("one", &[copies[0].address]), ("two", &[copies[1].address])];
            proxy.server.replace(&tables(proxy.address, vec![("/", rule)], &services));
            let response = proxy.ask(&format!("POST /a HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")).await;
            assert_eq!((response.status, &*response.body), (200, "ok"));
            for copy in &copies {
                while copy.count() == 0 {
                    tokio::task::yield_now().await;
                }
                assert!(copy.last().1 == arrived && copy.last().0 == origin.last().0, "{lines}");
            }
            assert_eq!((origin.count(), proxy.server.counters.unmirrored()), (1, 0));
        }
    });
}

/// One refuses, one accepts and never reads, one has no endpoint, one closes: the client gets its answer all the same, and
/// its whole body arrives.
#[test]
fn mirrors_that_are_dead_or_slow_cost_clients_nothing() {
    run(async {
        let web = Origin::start(vec![Act::text("ok")]).await;
        let closing = Origin::start(vec![Act::Close]).await;
        let deaf = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let deaf_address = deaf.local_addr().expect("an address");
        let proxy = Proxy::start(Settings::default()).await;
        let (refusing, none) = (refusing(), []);
        let services: [(&str, &[_]); 5] = [
            ("web", &[web.address]),
            ("closing", &[closing.address]),
            ("refusing", &[refusing]),
            ("deaf", &[deaf_address]),
            ("none", &none),
        ];
        let rule = mirrored(&["closing", "refusing", "deaf", "none", "unknown"]);
        proxy.server.replace(&tables(proxy.address, vec![("/", rule)], &services));
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response().await.body, "ok");
        // More than the pieces that wait for a mirror, and the buffers of its socket.
        let body = "x".repeat(16 << 20);
        client
            .send(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
            .await;
        assert_eq!(client.response().await.body, "ok");
        assert_eq!(web.last().1.len(), body.len());
        until(|| proxy.server.counters.unmirrored() >= 4).await;
        drop(deaf);
    });
}

#[test]
fn copies_that_may_be_repeated_share_idle_connections() {
    const COPIES: usize = 20;
    run(async {
        let closing =
            |fields: &str| Act::SendAndClose(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n"));
        for (act, method, reuses) in [
            (Act::text("copied"), "GET", true),
            (Act::text("copied"), "POST", false),
            (closing(""), "GET", false),
            (closing("Connection: close\r\n"), "GET", false),
        ] {
            let web = Origin::start(vec![Act::text("ok")]).await;
            let copy = Origin::start(vec![act.clone()]).await;
            let proxy = Proxy::start(Settings::default()).await;
            let services: [(&str, &[_]); 2] = [("web", &[web.address]), ("copy", &[copy.address])];
            proxy.server.replace(&tables(proxy.address, vec![("/", mirrored(&["copy"]))], &services));
            for count in 1..=COPIES {
                let got =
                    proxy.ask(&format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).await;
                assert_eq!(got.body, "ok");
                until(|| copy.count() == count).await;
            }
            // The answer to one may still be on its way as the next one begins.
            let connections = copy.connections.get();
            assert!(
                if reuses { connections <= COPIES / 2 } else { connections == COPIES },
                "{act:?} {method}: {connections}"
            );
            assert_eq!(proxy.server.counters.unmirrored(), 0);
        }
    });
}

/// Copies are as endpoints get the request: with the new host and path, and those of the backend's filters.
#[test]
fn copies_are_rewritten_and_upgrades_are_not_copied() {
    run(async {
        let web = Origin::start(vec![Act::text("ok"), Act::Upgrade]).await;
        let copy = Origin::start(vec![Act::text("copied")]).await;
        let proxy = Proxy::start(Settings::default()).await;
        let rewrite = UrlRewrite {
            hostname: Some(Hostname::parse("b.example").expect("a name")),
            path: Some(PathRewrite::Full(Path::parse("/new").expect("a path"))),
        };
        let mut rule = rule(split(vec![backend("web", 1, vec![Filter::Rewrite(rewrite)])]));
        rule.filters = vec![mirror("copy", Fraction::ALL)];
        let services: [(&str, &[_]); 2] = [("web", &[web.address]), ("copy", &[copy.address])];
        proxy.server.replace(&tables(proxy.address, vec![("/", rule)], &services));
        assert_eq!(proxy.ask("GET /old?a HTTP/1.1\r\nHost: a\r\n\r\n").await.body, "ok");
        until(|| copy.count() == 1).await;
        assert!(copy.last().0.starts_with("GET /new?a HTTP/1.1\r\nHost: b.example\r\n"), "{}", copy.last().0);
        let mut client = proxy.connect().await;
        client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        assert_eq!(client.response().await.status, 101);
        assert_eq!((copy.count(), proxy.server.counters.unmirrored()), (1, 0));
    });
}
