//! The names of series, and which of them there are.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gateway_agent_tables::http::{HttpAction, HttpRouteKind, HttpRule, HttpRuleName, HttpTables};
use gateway_agent_tables::{ListenerName, ObjectName};
use hashbrown::HashMap;

use super::figures::{ListenerFigures, RequestFigures};
use super::series::{ListenerSeries, Series};
use super::subject::{Subject, Target};

/// Subjects of all Gateways: as many as the agent's page has room for, at three lines each.
const MOST_SUBJECTS: usize = 3_000;

/// Subjects of one Gateway, and of what belongs to none: so many Gateways can take nothing from each other.
const MOST_OF_GATEWAY: usize = 1_000;

/// How long the series of a deleted listener or route stay: several scrapes, so that the last requests are seen.
const LINGER: Duration = Duration::from_mins(5);

/// All series of the process. Workers ask for one when they meet a subject for the first time since tables changed.
#[derive(Debug, Default)]
pub(crate) struct Registry {
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
    /// The number of one more worker.
    pub(super) fn join(&self) -> usize {
        self.workers.fetch_add(1, Relaxed)
    }

    /// A worker's series of a subject, or of all that there is no room for.
    pub(super) fn series(&self, worker: usize, subject: Subject) -> Arc<Series> {
        let mut known = self.known();
        let listener = known.listeners.entry(subject.listener.clone()).or_default();
        let listener = listener.of(worker, Arc::default);
        let subject = if known.has_room(&subject) { subject } else { subject.overflow() };
        known.subjects.entry(subject).or_default().of(worker, || Arc::new(Series::of(listener)))
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
    fn has_room(&self, subject: &Subject) -> bool {
        let of_gateway = || self.subjects.keys().filter(|known| known.gateway() == subject.gateway()).count();
        self.subjects.contains_key(subject)
            || (self.subjects.len() < MOST_SUBJECTS && of_gateway() < MOST_OF_GATEWAY)
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
