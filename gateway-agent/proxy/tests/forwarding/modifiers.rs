//! Header modifiers, on the wire and on answers of the proxy itself.

use gateway_agent_proxy::Settings;
use gateway_agent_tables::http::{
    FieldName, FieldValue, Filter, HeaderEdits, HttpAction, HttpRefusal, HttpRule, Redirect, RedirectStatus,
};

use crate::http2;
use crate::rig::{Act, Origin, Proxy, backend, rule, run, split, tables};

fn edits(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderEdits {
    let name = |text: &str| FieldName::parse(text).expect("a name");
    let value = |text: &str| FieldValue::parse(text).expect("a value");
    let all = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, text)| (name(key), value(text))).collect();
    HeaderEdits::new(all(set), all(add), remove.iter().map(|text| name(text)).collect()).expect("edits")
}

fn lines(head: &str) -> Vec<String> {
    head.lines().skip(1).map(str::to_ascii_lowercase).filter(|line| !line.is_empty()).collect()
}

#[test]
fn endpoints_get_what_filters_make_of_a_request() {
    run(async {
        let own = "x-a: 1\r\nX-A: 2\r\nx-b: 1\r\nHost: a\r\nConnection: x-hop\r\nx-hop: 1\r\n";
        for (edits, wanted, gone) in [
            (
                edits(&[("X-A", "s")], &[], &[]),
                &["x-a: s", "x-b: 1", "host: a"][..],
                &["x-a: 1", "x-a: 2", "x-hop"][..],
            ),
            (edits(&[], &[("X-A", "s")], &[]), &["x-a: 1", "x-a: 2", "x-a: s"], &[]),
            (
                edits(&[("X-A", "s")], &[("x-a", "t")], &["x-A", "X-B"]),
                &["x-a: s", "x-a: t"],
                &["x-a: 1", "x-b"],
            ),
            (edits(&[("Host", "b.example")], &[], &[]), &["host: b.example"], &["host: a"]),
            (edits(&[], &[], &["Host"]), &["host: a"], &[]),
            (edits(&[("X-Hop", "s")], &[], &[]), &["x-hop: s"], &["x-hop: 1"]),
            (
                edits(&[("X-Forwarded-For", "s")], &[], &["X-Forwarded-Proto"]),
                &["x-forwarded-for: s"],
                &["x-forwarded-proto"],
            ),
            (edits(&[("x-odd", "a\tb \u{e4}")], &[], &[]), &["x-odd: a\tb \u{e4}"], &[]),
        ] {
            let web = Origin::start(vec![Act::text("ok")]).await;
            let filters = vec![Filter::RequestHeaders(edits.clone())];
            let rule = HttpRule { filters, ..rule(split(vec![backend("web", 1, vec![])])) };
            let proxy = Proxy::with(rule, &[web.address]).await;
            assert_eq!(proxy.ask(&format!("GET / HTTP/1.1\r\n{own}\r\n")).await.status, 200);
            let found = lines(&web.last().0);
            for line in wanted {
                assert_eq!(found.iter().filter(|it| it == line).count(), 1, "{line}: {found:?}");
            }
            assert!(
                !gone.iter().any(|gone| found.iter().any(|line| line.starts_with(gone))),
                "{gone:?}: {found:?}"
            );
        }
    });
}

/// What a rule says of responses holds for all of them; what a backend says, for its own.
#[test]
fn own_answers_have_the_rules_headers_too() {
    run(async {
        let of = |text| {
            Filter::ResponseHeaders(edits(&[("X-From", text)], &[("Set-Cookie", "a=1")], &["Content-Type"]))
        };
        let redirect =
            Redirect { scheme: None, hostname: None, path: None, port: None, status: RedirectStatus::Found };
        let with = |action| HttpRule { filters: vec![of("rule")], ..rule(action) };
        let proxy = Proxy::start(Settings::default()).await;
        let rules = vec![
            ("/invalid", with(HttpAction::Refuse(HttpRefusal::InvalidBackend))),
            ("/empty", with(split(vec![backend("empty", 1, vec![of("backend")])]))),
            ("/redirect", with(HttpAction::Redirect(redirect))),
        ];
        proxy.server.replace(&tables(proxy.address, rules, &[("empty", &[])]));
        for (path, status) in [("/invalid", 500), ("/empty", 503), ("/redirect", 302), ("/", 404)] {
            let got = proxy.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            let found = lines(&got.head);
            assert_eq!(got.status, status);
            let own = ["x-from: rule", "set-cookie: a=1"].map(|line| found.iter().any(|it| it == line));
            assert_eq!(own, [status != 404; 2], "{path}: {found:?}");
            assert_eq!(
                found.iter().any(|it| it.starts_with("content-type")),
                status == 404,
                "{path}: {found:?}"
            );
        }
    });
}

/// Their headers are a status too, which no filter changes.
#[test]
fn own_answers_to_grpc_have_them_and_stay_what_they_are() {
    run(async {
        let change =
            edits(&[("x-from", "rule"), ("grpc-status", "0")], &[], &["content-type", "grpc-message"]);
        let rule = HttpRule {
            filters: vec![Filter::ResponseHeaders(change)],
            ..rule(split(vec![backend("empty", 1, vec![])]))
        };
        let proxy = Proxy::start(Settings::default()).await;
        proxy.server.replace(&tables(proxy.address, vec![("/", rule)], &[("empty", &[])]));
        let mut call = http2::request(http::Method::POST, "/a.B/C", http2::full("message"));
        call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
        let got = http2::client(&proxy).await.send_request(call).await.expect("a response");
        let wanted = [("x-from", "rule"), ("grpc-status", "14"), ("content-type", "application/grpc")];
        for (name, value) in wanted {
            assert_eq!(got.headers().get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
        }
        assert!(got.headers().contains_key("grpc-message"));
    });
}
