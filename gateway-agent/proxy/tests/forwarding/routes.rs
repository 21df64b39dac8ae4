//! Rules decide: backends by weight, redirects, refusals, CORS, filters on the way.

use gateway_agent_proxy::Settings;
use gateway_agent_tables::http::{
    FieldName, FieldValue, Filter, HeaderEdits, HttpAction, HttpRefusal, Path, PathRewrite, UrlRewrite,
};

use crate::rig::{Act, Origin, Proxy, backend, rule, run, split, tables};

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
