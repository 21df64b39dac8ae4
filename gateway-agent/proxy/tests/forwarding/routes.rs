//! Rules decide: backends by weight, redirects, refusals, CORS, filters on the way.

use std::num::NonZeroU32;

use gateway_agent_proxy::Settings;
use gateway_agent_tables::http::{
    AllowList, BackendProtocol, Cors, FieldName, FieldValue, Filter, Fraction, HeaderEdits, Hostname,
    HttpAction, HttpRefusal, Mirror, Origin as Allowed, Path, PathRewrite, Redirect, RedirectStatus, Scheme,
    Upstream, UrlRewrite,
};

use crate::rig::{Act, Origin, Proxy, backend, chunked, rule, run, service, split, tables};

fn set(name: &str, value: &str) -> HeaderEdits {
    let field = (FieldName::parse(name).expect("a name"), FieldValue::parse(value).expect("a value"));
    HeaderEdits::new(vec![field], vec![], vec![]).expect("edits")
}

#[test]
fn what_has_no_backend_is_answered_as_the_api_says() {
    run(async {
        let proxy = Proxy::start(Settings::default()).await;
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(proxy.ask(&get("/")).await.status, 404, "no listener");
        let rules = vec![
            ("/invalid", rule(HttpAction::Refuse(HttpRefusal::InvalidBackend))),
            ("/empty", rule(split(vec![backend("empty", 1, vec![])]))),
            ("/weightless", rule(split(vec![backend("empty", 0, vec![])]))),
        ];
        proxy.server.replace(&tables(proxy.address, rules, &[("empty", &[])]));
        let mut client = proxy.connect().await;
        for (path, status) in [("/", 404), ("/invalid", 500), ("/empty", 503), ("/weightless", 500)] {
            client.send(&get(path)).await;
            assert_eq!(client.response().await.status, status, "{path}");
        }
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = client.response_to(true).await;
        assert_eq!(head.status, 404);
        assert!(head.head.contains("Content-Length: 9"), "{}", head.head);
        client.send("POST /empty HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await;
        assert!(client.response().await.head.contains("Connection: close"), "the body's rest is not read");
    });
}

#[test]
fn redirects_name_the_new_url() {
    run(async {
        let redirect = Redirect {
            scheme: Some(Scheme::Https),
            hostname: Some(Hostname::parse("b.example").expect("a name")),
            path: Some(PathRewrite::Prefix {
                matched: Path::parse("/old").expect("a path"),
                replacement: Path::parse("/new").expect("a path"),
            }),
            port: None,
            status: RedirectStatus::PermanentRedirect,
        };
        let proxy = Proxy::start(Settings::default()).await;
        let rules = vec![("/old", rule(HttpAction::Redirect(redirect)))];
        proxy.server.replace(&tables(proxy.address, rules, &[]));
        let response = proxy.ask("GET /old/x?y=z HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!((response.status, &*response.body), (308, ""));
        assert!(response.head.contains("Location: https://b.example/new/x?y=z\r\n"), "{}", response.head);
    });
}

#[test]
fn weights_share_requests_and_backends_have_filters() {
    run(async {
        let (one, two) =
            (Origin::start(vec![Act::text("1")]).await, Origin::start(vec![Act::text("2")]).await);
        let proxy = Proxy::start(Settings::default()).await;
        let rewrite = UrlRewrite {
            hostname: None,
            path: Some(PathRewrite::Full(Path::parse("/two").expect("a path"))),
        };
        let backends = vec![
            backend("one", 3, vec![Filter::RequestHeaders(set("X-Backend", "one"))]),
            backend("two", 1, vec![Filter::Rewrite(rewrite), Filter::ResponseHeaders(set("X-From", "two"))]),
            backend("none", 0, vec![]),
        ];
        let services: [(&str, &[_]); 2] = [("one", &[one.address]), ("two", &[two.address])];
        proxy.server.replace(&tables(proxy.address, vec![("/", rule(split(backends)))], &services));
        let mut client = proxy.connect().await;
        for _ in 0..400 {
            client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let response = client.response().await;
            assert_eq!(
                response.head.contains("X-From: two") || response.head.contains("x-from: two"),
                response.body == "2"
            );
        }
        // 100 of 400 expected; outside of five standard deviations once in two million runs.
        assert!((57..143).contains(&two.count()), "{}", two.count());
        assert_eq!(one.count() + two.count(), 400);
        assert!(one.last().0.contains("x-backend: one\r\n") && one.last().0.starts_with("GET /a "));
        assert!(two.last().0.starts_with("GET /two "));
    });
}

#[test]
fn browsers_are_answered_for_other_origins() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let mut rule = rule(split(vec![backend("web", 1, vec![])]));
        rule.filters = vec![Filter::Cors(Cors {
            allow_origins: vec![Allowed::parse("https://*.bar.com").expect("an origin")],
            allow_credentials: false,
            allow_methods: AllowList::All,
            allow_headers: AllowList::All,
            expose_headers: AllowList::These(vec![]),
            max_age: Cors::DEFAULT_MAX_AGE,
        })];
        let proxy = Proxy::with(rule, &[origin.address]).await;
        let ask = |method: &str, origin: &str| {
            format!(
                "{method} / HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\r\n"
            )
        };
        let allowed = "Access-Control-Allow-Origin: https://www.bar.com\r\n";
        let preflight = proxy.ask(&ask("OPTIONS", "https://www.bar.com")).await;
        assert_eq!((preflight.status, origin.count()), (200, 0));
        assert!(
            preflight.head.contains(allowed)
                && preflight.head.contains("Access-Control-Allow-Methods: PUT\r\n")
        );
        let refused = proxy.ask(&ask("OPTIONS", "https://evil.com")).await;
        assert_eq!((refused.status, refused.head.contains("Access-Control")), (403, false));
        let simple = proxy.ask(&ask("GET", "https://www.bar.com")).await;
        assert!(simple.body == "ok" && simple.head.contains(allowed), "{}", simple.head);
        let other = proxy.ask(&ask("GET", "https://evil.com")).await;
        assert!(other.body == "ok" && !other.head.contains("Access-Control"), "{}", other.head);
    });
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
            let mirror = |name: &str, share| {
                let upstream =
                    Upstream { service: service(name), protocol: BackendProtocol::Http1, encrypted: false };
                Filter::Mirror(Mirror { upstream, share })
            };
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

#[test]
fn new_tables_hold_for_the_next_request() {
    run(async {
        let (one, two) =
            (Origin::start(vec![Act::text("1")]).await, Origin::start(vec![Act::text("2")]).await);
        let proxy = Proxy::of(&[one.address]).await;
        let mut client = proxy.connect().await;
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(get).await;
        assert_eq!(client.response().await.body, "1");
        let rules = vec![("/", rule(split(vec![backend("web", 1, vec![])])))];
        proxy.server.replace(&tables(proxy.address, rules, &[("web", &[two.address])]));
        client.send(get).await;
        assert_eq!(client.response().await.body, "2");
    });
}
