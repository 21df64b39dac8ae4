//! What finding a rule costs, with one route and with many, and what a change costs: `cargo bench -p gateway-agent-tables`.

use std::hint::black_box;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Instant;

use gateway_agent_tables::http::{
    HttpAction, HttpFrontend, HttpListener, HttpMatch, HttpMatcher, HttpRefusal, HttpRoute, HttpRouteKind,
    HttpRouteRule, HttpRule, HttpRuleName, HttpSettings, HttpTables, HttpTelemetry, Path, PathMatch,
    RequestHead, RequestHost, RouteAge, Scheme, Timeouts,
};
use gateway_agent_tables::{FrontendKey, HostPattern, HttpDelta, ListenerName, ObjectName, Protocol};
use http::{HeaderMap, Method};

/// Enough for a mean that repeats within a few per cent.
const REQUESTS: u32 = 2_000_000;

fn main() {
    for routes in [1, 100, 10_000] {
        for (what, same_host) in [("hosts", false), ("paths of one host", true)] {
            let mut tables = tables(routes, same_host);
            let started = Instant::now();
            let matcher = HttpMatcher::new(&tables);
            let compiling = started.elapsed();
            let nanoseconds = requests(&matcher, routes, same_host);
            let delta = change_one(&mut tables);
            let started = Instant::now();
            black_box(matcher.update(&tables, &delta));
            let updating = started.elapsed();
            println!(
                "{routes:>6} {what:<18} {nanoseconds:>6.0} ns/request, compiled in {compiling:?}, one route changed in \
                 {updating:?}"
            );
        }
    }
}

/// One route per host or per path.
fn tables(routes: usize, same_host: bool) -> HttpTables {
    let mut tables = HttpTables::default();
    let port = NonZeroU16::new(80).expect("a port");
    let mut listener = HttpListener {
        scheme: Scheme::Http,
        port,
        settings: HttpSettings::default(),
        telemetry: HttpTelemetry::default(),
        hosts: [].into(),
    };
    for index in 0..routes {
        let name = ObjectName { namespace: "bench".to_owned(), name: format!("route-{index}") };
        let host = HostPattern::parse(&host_of(index, same_host)).expect("a host name");
        listener.hosts.entry(host).or_default().http.insert(name.clone());
        let path = Path::parse(&path_of(index, same_host)).expect("a path");
        tables.http_routes.insert(name.clone(), Arc::new(route(name, path)));
    }
    let gateway = ObjectName { namespace: "bench".to_owned(), name: "edge".to_owned() };
    let name = ListenerName { gateway, listener: "http".to_owned() };
    tables.listeners.insert(name.clone(), listener);
    tables.frontends.insert(frontend(), HttpFrontend { listeners: [(HostPattern::Any, name)].into() });
    tables
}

fn route(name: ObjectName, path: Path) -> HttpRoute<HttpMatch> {
    let rule = HttpRule {
        name: HttpRuleName { kind: HttpRouteKind::Http, route: name, rule: 0, name: None },
        filters: Vec::new(),
        action: HttpAction::Refuse(HttpRefusal::NoBackend),
        timeouts: Timeouts::default(),
        retry: None,
        session: None,
    };
    let matches = vec![HttpMatch { path: PathMatch::Prefix(path), ..HttpMatch::any() }];
    HttpRoute { age: RouteAge::default(), rules: vec![HttpRouteRule { matches, rule: Arc::new(rule) }] }
}

/// Replaces a route by one that says the same, as a change from outside does.
fn change_one(tables: &mut HttpTables) -> HttpDelta {
    let (name, route) = tables.http_routes.iter_mut().next().expect("a route");
    *route = Arc::new(HttpRoute::clone(route));
    HttpDelta { http_routes: [name.clone()].into(), ..HttpDelta::default() }
}

fn host_of(index: usize, same_host: bool) -> String {
    format!("host-{}.example.com", if same_host { 0 } else { index })
}

fn path_of(index: usize, same_host: bool) -> String {
    if same_host { format!("/api/v1/service-{index}") } else { "/api".to_owned() }
}

fn frontend() -> FrontendKey {
    let port = NonZeroU16::new(80).expect("a port");
    FrontendKey { address: "192.0.2.1".parse().expect("an address"), port, protocol: Protocol::Tcp }
}

/// Mean nanoseconds of finding the rule of requests that are spread over all routes.
fn requests(matcher: &HttpMatcher, routes: usize, same_host: bool) -> f64 {
    let fields = HeaderMap::new();
    // As many different requests for every number of routes, so that the caches hold as much of them.
    let texts: Vec<_> = (0..10_000_usize)
        .map(|index| index * 7919 % routes)
        .map(|index| (host_of(index, same_host), path_of(index, same_host) + "/items/17"))
        .collect();
    let frontend = frontend();
    let started = Instant::now();
    for (host, path) in texts.iter().cycle().take(REQUESTS as usize) {
        let host = RequestHost::of(host);
        let listener = matcher.listener(&frontend, &host).expect("a listener");
        let head = RequestHead::new(&host, &Method::GET, path, &fields);
        black_box(listener.pick(&head)).expect("a rule");
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS)
}
