//! Filters, feature by feature, from the text of the API.

use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use gateway_agent_proxy::filter::{
    Attempts, Budget, CorsAnswer, Forwarded, Outgoing, change_request, change_response, cors, is_preflight,
    may_repeat, mirrors, preflight,
};
use gateway_agent_proxy::h1::Fields;
use gateway_agent_tables::ObjectName;
use gateway_agent_tables::http::{
    AllowList, BackendProtocol, Cors, FieldName, FieldValue, Filter, Fraction, HeaderEdits, Hostname,
    HttpAction, HttpBackend, HttpRefusal, HttpRouteKind, HttpRule, HttpRuleName, HttpService, HttpTarget,
    MethodName, Mirror, Origin, Path, PathRewrite, Retry, RetryCode, Scheme, Timeout, Timeouts, Upstream,
    UrlRewrite,
};
use http::Method;

fn rule(filters: Vec<Filter>) -> HttpRule {
    let route = ObjectName { namespace: "shop".to_owned(), name: "web".to_owned() };
    HttpRule {
        name: HttpRuleName { kind: HttpRouteKind::Http, route, rule: 0, name: None },
        filters,
        action: HttpAction::Refuse(HttpRefusal::NoBackend),
        timeouts: Timeouts::default(),
        retry: None,
        session: None,
    }
}

fn backend(filters: Vec<Filter>) -> HttpBackend {
    let target = HttpTarget::Refuse(HttpRefusal::NoBackend);
    HttpBackend { name: "shop/web:80".to_owned(), weight: 1, filters, target }
}

fn fields<'a>(lines: &[(&'a str, &'a str)]) -> Fields<'a> {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name, value.as_bytes());
    }
    fields
}

fn found(fields: &Fields<'_>) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("text");
    fields.iter().map(|field| (field.name.to_ascii_lowercase(), text(field.value))).collect()
}

fn pairs(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn edits(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderEdits {
    let name = |text: &str| FieldName::parse(text).expect("a name");
    let all = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs.map(|(key, value)| (name(key), FieldValue::parse(value).expect("a value"))).collect()
    };
    HeaderEdits::new(all(set), all(add), remove.iter().map(|text| name(text)).collect()).expect("edits")
}

fn outgoing<'a>(host: &'a str, path: &'a str, lines: &[(&'a str, &'a str)]) -> Outgoing<'a> {
    Outgoing { host: host.into(), path: path.into(), fields: fields(lines) }
}

/// The examples of `set`, `add` and `remove` in the API's `HTTPHeaderFilter`, and names in other case.
#[test]
fn headers_are_set_added_and_removed() {
    for (edits, before, after) in [
        (edits(&[("my-header", "bar")], &[], &[]), &[("my-header", "foo")][..], &[("my-header", "bar")][..]),
        (edits(&[("X-Set", "1")], &[], &[]), &[], &[("x-set", "1")]),
        (
            edits(&[("x-set", "1")], &[], &[]),
            &[("X-Set", "a"), ("b", "c"), ("X-SET", "d")],
            &[("b", "c"), ("x-set", "1")],
        ),
        (
            edits(&[], &[("my-header", "bar,baz")], &[]),
            &[("My-Header", "foo")],
            &[("my-header", "foo"), ("my-header", "bar,baz")],
        ),
        (
            edits(&[], &[], &["my-header1", "my-header3"]),
            &[("my-header1", "foo"), ("My-Header2", "bar"), ("MY-HEADER3", "baz")],
            &[("my-header2", "bar")],
        ),
        (edits(&[("a", "1")], &[("a", "2")], &["a"]), &[("a", "0")], &[("a", "1"), ("a", "2")]),
    ] {
        let rule = rule(vec![Filter::RequestHeaders(edits.clone())]);
        let (none, of_backend) = (backend(vec![]), backend(vec![Filter::ResponseHeaders(edits)]));
        let mut request = outgoing("a", "/", before);
        assert_eq!(change_request(&mut request, &rule, Some(&none), 0), None);
        assert_eq!(found(&request.fields), pairs(after), "{before:?}");
        let mut response = fields(before);
        change_response(&mut response, &rule, Some(&of_backend), None);
        assert_eq!(found(&response), pairs(after), "{before:?}");
        let mut untouched = fields(before);
        change_response(&mut untouched, &rule, Some(&none), None);
        assert_eq!(found(&untouched).len(), before.len(), "a request's filter leaves responses alone");
    }
}

#[test]
fn backends_change_requests_after_the_rule_and_responses_before_it() {
    let set = |value| edits(&[("x", value)], &[], &[]);
    let rule = rule(vec![Filter::RequestHeaders(set("rule")), Filter::ResponseHeaders(set("rule"))]);
    let backend =
        backend(vec![Filter::RequestHeaders(set("backend")), Filter::ResponseHeaders(set("backend"))]);
    let mut request = outgoing("a", "/", &[]);
    assert_eq!(change_request(&mut request, &rule, Some(&backend), 0), None);
    assert_eq!(found(&request.fields), pairs(&[("x", "backend")]));
    let mut response = fields(&[]);
    change_response(&mut response, &rule, Some(&backend), None);
    assert_eq!(found(&response), pairs(&[("x", "rule")]));
}

#[test]
fn urls_are_rewritten() {
    let path = |text| Path::parse(text).expect("a path");
    let full = |text| Some(PathRewrite::Full(path(text)));
    let prefix = |matched, replacement| {
        Some(PathRewrite::Prefix { matched: path(matched), replacement: path(replacement) })
    };
    let host = |text| Some(Hostname::parse(text).expect("a name"));
    for (hostname, to, host, path) in [
        (None, full("/one/two"), "a.example:80", "/one/two"),
        (None, prefix("/a", "/x"), "a.example:80", "/x/b"),
        (None, prefix("/a", "/"), "a.example:80", "/b"),
        (None, prefix("/a/b", "/"), "a.example:80", "/"),
        (host("one.example"), None, "one.example", "/a/b"),
        (host("one.example"), full("/c"), "one.example", "/c"),
    ] {
        let filter = Filter::Rewrite(UrlRewrite { hostname, path: to });
        for (rule, backend) in
            [(rule(vec![filter.clone()]), backend(vec![])), (rule(vec![]), backend(vec![filter.clone()]))]
        {
            let mut request = outgoing("a.example:80", "/a/b", &[]);
            assert_eq!(change_request(&mut request, &rule, Some(&backend), 0), None);
            assert_eq!((&*request.host, &*request.path), (host, path), "{filter:?}");
        }
    }
}

#[test]
fn a_filter_may_name_the_host() {
    let rule = rule(vec![Filter::RequestHeaders(edits(&[("Host", "b.example")], &[], &[]))]);
    let none = backend(vec![]);
    let mut request = outgoing("a.example", "/", &[("c", "d")]);
    assert_eq!(change_request(&mut request, &rule, Some(&none), 0), None);
    assert_eq!((&*request.host, found(&request.fields)), ("b.example", pairs(&[("c", "d")])));
}

#[test]
fn endpoints_learn_who_the_client_is() {
    for (trusted_hops, before, after) in [
        (0, &[][..], ["192.0.2.1", "http", "a:80"]),
        (0, &[("x-forwarded-for", "10.0.0.1")], ["192.0.2.1", "http", "a:80"]),
        (0, &[("X-Forwarded-Proto", "https"), ("x-forwarded-host", "b")], ["192.0.2.1", "http", "a:80"]),
        (
            0,
            &[
                ("Forwarded", "for=b"),
                ("x-real-ip", "b"),
                ("X-Forwarded-Port", "1"),
                ("X_Forwarded_For", "b"),
            ],
            ["192.0.2.1", "http", "a:80"],
        ),
        (1, &[], ["192.0.2.1", "http", "a:80"]),
        (1, &[("x-forwarded-for", "10.0.0.1")], ["10.0.0.1, 192.0.2.1", "http", "a:80"]),
        (1, &[("x-forwarded-for", "a, b")], ["b, 192.0.2.1", "http", "a:80"]),
        (2, &[("X-Forwarded-For", "a"), ("x-forwarded-for", "b, c")], ["b, c, 192.0.2.1", "http", "a:80"]),
        (9, &[("X-Forwarded-For", "a,b")], ["a, b, 192.0.2.1", "http", "a:80"]),
        (1, &[("X-Forwarded-Proto", "https"), ("x-forwarded-host", "b")], ["192.0.2.1", "https", "b"]),
        (1, &[("X_Forwarded_Proto", "https"), ("x-forwarded_host", "b")], ["192.0.2.1", "http", "a:80"]),
    ] {
        let forwarded = Forwarded { client: "192.0.2.1", scheme: Scheme::Http, host: "a:80", trusted_hops };
        let list = forwarded.list(&fields(before));
        let mut fields = fields(before);
        forwarded.apply(&mut fields, list.as_deref());
        let names = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
        let mut found = found(&fields);
        found.sort();
        let mut wanted = pairs(&names.into_iter().zip(after).collect::<Vec<_>>());
        wanted.sort();
        assert_eq!(found, wanted, "{trusted_hops} {before:?}");
    }
}

fn cors_filter(
    origins: &[&str],
    credentials: bool,
    methods: AllowList<MethodName>,
    headers: AllowList<FieldName>,
) -> Cors {
    Cors {
        allow_origins: origins.iter().map(|text| Origin::parse(text).expect("an origin")).collect(),
        allow_credentials: credentials,
        allow_methods: methods,
        allow_headers: headers,
        expose_headers: AllowList::These(vec![FieldName::parse("x-3").expect("a name")]),
        max_age: Cors::DEFAULT_MAX_AGE,
    }
}

#[test]
fn preflight_requests_are_answered() {
    let methods = || {
        AllowList::These(vec![
            MethodName::parse("GET").expect("a method"),
            MethodName::parse("PUT").expect("a method"),
        ])
    };
    let headers = || {
        AllowList::These(vec![
            FieldName::parse("X-1").expect("a name"),
            FieldName::parse("x-2").expect("a name"),
        ])
    };
    let asked = [
        ("Origin", "https://www.bar.com"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "x-9, x-8"),
    ];
    assert!(is_preflight(&Method::OPTIONS, &fields(&asked)));
    assert!(!is_preflight(&Method::GET, &fields(&asked)));
    assert!(
        !is_preflight(&Method::OPTIONS, &fields(&asked[..1]))
            && !is_preflight(&Method::OPTIONS, &fields(&asked[1..]))
    );
    let (allow_methods, allow_headers) = ("access-control-allow-methods", "access-control-allow-headers");
    for (credentials, methods, headers, of_methods, of_headers) in [
        (true, methods(), headers(), "GET, PUT", "x-1, x-2"),
        (false, AllowList::All, AllowList::All, "POST", "x-9, x-8"),
        (true, AllowList::All, AllowList::All, "POST", "x-9, x-8"),
    ] {
        let filter =
            cors_filter(&["https://www.foo.com", "https://*.bar.com"], credentials, methods, headers);
        let answer = preflight(&filter, &fields(&asked)).expect("an answer");
        let mut lines = fields(&[]);
        answer.apply(&mut lines);
        let mut wanted = vec![("access-control-allow-origin", "https://www.bar.com")];
        wanted.extend(credentials.then_some(("access-control-allow-credentials", "true")));
        wanted.extend([
            ("access-control-expose-headers", "x-3"),
            (allow_methods, of_methods),
            (allow_headers, of_headers),
            ("access-control-max-age", "5"),
            ("vary", "Origin"),
        ]);
        assert_eq!(found(&lines), pairs(&wanted));
    }
    let other = cors_filter(&["https://other.com"], false, AllowList::All, AllowList::All);
    assert_eq!(preflight(&other, &fields(&asked)), None);
}

#[test]
fn responses_are_for_allowed_origins_only() {
    let filter = cors_filter(&["https://www.foo.com"], true, AllowList::All, AllowList::All);
    let rule = rule(vec![Filter::Cors(filter.clone())]);
    assert_eq!(cors(&rule, None), Some(&filter));
    for origin in [&[][..], &[("Origin", "https://foobar.com")]] {
        assert_eq!(CorsAnswer::of(&filter, &fields(origin)), CorsAnswer::default());
    }
    let answer = CorsAnswer::of(&filter, &fields(&[("origin", "https://www.foo.com")]));
    let mut response = fields(&[("access-control-allow-origin", "*"), ("a", "b")]);
    change_response(&mut response, &rule, None, Some(&answer));
    assert_eq!(
        found(&response),
        pairs(&[
            ("a", "b"),
            ("access-control-allow-origin", "https://www.foo.com"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "x-3"),
            ("vary", "Origin"),
        ])
    );
}

#[test]
fn mirrors_get_their_share() {
    let mirror = |numerator, denominator| {
        let service = ObjectName { namespace: "shop".to_owned(), name: format!("copy-{numerator}") };
        let service = HttpService { service, port: NonZeroU16::MIN };
        let denominator = NonZeroU32::new(denominator).expect("not zero");
        let share = Fraction::new(numerator, denominator).expect("a fraction");
        Filter::Mirror(Mirror {
            upstream: Upstream { service, protocol: BackendProtocol::Http1, encrypted: false },
            share,
        })
    };
    let rule = rule(vec![mirror(1, 1), mirror(20, 100), mirror(0, 100)]);
    let backend = backend(vec![mirror(3, 10)]);
    let counts = |random: u32| mirrors(&rule, &backend, || random).count();
    assert_eq!([0, u32::MAX / 4, u32::MAX / 2, u32::MAX].map(counts), [3, 2, 1, 1]);
}

#[test]
fn budgets_are_the_rules_or_the_proxys_own() {
    let (one, two) = (Duration::from_secs(1), Duration::from_secs(2));
    for (request, backend_request, default, budget) in [
        (Timeout::Default, Timeout::Default, None, (None, None)),
        (Timeout::Default, Timeout::Default, Some(one), (Some(one), None)),
        (Timeout::Never, Timeout::Never, Some(one), (None, None)),
        (Timeout::After(two), Timeout::After(one), None, (Some(two), Some(one))),
    ] {
        let found = Budget::of(Timeouts { request, backend_request }, default);
        assert_eq!((found.request, found.attempt), budget);
    }
}

#[test]
fn tries_are_counted_and_their_pauses_grow() {
    let code = |code| RetryCode::new(code).expect("a code");
    let retry = Retry {
        codes: BTreeSet::from([code(500), code(503)]),
        attempts: NonZeroU32::new(3).expect("not zero"),
        backoff: Some(Duration::from_millis(100)),
    };
    let mut attempts = Attempts::new(Some(&retry));
    assert_eq!(attempts.after_code(502, 0), None, "a code that isn't listed");
    assert_eq!(attempts.after_code(200, 0), None);
    let millis = |pause: Option<Duration>| pause.map(|pause| pause.as_millis());
    assert_eq!(millis(attempts.after_code(500, u32::MAX)), Some(150));
    assert_eq!(millis(attempts.after_failure(u32::MAX)), Some(300));
    assert_eq!(millis(attempts.after_code(503, 0)), Some(400), "never less");
    assert_eq!(attempts.after_code(503, 0), None, "three more tries and no fourth");
    assert_eq!(Attempts::new(None).after_failure(0), None);
    assert!(may_repeat(&Method::PUT) && !may_repeat(&Method::POST) && !may_repeat(&Method::PATCH));
}
