//! The filter CORS, on answers of endpoints and of the proxy.

use gateway_agent_proxy::{Reason, Settings};
use gateway_agent_tables::http::{
    AllowList, Cors, Filter, HttpAction, HttpMatch, HttpRefusal, HttpRoute, HttpRouteRule, HttpRule,
    HttpTables, MethodName, Origin as Allowed, RouteAge,
};

use crate::rig::{Act, Origin, Proxy, Response, backend, rule, run, split, tables};

const PAGE: &str = "https://www.bar.com";

fn cors(origins: &[&str], credentials: bool) -> Cors {
    Cors {
        allow_origins: origins.iter().map(|it| Allowed::parse(it).expect("an origin")).collect(),
        allow_credentials: credentials,
        allow_methods: AllowList::All,
        allow_headers: AllowList::All,
        expose_headers: AllowList::All,
        max_age: Cors::DEFAULT_MAX_AGE,
    }
}

fn of_bar() -> Filter {
    Filter::Cors(cors(&["https://*.bar.com"], false))
}

fn with(filter: Filter, action: HttpAction) -> HttpRule {
    HttpRule { filters: vec![filter], ..rule(action) }
}

fn asked(method: &str, path: &str, origin: &str) -> String {
    let origin = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
    let asks = if method == "OPTIONS" { "Access-Control-Request-Method: PUT\r\n" } else { "" };
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{origin}{asks}\r\n")
}

/// The fields that are about other origins, without the family's name.
fn about(response: &Response) -> Vec<String> {
    let lines = response.head.lines().map(str::to_ascii_lowercase);
    lines
        .filter(|line| line.starts_with("access-control-") || line.starts_with("vary"))
        .map(|line| line.replace("access-control-", ""))
        .collect()
}

/// What an endpoint says itself never counts, not even for origins that the filter doesn't have.
#[test]
fn the_filter_alone_says_who_may_read_and_caches_tell_origins_apart() {
    run(async {
        let own = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
                   Vary: Accept-Encoding\r\nContent-Length: 2\r\n\r\nok";
        let web = Origin::start(vec![Act::Send(own.to_owned())]).await;
        for (origins, credentials, origin, wanted) in [
            (
                &["https://*.bar.com"][..],
                false,
                PAGE,
                &["allow-origin: https://www.bar.com", "expose-headers: *"][..],
            ),
            (
                &["https://*.bar.com"],
                true,
                PAGE,
                &["allow-origin: https://www.bar.com", "allow-credentials: true"],
            ),
            (&["https://*.bar.com"], false, "https://bar.com", &[]),
            (&["https://*.bar.com"], false, "http://www.bar.com", &[]),
            (&["https://*.bar.com"], false, "https://www.bar.com:8443", &[]),
            (&["https://*.bar.com"], false, "https://www.bar.com.evil.com", &[]),
            (&["https://*.bar.com"], false, "null", &[]),
            (&["https://*.bar.com"], false, "", &[]),
            (&[], false, PAGE, &[]),
            (&["*"], false, "null", &["allow-origin: null", "expose-headers: *"]),
            (&["*"], true, PAGE, &["allow-origin: https://www.bar.com", "allow-credentials: true"]),
            (
                &["http://localhost:3000"],
                false,
                "http://localhost:3000",
                &["allow-origin: http://localhost:3000", "expose-headers: *"],
            ),
            (
                &["http://127.0.0.1:80"],
                false,
                "http://127.0.0.1",
                &["allow-origin: http://127.0.0.1", "expose-headers: *"],
            ),
        ] {
            let rule = with(Filter::Cors(cors(origins, credentials)), split(vec![backend("web", 1, vec![])]));
            let proxy = Proxy::with(rule, &[web.address]).await;
            let got = proxy.ask(&asked("GET", "/", origin)).await;
            let wanted = ["vary: accept-encoding"].iter().chain(wanted).chain(&["vary: origin"]);
            assert_eq!(about(&got), wanted.copied().collect::<Vec<_>>(), "{origins:?} {origin}");
        }
    });
}

#[test]
fn a_vary_that_says_it_already_stays_alone() {
    run(async {
        for vary in ["Origin", "accept, origin", "*"] {
            let own = format!("HTTP/1.1 200 OK\r\nVary: {vary}\r\nContent-Length: 0\r\n\r\n");
            let web = Origin::start(vec![Act::Send(own)]).await;
            let proxy =
                Proxy::with(with(of_bar(), split(vec![backend("web", 1, vec![])])), &[web.address]).await;
            let got = about(&proxy.ask(&asked("GET", "/", "")).await);
            assert_eq!(got, [format!("vary: {}", vary.to_ascii_lowercase())]);
        }
    });
}

/// Else pages see a failed connection in place of the status.
#[test]
fn own_answers_and_redirects_can_be_read_by_allowed_origins() {
    run(async {
        let redirect = gateway_agent_tables::http::Redirect {
            scheme: None,
            hostname: None,
            path: None,
            port: None,
            status: gateway_agent_tables::http::RedirectStatus::Found,
        };
        let refusing = crate::failures::refusing();
        let bad = Origin::start(vec![Act::Close]).await;
        let proxy = Proxy::start(Settings::default()).await;
        let to = |name| split(vec![backend(name, 1, vec![])]);
        let of_backend = split(vec![backend("empty", 1, vec![of_bar()])]);
        let rules = vec![
            ("/invalid", with(of_bar(), HttpAction::Refuse(HttpRefusal::InvalidBackend))),
            ("/empty", with(of_bar(), to("empty"))),
            ("/weightless", with(of_bar(), split(vec![backend("empty", 0, vec![])]))),
            ("/refusing", with(of_bar(), to("refusing"))),
            ("/bad", with(of_bar(), to("bad"))),
            ("/redirect", with(of_bar(), HttpAction::Redirect(redirect))),
            ("/of-backend", rule(of_backend)),
        ];
        let services: [(&str, &[_]); 3] =
            [("empty", &[]), ("refusing", &[refusing]), ("bad", &[bad.address])];
        proxy.server.replace(&tables(proxy.address, rules, &services));
        for (path, status) in [
            ("/invalid", 500),
            ("/empty", 503),
            ("/weightless", 500),
            ("/refusing", 503),
            ("/bad", 502),
            ("/redirect", 302),
            ("/of-backend", 503),
        ] {
            let got = proxy.ask(&asked("GET", path, PAGE)).await;
            assert_eq!(got.status, status, "{path}");
            let allowed = ["allow-origin: https://www.bar.com", "expose-headers: *", "vary: origin"];
            assert_eq!(about(&got), allowed, "{path}");
            let other = proxy.ask(&asked("GET", path, "https://evil.com")).await;
            assert_eq!((other.status, about(&other)), (status, vec!["vary: origin".to_owned()]), "{path}");
        }
        let missing = proxy.ask(&asked("GET", "/", PAGE)).await;
        assert_eq!((missing.status, about(&missing)), (404, vec![]));
    });
}

#[test]
fn preflights_are_answered_for_rules_and_for_backends_and_other_options_pass() {
    run(async {
        let web = Origin::start(vec![Act::text("web")]).await;
        let of_rule = with(of_bar(), split(vec![backend("web", 1, vec![])]));
        let of_backend = rule(split(vec![backend("web", 1, vec![of_bar()])]));
        let of_both = with(of_bar(), split(vec![backend("web", 1, vec![Filter::Cors(cors(&["*"], true))])]));
        let invalid = with(of_bar(), HttpAction::Refuse(HttpRefusal::InvalidBackend));
        for rule in [of_rule, of_backend, of_both, invalid] {
            let proxy = Proxy::with(rule.clone(), &[web.address]).await;
            let before = web.count();
            let got = proxy.ask(&asked("OPTIONS", "/", PAGE)).await;
            let allowed = [
                "allow-origin: https://www.bar.com",
                "expose-headers: *",
                "allow-methods: put",
                "max-age: 5",
                "vary: origin",
            ];
            assert_eq!((got.status, about(&got)), (200, allowed.map(str::to_owned).to_vec()), "{rule:?}");
            let got = proxy.ask(&asked("OPTIONS", "/", "https://evil.com")).await;
            assert_eq!((got.status, about(&got)), (403, vec!["vary: origin".to_owned()]), "{rule:?}");
            let counters = &proxy.server.counters;
            assert_eq!(
                (counters.replies(Reason::Preflight), counters.replies(Reason::OriginRefused)),
                (1, 1)
            );
            assert_eq!(web.count(), before, "an endpoint never sees one");
            if !matches!(rule.action, HttpAction::Refuse(_)) {
                let got =
                    proxy.ask("OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://www.bar.com\r\n\r\n").await;
                assert_eq!((got.status, &*got.body), (200, "web"));
                assert!(about(&got).contains(&"allow-origin: https://www.bar.com".to_owned()));
            }
        }
    });
}

fn tables_of(proxy: &Proxy, rules: Vec<(Option<&str>, HttpRule)>, web: &Origin) -> HttpTables {
    let mut tables = tables(proxy.address, vec![], &[("web", &[web.address])]);
    let rules = rules.into_iter().map(|(method, rule)| {
        let method = method.map(|method| MethodName::parse(method).expect("a method"));
        HttpRouteRule { matches: vec![HttpMatch { method, ..HttpMatch::any() }], rule: rule.into() }
    });
    let route = HttpRoute { age: RouteAge::default(), rules: rules.collect() };
    tables.http_routes.values_mut().for_each(|it| *it = route.clone().into());
    tables
}

/// GEP-1767: no preflight passes the rule whose requests it asks about.
#[test]
fn a_preflight_is_for_the_rule_of_the_request_that_it_asks_about() {
    run(async {
        let web = Origin::start(vec![Act::text("web")]).await;
        let forward = || split(vec![backend("web", 1, vec![])]);
        let other = || with(Filter::Cors(cors(&["https://other.com"], false)), forward());
        for (rules, status, reason) in [
            (vec![(Some("PUT"), with(of_bar(), forward()))], 200, Some(Reason::Preflight)),
            (
                vec![(Some("PUT"), with(of_bar(), forward())), (None, rule(forward()))],
                200,
                Some(Reason::Preflight),
            ),
            (
                vec![(Some("PUT"), with(of_bar(), forward())), (Some("OPTIONS"), other())],
                200,
                Some(Reason::Preflight),
            ),
            (
                vec![(Some("PUT"), other()), (Some("OPTIONS"), with(of_bar(), forward()))],
                403,
                Some(Reason::OriginRefused),
            ),
            (
                vec![(Some("PUT"), rule(forward())), (Some("OPTIONS"), with(of_bar(), forward()))],
                200,
                Some(Reason::Preflight),
            ),
            (vec![(Some("GET"), with(of_bar(), forward()))], 404, Some(Reason::NoRoute)),
            (vec![(Some("GET"), with(of_bar(), forward())), (None, rule(forward()))], 200, None),
        ] {
            let proxy = Proxy::start(Settings::default()).await;
            proxy.server.replace(&tables_of(&proxy, rules.clone(), &web));
            let got = proxy.ask(&asked("OPTIONS", "/", PAGE)).await;
            assert_eq!((got.status, got.body == "web"), (status, reason.is_none()), "{rules:?}");
            if let Some(reason) = reason {
                assert_eq!(proxy.server.counters.replies(reason), 1, "{rules:?}");
            }
        }
    });
}
