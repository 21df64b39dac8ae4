//! What matches of routes are compared with.

use gateway_agent_proxy::Settings;
use gateway_agent_tables::http::{
    FieldName, FieldValue, HeaderMatch, HttpMatch, HttpRoute, HttpRouteRule, HttpSettings, MethodName, Path,
    PathMatch, Pattern, QueryMatch, RouteAge, ValueMatch,
};
use http::Method;

use crate::http2;
use crate::rig::{Act, Origin, Proxy, backend, rule, run, split, tables};

fn header(name: &str, value: &str) -> HttpMatch {
    let value = match value.strip_prefix('~') {
        Some(pattern) => ValueMatch::Pattern(Pattern::parse(pattern).expect("a pattern")),
        None => ValueMatch::Exact(FieldValue::parse(value).expect("a value")),
    };
    let header = HeaderMatch { name: FieldName::parse(name).expect("a name"), value };
    HttpMatch { headers: vec![header], ..HttpMatch::any() }
}

fn query(name: &str, value: &str) -> HttpMatch {
    let value = match value.strip_prefix('~') {
        Some(pattern) => ValueMatch::Pattern(Pattern::parse(pattern).expect("a pattern")),
        None => ValueMatch::Exact(value.to_owned()),
    };
    HttpMatch { query: vec![QueryMatch { name: name.to_owned(), value }], ..HttpMatch::any() }
}

fn path(path: PathMatch) -> HttpMatch {
    HttpMatch { path, ..HttpMatch::any() }
}

fn exact(text: &str) -> HttpMatch {
    path(PathMatch::Exact(Path::parse(text).expect("a path")))
}

fn prefix(text: &str) -> HttpMatch {
    path(PathMatch::Prefix(Path::parse(text).expect("a path")))
}

fn like(text: &str) -> HttpMatch {
    path(PathMatch::Pattern(Pattern::parse(text).expect("a pattern")))
}

fn method(name: &str) -> HttpMatch {
    HttpMatch { method: Some(MethodName::parse(name).expect("a method")), ..HttpMatch::any() }
}

/// A proxy whose only rule has this match.
async fn start(matched: HttpMatch, settings: HttpSettings, web: &Origin) -> Proxy {
    let proxy = Proxy::start(Settings::default()).await;
    let mut tables = tables(proxy.address, vec![], &[("web", &[web.address])]);
    let rule =
        HttpRouteRule { matches: vec![matched], rule: rule(split(vec![backend("web", 1, vec![])])).into() };
    let route = HttpRoute { age: RouteAge::default(), rules: vec![rule] };
    tables.http_routes.values_mut().for_each(|it| *it = route.clone().into());
    tables.listeners.values_mut().for_each(|it| it.settings = settings);
    proxy.server.replace(&tables);
    proxy
}

async fn check(cases: Vec<(HttpMatch, &str, bool)>) {
    let web = Origin::start(vec![Act::text("web")]).await;
    for (matched, request, is_met) in cases {
        let proxy = start(matched.clone(), HttpSettings::default(), &web).await;
        let (line, lines) = request.split_once('|').unwrap_or((request, ""));
        let host = if lines.contains("Host:") { "" } else { "Host: a.example:80\r\n" };
        let mut client = proxy.connect().await;
        client.send(&format!("{line} HTTP/1.1\r\n{host}{}\r\n", lines.replace('|', "\r\n"))).await;
        let got = client.response_to(line.starts_with("HEAD")).await;
        assert_eq!(got.status, if is_met { 200 } else { 404 }, "{matched:?} {request}");
    }
}

#[test]
fn headers_are_compared_as_received_and_those_that_lead_the_request_too() {
    run(check(vec![
        (header("X-Team", "a"), "GET /|x-team: a|", true),
        (header("X-Team", "a"), "GET /|X-Team:  a \t|", true),
        (header("X-Team", "a"), "GET /|X-Team: A|", false),
        (header("X-Team", "a"), "GET /|X-Team: a|X-Team: b|", false),
        (header("X-Team", "a, b"), "GET /|X-Team: a|X-Team: b|", true),
        (header("X-Team", "~a"), "GET /|X-Team: ab|", false),
        (header("X-Team", "~(.*, )?b"), "GET /|X-Team: a|X-Team: b|", true),
        (header("X-Team", "~.*"), "GET /|X-Team:|", true),
        (header("X-Team", "~.*"), "GET /", false),
        (header("Host", "a.example:80"), "GET /", true),
        (header("Host", "~a\\.example(:[0-9]+)?"), "GET /|Host: a.example|", true),
        (header("Host", "b.example"), "GET http://b.example/|Host: a.example|", true),
        (header("Host", "a.example"), "GET http://b.example/|Host: a.example|", false),
        (header("Upgrade", "websocket"), "GET /|Connection: Upgrade|Upgrade: websocket|", true),
        (header("Connection", "Upgrade"), "GET /|Connection: keep-alive, upgrade|Upgrade: websocket|", true),
        // Without Connection it is no offer, and goes no further.
        (header("Upgrade", "websocket"), "GET /|Upgrade: websocket|", false),
        (header("Connection", "close"), "GET /|Connection: close|", false),
    ]));
}

/// What a client says of those before it counts for matches only if endpoints would hear it.
#[test]
fn words_of_proxies_count_as_far_as_they_are_trusted() {
    run(async {
        let web = Origin::start(vec![Act::text("web")]).await;
        let lines = "X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\n";
        for (matched, trusted_hops, status) in [
            (header("X-Forwarded-Proto", "https"), 0, 404),
            (header("X-Forwarded-Proto", "https"), 1, 200),
            (header("X-Forwarded-Proto", "http"), 0, 200),
            (header("X-Forwarded-For", "192.0.2.1"), 0, 404),
            (header("X-Forwarded-For", "127.0.0.1"), 0, 200),
            (header("X-Forwarded-For", "192.0.2.1, 127.0.0.1"), 1, 200),
            (header("X-Forwarded-Host", "a"), 0, 200),
            (header("X-Real-IP", "192.0.2.1"), 0, 404),
        ] {
            let settings = HttpSettings { trusted_hops, ..HttpSettings::default() };
            let proxy = start(matched.clone(), settings, &web).await;
            let got = proxy.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")).await;
            assert_eq!(got.status, status, "{matched:?} {trusted_hops}");
        }
    });
}

#[test]
fn the_first_parameter_of_a_name_counts_and_is_decoded() {
    run(check(vec![
        (query("a", "1"), "GET /?a=1", true),
        (query("a", "1"), "GET /?b=2&a=1", true),
        (query("a", "1"), "GET /?a=1&a=2", true),
        (query("a", "1"), "GET /?a=2&a=1", false),
        (query("a", "1"), "GET /?A=1", false),
        (query("a", "1"), "GET /?%61=%31", true),
        (query("a", "b c"), "GET /?a=b+c", true),
        (query("a", "b c"), "GET /?a=b%20c", true),
        (query("a", "b+c"), "GET /?a=b%2Bc", true),
        (query("a", "~.*"), "GET /?a", true),
        (query("a", "~.*"), "GET /?a=", true),
        (query("a", "~.*"), "GET /?", false),
        (query("a", "~.*"), "GET /", false),
        (query("a", "~1"), "GET /?a=12", false),
        (query("a", "1"), "GET /?a=1;b", false),
        (query("a", "1"), "GET /?&&a=1", true),
    ]));
}

#[test]
fn paths_end_where_segments_do() {
    run(check(vec![
        (exact("/abc"), "GET /abc", true),
        (exact("/abc"), "GET /abc?d", true),
        (exact("/abc"), "GET /abc/", false),
        (exact("/abc"), "GET /Abc", false),
        (exact("/abc/"), "GET /abc", false),
        (exact("/"), "GET http://a.example", true),
        (exact("/"), "GET //", true),
        (prefix("/abc"), "GET /abc", true),
        (prefix("/abc"), "GET /abc/", true),
        (prefix("/abc"), "GET /abc/def", true),
        (prefix("/abc"), "GET /abcd", false),
        (prefix("/abc"), "GET /abc;v=1", false),
        (prefix("/abc"), "GET /x/../abc", true),
        (prefix("/abc"), "GET /abc/../x", false),
        (prefix("/abc/"), "GET /abc", true),
        (prefix("/abc/"), "GET /abc/def", true),
        (prefix("/abc/"), "GET /abcd", false),
        (prefix("/abc"), "GET /ABC/def", false),
        (prefix("/abc"), "GET /%61bc/def", true),
        (prefix("/abc"), "GET /abc%2Fdef", false),
        (like("/a+"), "GET /aa?b", true),
        (like("/a+"), "GET /aab", false),
        (like("/a+"), "GET /x/aa", false),
    ]));
}

#[test]
fn methods_are_themselves_and_no_others() {
    run(check(vec![
        (method("GET"), "GET /", true),
        (method("GET"), "HEAD /", false),
        (method("GET"), "get /", false),
        (method("PATCH"), "PATCH /", true),
        (method("OPTIONS"), "OPTIONS *", true),
        (method("TRACE"), "TRACE /", true),
    ]));
}

#[test]
fn http_2_has_the_same_headers() {
    run(async {
        let web = Origin::start(vec![Act::text("web")]).await;
        for (matched, status) in [
            (header("Host", "shop.example"), 200),
            (header("Cookie", "a=b; c=d"), 200),
            (header("Cookie", "a=b"), 404),
            (header("Te", "trailers"), 404),
        ] {
            let proxy = start(matched.clone(), HttpSettings::default(), &web).await;
            let mut request = http2::request(Method::GET, "/", http2::empty());
            for crumb in ["a=b", "c=d"] {
                request.headers_mut().append("cookie", crumb.parse().expect("a value"));
            }
            let got = http2::client(&proxy).await.send_request(request).await.expect("a response");
            assert_eq!(got.status(), status, "{matched:?}");
        }
    });
}
