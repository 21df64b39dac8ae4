//! The compiled matcher against a slow transcription of the Gateway API's text, on random routes and requests.

mod specification;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use gateway_agent_tables::http::{
    FieldName, FieldValue, GrpcMatch, GrpcName, GrpcNameMatch, HeaderMatch, HostRoutes, HttpAction,
    HttpFrontend, HttpListener, HttpMatch, HttpMatcher, HttpRefusal, HttpRoute, HttpRouteKind, HttpRouteRule,
    HttpRule, HttpRuleName, HttpSettings, HttpTables, HttpTelemetry, MethodName, Path, PathMatch, Pattern,
    QueryMatch, RequestHead, RequestHost, RouteAge, Scheme, Timeouts, ValueMatch, explain,
};
use gateway_agent_tables::{FrontendKey, HostPattern, HttpDelta, ListenerName, ObjectName, Protocol};
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use specification::{Route, Rules};

const HOSTS: [&str; 7] =
    ["", "*.com", "*.example.com", "a.example.com", "b.a.example.com", "*.a.example.com", "example.com"];
const REQUEST_HOSTS: [&str; 6] =
    ["a.example.com", "b.a.example.com", "c.example.com:80", "EXAMPLE.com", "example.org", "192.0.2.1"];
const PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/A", "/s/m"];
const PATTERNS: [&str; 5] = ["/a.*", "/[ab]/b", "/a|/b", ".*/b", "/s/.*"];
const NAMES: [&str; 3] = ["s", "t", "m"];
const NAME_PATTERNS: [&str; 3] = ["s|t", ".*", "[a-s]"];
const HEADERS: [&str; 2] = ["x-one", "X-Two"];
const VALUES: [&str; 3] = ["1", "2", "1, 2"];
const VALUE_PATTERNS: [&str; 2] = ["[12]", ".*2"];
const QUERIES: [&str; 6] = ["", "p=1", "p=2&p=1", "q=1&p=2", "p=%31&q", "p+=1"];

/// A request as it is made up; the two matchers read it their own way.
#[derive(Clone, Debug)]
struct Request {
    host: &'static str,
    method: &'static str,
    path: &'static str,
    query: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    is_grpc: bool,
}

fn path(text: &str) -> Path {
    Path::parse(text).expect("a path")
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).expect("a pattern")
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        2 => select(&PATHS).prop_map(|text| PathMatch::Exact(path(text))),
        3 => select(&PATHS).prop_map(|text| PathMatch::Prefix(path(text))),
        1 => select(PATTERNS.map(pattern).to_vec()).prop_map(PathMatch::Pattern),
    ]
}

fn header_matches() -> impl Strategy<Value = Vec<HeaderMatch>> {
    let value = prop_oneof![
        2 => select(&VALUES).prop_map(|text| ValueMatch::Exact(FieldValue::parse(text).expect("a value"))),
        1 => select(VALUE_PATTERNS.map(pattern).to_vec()).prop_map(ValueMatch::Pattern),
    ];
    let values = prop::collection::vec(value, HEADERS.len());
    (subsequence(&HEADERS, 0..=HEADERS.len()), values).prop_map(|(names, values)| {
        let named = names.into_iter().map(|name| FieldName::parse(name).expect("a name"));
        named.zip(values).map(|(name, value)| HeaderMatch { name, value }).collect()
    })
}

fn query_matches() -> impl Strategy<Value = Vec<QueryMatch>> {
    let value = prop_oneof![
        2 => select(&VALUES).prop_map(|text| ValueMatch::Exact(text.to_owned())),
        1 => select(VALUE_PATTERNS.map(pattern).to_vec()).prop_map(ValueMatch::Pattern),
    ];
    (subsequence(vec!["p", "q"], 0..=2), prop::collection::vec(value, 2)).prop_map(|(names, values)| {
        names
            .into_iter()
            .zip(values)
            .map(|(name, value)| QueryMatch { name: name.to_owned(), value })
            .collect()
    })
}

fn http_match() -> impl Strategy<Value = HttpMatch> {
    let method = prop::option::weighted(0.3, select(&["GET", "POST"][..]));
    let method = method.prop_map(|name| name.map(|name| MethodName::parse(name).expect("a method")));
    let query = prop_oneof![2 => Just(Vec::new()), 1 => query_matches()];
    let headers = prop_oneof![1 => Just(Vec::new()), 1 => header_matches()];
    (path_match(), method, headers, query).prop_map(|(path, method, headers, query)| HttpMatch {
        path,
        method,
        headers,
        query,
    })
}

fn grpc_match() -> impl Strategy<Value = GrpcMatch> {
    let name = || {
        prop_oneof![
            1 => Just(GrpcNameMatch::Any),
            3 => select(&NAMES).prop_map(|text| GrpcNameMatch::Exact(GrpcName::parse(text).expect("a name"))),
            1 => select(NAME_PATTERNS.map(pattern).to_vec()).prop_map(GrpcNameMatch::Pattern),
        ]
    };
    let headers = prop_oneof![2 => Just(Vec::new()), 1 => header_matches()];
    (name(), name(), headers).prop_map(|(service, method, headers)| GrpcMatch { service, method, headers })
}

fn route() -> impl Strategy<Value = Route> {
    let rules = prop_oneof![
        3 => prop::collection::vec(prop::collection::vec(http_match(), 1..3), 1..4).prop_map(Rules::Http),
        1 => prop::collection::vec(prop::collection::vec(grpc_match(), 1..3), 1..4).prop_map(Rules::Grpc),
    ];
    (
        select(&["a", "a-b", "b"][..]),
        select(&["x", "x-y"][..]),
        prop::option::of(0_i64..3),
        subsequence(&HOSTS, 1..4),
        rules,
    )
        .prop_map(|(namespace, name, created, hosts, rules)| Route {
            name: ObjectName { namespace: namespace.to_owned(), name: name.to_owned() },
            created,
            hosts: hosts.into_iter().map(str::to_owned).collect(),
            rules,
        })
}

/// Routes whose kind, namespace and name are their own.
fn routes() -> impl Strategy<Value = Vec<Route>> {
    prop::collection::vec(route(), 1..8).prop_map(|routes| {
        let unique: BTreeMap<_, _> =
            routes.into_iter().map(|route| ((route.kind(), route.name.clone()), route)).collect();
        unique.into_values().collect()
    })
}

fn request() -> impl Strategy<Value = Request> {
    let headers = prop::collection::vec((select(&["X-One", "x-two"][..]), select(&VALUES)), 0..4);
    let path = prop_oneof![4 => select(&PATHS), 2 => Just("/s/m"), 1 => select(&["/a/b/c", "/a//b", "/b/b", "/s", "/t/m", "/s/m/x", "*"][..])];
    (
        select(&REQUEST_HOSTS),
        select(&["GET", "POST", "PUT"][..]),
        path,
        prop::option::of(select(&QUERIES)),
        headers,
        prop::bool::weighted(0.3),
    )
        .prop_map(|(host, method, path, query, headers, is_grpc)| Request {
            host,
            method,
            path,
            query,
            headers,
            is_grpc,
        })
}

fn rule(kind: HttpRouteKind, route: &ObjectName, index: usize) -> Arc<HttpRule> {
    Arc::new(HttpRule {
        name: HttpRuleName {
            kind,
            route: route.clone(),
            rule: u16::try_from(index).expect("few rules"),
            name: None,
        },
        filters: Vec::new(),
        action: HttpAction::Refuse(HttpRefusal::NoBackend),
        timeouts: Timeouts::default(),
        retry: None,
        session: None,
    })
}

fn compiled<M: Clone>(kind: HttpRouteKind, route: &Route, rules: &[Vec<M>]) -> Arc<HttpRoute<M>> {
    let rules = rules.iter().enumerate().map(|(index, matches)| HttpRouteRule {
        matches: matches.clone(),
        rule: rule(kind, &route.name, index),
    });
    Arc::new(HttpRoute { age: RouteAge { created: route.created }, rules: rules.collect() })
}

fn listener_name(index: usize) -> ListenerName {
    let gateway = ObjectName { namespace: "infra".to_owned(), name: "edge".to_owned() };
    ListenerName { gateway, listener: index.to_string() }
}

fn frontend() -> FrontendKey {
    let port = NonZeroU16::new(80).expect("a port");
    FrontendKey { address: "192.0.2.1".parse().expect("an address"), port, protocol: Protocol::Tcp }
}

/// One frontend with a listener for each of these host names, all with the same routes.
fn tables(listeners: &[&str], routes: &[Route]) -> HttpTables {
    let mut tables = HttpTables::default();
    let mut hosts = BTreeMap::<HostPattern, HostRoutes>::new();
    for route in routes {
        for host in &route.hosts {
            let of_host = hosts.entry(HostPattern::parse(host).expect("a host")).or_default();
            match &route.rules {
                Rules::Http(_) => of_host.http.insert(route.name.clone()),
                Rules::Grpc(_) => of_host.grpc.insert(route.name.clone()),
            };
        }
        match &route.rules {
            Rules::Http(rules) => {
                let compiled = compiled(HttpRouteKind::Http, route, rules);
                drop(tables.http_routes.insert(route.name.clone(), compiled));
            }
            Rules::Grpc(rules) => {
                let compiled = compiled(HttpRouteKind::Grpc, route, rules);
                drop(tables.grpc_routes.insert(route.name.clone(), compiled));
            }
        }
    }
    let mut of_frontend = HttpFrontend::default();
    for (index, host) in listeners.iter().enumerate() {
        let name = listener_name(index);
        of_frontend.listeners.insert(HostPattern::parse(host).expect("a host"), name.clone());
        let port = NonZeroU16::new(80).expect("a port");
        tables.listeners.insert(
            name,
            HttpListener {
                scheme: Scheme::Http,
                port,
                settings: HttpSettings::default(),
                hosts: hosts.clone(),
                telemetry: HttpTelemetry::default(),
            },
        );
    }
    tables.frontends.insert(frontend(), of_frontend);
    tables
}

/// No more than what differs.
fn difference(before: &HttpTables, after: &HttpTables) -> HttpDelta {
    let mut delta = HttpDelta {
        frontends: differing(&before.frontends, &after.frontends),
        http_routes: differing(&before.http_routes, &after.http_routes),
        grpc_routes: differing(&before.grpc_routes, &after.grpc_routes),
        ..HttpDelta::default()
    };
    for name in differing(&before.listeners, &after.listeners) {
        match (before.listeners.get(&name), after.listeners.get(&name)) {
            (Some(one), Some(other))
                if (HttpListener { hosts: other.hosts.clone(), ..one.clone() }) == *other =>
            {
                let hosts = differing(&one.hosts, &other.hosts);
                delta.hosts.extend(hosts.into_iter().map(|host| (name.clone(), host)));
            }
            _ => drop(delta.listeners.insert(name)),
        }
    }
    delta
}

fn differing<K: Ord + Clone, V: PartialEq>(one: &BTreeMap<K, V>, other: &BTreeMap<K, V>) -> BTreeSet<K> {
    let keys = one.keys().chain(other.keys());
    keys.filter(|key| one.get(key) != other.get(key)).cloned().collect()
}

/// What the compiled matcher picks: the listener and the rule.
fn pick(matcher: &HttpMatcher, request: &Request) -> Option<(ListenerName, Option<HttpRuleName>)> {
    with_head(request, |head| {
        let listener = matcher.listener(&frontend(), head.host)?;
        Some((ListenerName::clone(&listener.name), listener.pick(head).map(|rule| rule.name.clone())))
    })
}

/// The rule of the first match that a request meets, as it is explained.
fn explained(tables: &HttpTables, request: &Request) -> Option<HttpRuleName> {
    let listener = tables.listeners.values().next().expect("a listener");
    with_head(request, |head| {
        let met = explain(listener, tables, head).into_iter().find(|considered| considered.unmet.is_none());
        met.map(|considered| considered.rule.name.clone())
    })
}

fn with_head<T>(request: &Request, f: impl FnOnce(&RequestHead<'_, HeaderMap>) -> T) -> T {
    let host = RequestHost::of(request.host);
    let mut fields = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
        fields.append(name, HeaderValue::from_static(value));
    }
    let method = Method::from_bytes(request.method.as_bytes()).expect("a method");
    let head = RequestHead::new(&host, &method, request.path, &fields)
        .with_query(request.query)
        .with_grpc(request.is_grpc);
    f(&head)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn agrees_with_the_specification(
        listeners in subsequence(&HOSTS, 1..4),
        routes in routes(),
        requests in prop::collection::vec(request(), 8),
    ) {
        let matcher = HttpMatcher::new(&tables(&listeners, &routes));
        for request in &requests {
            let wanted = specification::listener(&listeners, request)
                .map(|index| (listener_name(index), specification::pick(&routes, request)));
            prop_assert_eq!(pick(&matcher, request), wanted, "{:?}", request);
        }
    }

    #[test]
    fn what_is_explained_is_what_is_picked(
        routes in routes(),
        requests in prop::collection::vec(request(), 8),
    ) {
        let tables = tables(&[""], &routes);
        let matcher = HttpMatcher::new(&tables);
        for request in &requests {
            let picked = pick(&matcher, request).and_then(|(_, rule)| rule);
            prop_assert_eq!(explained(&tables, request), picked, "{:?}", request);
        }
    }

    #[test]
    fn updates_lead_to_the_same_as_a_new_matcher(
        steps in prop::collection::vec((subsequence(&HOSTS, 0..4), routes()), 1..6),
        requests in prop::collection::vec(request(), 8),
    ) {
        let (mut matcher, mut before) = (HttpMatcher::default(), HttpTables::default());
        for (listeners, routes) in &steps {
            let mut after = tables(listeners, routes);
            // What didn't change is the same object, as it is when changes are sent.
            for (name, route) in &mut after.http_routes {
                if let Some(same) = before.http_routes.get(name).filter(|previous| *previous == route) {
                    *route = Arc::clone(same);
                }
            }
            matcher = matcher.update(&after, &difference(&before, &after));
            let fresh = HttpMatcher::new(&after);
            for request in &requests {
                prop_assert_eq!(pick(&matcher, request), pick(&fresh, request), "{:?}", request);
            }
            before = after;
        }
    }

    #[test]
    fn tables_survive_being_sent(routes in routes()) {
        let tables = tables(&["a.example.com"], &routes);
        for (name, route) in &tables.http_routes {
            let sent = serde_json::to_string(route).expect("JSON");
            let received: HttpRoute<HttpMatch> = serde_json::from_str(&sent).expect("a route");
            prop_assert_eq!(&received, tables.http_routes[name].as_ref());
        }
    }
}

/// The laws above mean little if random requests hardly ever meet a route, or always the same kind of match.
#[test]
fn random_requests_meet_routes() {
    let mut runner = TestRunner::deterministic();
    let (mut met, mut missed, mut grpc) = (0, 0, 0);
    for _ in 0..1000 {
        let routes = routes().new_tree(&mut runner).expect("routes").current();
        let request = request().new_tree(&mut runner).expect("a request").current();
        match specification::pick(&routes, &request) {
            Some(rule) if rule.kind == HttpRouteKind::Grpc => grpc += 1,
            Some(_) => met += 1,
            None => missed += 1,
        }
    }
    assert!(met >= 200 && missed >= 100 && grpc >= 20, "{met} {missed} {grpc}");
}
