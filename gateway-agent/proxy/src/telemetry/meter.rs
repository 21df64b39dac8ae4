//! A worker's own way from a request's rule to its series.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use gateway_agent_tables::ListenerName;
use gateway_agent_tables::http::{HttpAction, HttpRule, HttpTelemetry, ListenerMatcher};
use hashbrown::HashMap;

use super::line::{Line, LoggedHead, describe};
use super::log::Lines;
use super::record::Record;
use super::registry::Registry;
use super::series::Series;
use super::subject::{Protocol, Subject, Target};

/// What a request met of the tables.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Matched<'a> {
    pub(crate) listener: Option<&'a Arc<ListenerMatcher>>,
    pub(crate) rule: Option<&'a Arc<HttpRule>>,
    /// Index among the rule's backends.
    pub(crate) backend: Option<usize>,
}

/// Finds series for one worker.
#[derive(Debug)]
pub(crate) struct Meter {
    registry: Arc<Registry>,
    worker: usize,
    known: RefCell<Known>,
    lines: Rc<Lines>,
}

/// What was met since tables changed.
#[derive(Debug, Default)]
struct Known {
    /// Of the tables.
    generation: u64,
    met: HashMap<Key, Met>,
}

#[derive(Debug)]
struct Met {
    series: Arc<Series>,
    /// What lines of the access log say of it; None: there was none yet.
    description: Option<String>,
}

/// [`Matched`] by its places in memory, which are those of other things only in tables of another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    listener: usize,
    rule: usize,
    backend: Option<usize>,
    protocol: Protocol,
}

impl Meter {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        let worker = registry.join();
        let lines = Rc::new(Lines::new(Arc::clone(&registry.log)));
        Self { registry, worker, known: RefCell::default(), lines }
    }

    /// A request begins. `matched` is of the tables of this generation, which is the present one; `random` gives
    /// numbers that are even over all of u32.
    pub(crate) fn record<'h>(
        &self,
        generation: u64,
        matched: Matched<'_>,
        protocol: Protocol,
        random: impl FnOnce() -> u32,
        head: impl FnOnce() -> LoggedHead<'h>,
    ) -> Record {
        let mut known = self.known.borrow_mut();
        if known.generation != generation {
            *known = Known { generation, ..Known::default() };
        }
        let key = Key {
            listener: matched.listener.map_or(0, |listener| Arc::as_ptr(listener) as usize),
            rule: matched.rule.map_or(0, |rule| Arc::as_ptr(rule) as usize),
            backend: matched.backend,
            protocol,
        };
        let telemetry = matched.listener.map(|listener| listener.telemetry).unwrap_or_default();
        let met = known.met.entry(key).or_insert_with(|| self.meet(matched, protocol, telemetry));
        let mut record = Record::begin(Arc::clone(&met.series));
        if telemetry.is_logged(random) {
            let description = met.description.get_or_insert_with(|| describe(&matched.subject(protocol)));
            record.log(Line::begin(&self.lines, head(), description));
        }
        record
    }

    /// One that was not understood begins.
    pub(crate) fn unmatched(&self, protocol: Protocol) -> Record {
        Record::begin(self.meet(Matched::default(), protocol, HttpTelemetry::default()).series)
    }

    fn meet(&self, matched: Matched<'_>, protocol: Protocol, telemetry: HttpTelemetry) -> Met {
        let subject = matched.subject(protocol);
        Met { series: self.registry.series(self.worker, subject, telemetry.most_series), description: None }
    }
}

impl Matched<'_> {
    fn subject(&self, protocol: Protocol) -> Subject {
        let target = self.rule.map_or(Target::None, |rule| {
            let backend = match (&rule.action, self.backend) {
                (HttpAction::Forward(split), Some(place)) => split.backends().get(place),
                _ => None,
            };
            Target::Rule(rule.name.clone(), backend.map(|backend| backend.name.clone()))
        });
        let listener = self.listener.map(|listener| ListenerName::clone(&listener.name));
        Subject { listener, target, protocol }
    }
}
