//! The names of series, and which of them there are.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gateway_agent_tables::http::{HttpAction, HttpRouteKind, HttpRule, HttpRuleName, HttpTables};
use gateway_agent_tables::{ListenerName, ObjectName};
use hashbrown::HashMap;

use super::figures::{ListenerFigures, RequestFigures};
use super::log::AccessLog;
use super::series::{ListenerSeries, Series};
use super::subject::{Subject, Target};

/// Subjects of all Gateways: as many as the agent's page has room for, at three lines each.
const MOST_SUBJECTS: usize = 3_000;

/// How long the series of a deleted listener or route stay: several scrapes, so that the last requests are seen.
const LINGER: Duration = Duration::from_mins(5);

/// All series of the process. Workers ask for one when they meet a subject for the first time since tables changed.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(super) log: Arc<AccessLog>,
    workers: AtomicUsize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    subjects: HashMap<Subject, Entry<Series>>,
    listeners: HashMap<Option<ListenerName>, Entry<ListenerSeries>>,
}

/// Series of one name, one for each worker that met it.
#[derive(Debug)]
struct Entry<S> {
    by_worker: Vec<(usize, Arc<S>)>,
    /// Since when tables don't have it any more.
    gone: Option<Instant>,
}

impl Registry {
    pub(crate) fn new(log: AccessLog) -> Self {
        Self { log: Arc::new(log), workers: AtomicUsize::default(), known: Mutex::default() }
    }

    /// Waits until what requests that have ended logged is written, at most so long.
    pub(crate) fn flush(&self, patience: Duration) {
        self.log.flush(patience);
    }

    /// Lines of the access log that were not written.
    pub(super) fn lost_lines(&self) -> u64 {
        self.log.lost()
    }

    /// The number of one more worker.
    pub(super) fn join(&self) -> usize {
        self.workers.fetch_add(1, Relaxed)
    }

    /// A worker's series of a subject, or of all that there is no room for: neither among those of all Gateways, nor
    /// among so many of its own.
    pub(super) fn series(&self, worker: usize, subject: Subject, most_of_gateway: u32) -> Arc<Series> {
        let mut known = self.known();
        let listener = known.listeners.entry(subject.listener.clone()).or_default();
        let listener = listener.of(worker, Arc::default);
        let subject = if known.has_room(&subject, most_of_gateway) { subject } else { subject.overflow() };
        let protocol = subject.protocol;
        known.subjects.entry(subject).or_default().of(worker, || Arc::new(Series::of(listener, protocol)))
    }

    /// Series of what these tables don't have are kept for a while only.
    pub(crate) fn compare(&self, tables: &HttpTables, now: Instant) {
        let mut known = self.known();
        for (subject, entry) in &mut known.subjects {
            entry.note(has_subject(tables, subject), now);
        }
        for (listener, entry) in &mut known.listeners {
            entry.note(has_listener(tables, listener.as_ref()), now);
        }
        known.tidy(now);
    }

    /// Added up over all workers.
    pub(super) fn figures(&self, now: Instant) -> (Vec<RequestFigures>, Vec<ListenerFigures>) {
        let mut known = self.known();
        known.tidy(now);
        let requests = known.subjects.iter().map(|(subject, entry)| {
            let mut figures = RequestFigures::of(subject.clone());
            entry.by_worker.iter().for_each(|(_, series)| figures.add(series));
            figures
        });
        let listeners = known.listeners.iter().map(|(listener, entry)| {
            let mut figures = ListenerFigures::of(listener.clone());
            entry.by_worker.iter().for_each(|(_, series)| figures.add(series));
            figures
        });
        (requests.collect(), listeners.collect())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn has_room(&self, subject: &Subject, most_of_gateway: u32) -> bool {
        let of_gateway = || self.subjects.keys().filter(|known| known.gateway() == subject.gateway()).count();
        self.subjects.contains_key(subject)
            || (self.subjects.len() < MOST_SUBJECTS && of_gateway() < most_of_gateway as usize)
    }

    fn tidy(&mut self, now: Instant) {
        self.subjects.retain(|_, entry| entry.is_kept(now));
        self.listeners.retain(|_, entry| entry.is_kept(now));
    }
}

impl<S> Default for Entry<S> {
    fn default() -> Self {
        Self { by_worker: Vec::new(), gone: None }
    }
}

impl<S> Entry<S> {
    fn of(&mut self, worker: usize, make: impl FnOnce() -> Arc<S>) -> Arc<S> {
        if let Some((_, series)) = self.by_worker.iter().find(|(of, _)| *of == worker) {
            return Arc::clone(series);
        }
        let series = make();
        self.by_worker.push((worker, Arc::clone(&series)));
        series
    }

    fn note(&mut self, is_there: bool, now: Instant) {
        self.gone = if is_there { None } else { self.gone.or(Some(now)) };
    }

    fn is_kept(&self, now: Instant) -> bool {
        self.gone.is_none_or(|since| now.saturating_duration_since(since) < LINGER)
    }
}

impl Subject {
    fn gateway(&self) -> Option<&ObjectName> {
        self.listener.as_ref().map(|listener| &listener.gateway)
    }

    fn overflow(self) -> Self {
        Self { target: Target::Overflow, ..self }
    }
}

fn has_listener(tables: &HttpTables, listener: Option<&ListenerName>) -> bool {
    listener.is_none_or(|name| tables.listeners.contains_key(name))
}

fn has_subject(tables: &HttpTables, subject: &Subject) -> bool {
    has_listener(tables, subject.listener.as_ref())
        && match &subject.target {
            Target::None | Target::Overflow => true,
            Target::Rule(name, backend) => rule(tables, name)
                .is_some_and(|rule| backend.as_ref().is_none_or(|backend| has_backend(rule, backend))),
        }
}

fn rule<'t>(tables: &'t HttpTables, name: &HttpRuleName) -> Option<&'t HttpRule> {
    let place = usize::from(name.rule);
    let rule = match name.kind {
        HttpRouteKind::Http => &tables.http_routes.get(&name.route)?.rules.get(place)?.rule,
        HttpRouteKind::Grpc => &tables.grpc_routes.get(&name.route)?.rules.get(place)?.rule,
    };
    (rule.name == *name).then_some(rule)
}

fn has_backend(rule: &HttpRule, name: &str) -> bool {
    match &rule.action {
        HttpAction::Forward(split) => split.backends().iter().any(|backend| backend.name == name),
        HttpAction::Redirect(_) | HttpAction::Refuse(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU16;

    use gateway_agent_tables::http::{
        HttpListener, HttpRefusal, HttpRoute, HttpRouteRule, HttpSettings, HttpTelemetry, RouteAge, Scheme,
        Timeouts,
    };

    use super::super::subject::Protocol;
    use super::*;

    fn object(name: &str) -> ObjectName {
        ObjectName { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn rule(route: usize) -> HttpRule {
        HttpRule {
            name: HttpRuleName {
                kind: HttpRouteKind::Http,
                route: object(&route.to_string()),
                rule: 0,
                name: None,
            },
            filters: Vec::new(),
            action: HttpAction::Refuse(HttpRefusal::NoBackend),
            timeouts: Timeouts::default(),
            retry: None,
            session: None,
        }
    }

    fn subject(gateway: &str, route: usize) -> Subject {
        Subject {
            listener: Some(ListenerName { gateway: object(gateway), listener: "http".to_owned() }),
            target: Target::Rule(rule(route).name, None),
            protocol: Protocol::Http1,
        }
    }

    fn tables(routes: &[usize]) -> HttpTables {
        let listener = HttpListener {
            scheme: Scheme::Http,
            port: NonZeroU16::MIN,
            settings: HttpSettings::default(),
            hosts: BTreeMap::new(),
            telemetry: HttpTelemetry::default(),
        };
        let rules = |route: &usize| vec![HttpRouteRule { matches: Vec::new(), rule: Arc::new(rule(*route)) }];
        let route = |route: &usize| {
            (
                object(&route.to_string()),
                Arc::new(HttpRoute { age: RouteAge::default(), rules: rules(route) }),
            )
        };
        HttpTables {
            listeners: subject("a", 0).listener.map(|name| (name, listener)).into_iter().collect(),
            http_routes: routes.iter().map(route).collect(),
            ..HttpTables::default()
        }
    }

    fn registry() -> Registry {
        Registry::new(AccessLog::new(Box::new(std::io::sink())))
    }

    fn targets(registry: &Registry, now: Instant) -> Vec<Target> {
        let (mut requests, _) = registry.figures(now);
        requests.sort_by(|one, other| one.subject.cmp(&other.subject));
        requests.into_iter().map(|it| it.subject.target).collect()
    }

    #[test]
    fn a_gateway_with_too_many_routes_overflows_alone() {
        let registry = registry();
        for worker in [registry.join(), registry.join()] {
            for route in 0..4 {
                registry.series(worker, subject("a", route), 2).retries.add(1);
            }
            registry.series(worker, subject("b", 9), 2).retries.add(1);
        }
        let (mut requests, listeners) = registry.figures(Instant::now());
        requests.sort_by(|one, other| one.subject.cmp(&other.subject));
        let counts: Vec<_> = requests.iter().map(|it| (&it.subject.target, it.retries)).collect();
        let rule = |route| Target::Rule(rule(route).name, None);
        assert_eq!(counts, [(&rule(0), 2), (&rule(1), 2), (&Target::Overflow, 4), (&rule(9), 2)]);
        assert_eq!(listeners.len(), 2);
    }

    #[test]
    fn all_gateways_together_overflow_too() {
        let registry = registry();
        for route in 0..MOST_SUBJECTS + 10 {
            registry.series(0, subject(&route.to_string(), 0), 10).retries.add(1);
        }
        let (requests, _) = registry.figures(Instant::now());
        let overflown = requests.iter().filter(|it| it.subject.target == Target::Overflow);
        assert_eq!(overflown.map(|it| it.retries).sum::<u64>(), 10);
    }

    #[test]
    fn series_outlive_their_route_by_a_few_scrapes() {
        let (registry, began) = (registry(), Instant::now());
        let rule = |route| Target::Rule(rule(route).name, None);
        let series = registry.series(0, subject("a", 1), 10);
        registry.series(0, subject("a", 2), 10);
        registry.compare(&tables(&[1, 2]), began);
        registry.compare(&tables(&[1]), began);
        assert_eq!(targets(&registry, began + LINGER / 2), [rule(1), rule(2)]);
        // Back in time.
        registry.compare(&tables(&[1, 2]), began + LINGER / 2);
        assert_eq!(targets(&registry, began + LINGER * 2), [rule(1), rule(2)]);
        registry.compare(&tables(&[1]), began + LINGER * 2);
        assert_eq!(targets(&registry, began + LINGER * 3), [rule(1)]);
        assert!(Arc::ptr_eq(&series, &registry.series(0, subject("a", 1), 10)), "counting goes on");
        registry.compare(&HttpTables::default(), began);
        assert_eq!(targets(&registry, began + LINGER), []);
        assert!(registry.figures(began + LINGER).1.is_empty(), "the listener has gone as well");
    }
}
