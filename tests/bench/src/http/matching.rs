//! Finding a request's rule, without all that surrounds it.

use std::hint::black_box;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use gateway_agent_tables::http::{
    HttpAction, HttpFrontend, HttpListener, HttpMatch, HttpMatcher, HttpRefusal, HttpRoute, HttpRouteKind,
    HttpRouteRule, HttpRule, HttpRuleName, HttpSettings, HttpTables, HttpTelemetry, Path, PathMatch,
    RequestHead, RequestHost, RouteAge, Scheme, Timeouts,
};
use gateway_agent_tables::{FrontendKey, HostPattern, ListenerName, ObjectName, Protocol};
use hyper::{HeaderMap, Method};

use super::case::Case;
use super::subject::{HTTP1, host, prefix};
use crate::cpu::Cpus;
use crate::lane::GATEWAY;
use crate::report::{Metric, Report};

const NS: Metric = Metric { name: "ns_per_request", unit: "ns" };

/// Enough for a mean that repeats within a few per cent.
const REQUESTS: u32 = 500_000;

/// Names, and how many hosts each with how many prefixes.
const SUBJECTS: [(&str, usize); 2] = [("routes-1", 1), ("routes-10000", 100)];

pub(crate) fn run(rounds: usize, cpus: &Cpus, report: &mut Report) -> Result<()> {
    cpus.pin(0)?;
    let matchers =
        SUBJECTS.map(|(name, each)| tables(each).map(|tables| (name, each, HttpMatcher::new(&tables))));
    for _ in 0..rounds {
        for matcher in &matchers {
            let Ok((name, each, matcher)) = matcher else { anyhow::bail!("the tables can't be made") };
            report.add(Case::Matching.name(), name, NS, requests(matcher, *each)?);
        }
    }
    Ok(())
}

/// Mean nanoseconds of requests that are spread over all routes.
fn requests(matcher: &HttpMatcher, each: usize) -> Result<f64> {
    let fields = HeaderMap::new();
    // As many different requests for every number of routes, so that the caches hold as much of them; 7,919 is a prime,
    // which visits all of them in no order.
    let texts: Vec<(String, String)> = (0..10_000)
        .map(|index| index * 7919 % (each * each))
        .map(|index| (host(index / each), prefix(index % each) + "items/17"))
        .collect();
    let frontend = frontend();
    let started = Instant::now();
    for (host, path) in texts.iter().cycle().take(REQUESTS as usize) {
        let host = RequestHost::of(host);
        let listener = matcher.listener(&frontend, &host).context("no listener")?;
        let head = RequestHead::new(&host, &Method::GET, path, &fields);
        black_box(listener.pick(&head)).context("no rule")?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS))
}

/// A route for each prefix of each host.
fn tables(each: usize) -> Result<HttpTables> {
    let mut tables = HttpTables::default();
    let port = frontend().port;
    let mut listener = HttpListener {
        scheme: Scheme::Http,
        port,
        settings: HttpSettings::default(),
        telemetry: HttpTelemetry::default(),
        hosts: [].into(),
    };
    for (of_hosts, of_paths) in (0..each).flat_map(|host| (0..each).map(move |path| (host, path))) {
        let name = object(format!("route-{of_hosts}-{of_paths}"));
        let host = HostPattern::parse(&host(of_hosts)).context("a host name")?;
        listener.hosts.entry(host).or_default().http.insert(name.clone());
        let path = Path::parse(&prefix(of_paths)).ok().context("a path")?;
        tables.http_routes.insert(name.clone(), Arc::new(route(name, path)));
    }
    let name = ListenerName { gateway: object("edge".to_owned()), listener: "http".to_owned() };
    tables.listeners.insert(name.clone(), listener);
    tables.frontends.insert(frontend(), HttpFrontend { listeners: [(HostPattern::Any, name)].into() });
    Ok(tables)
}

fn object(name: String) -> ObjectName {
    ObjectName { namespace: "bench".to_owned(), name }
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

fn frontend() -> FrontendKey {
    let port = NonZeroU16::new(HTTP1).unwrap_or(NonZeroU16::MIN);
    FrontendKey { address: GATEWAY.into(), port, protocol: Protocol::Tcp }
}
