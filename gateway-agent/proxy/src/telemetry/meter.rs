//! A worker's own way from a request's rule to its series.

use std::cell::RefCell;
use std::sync::Arc;

use gateway_agent_tables::http::{HttpAction, HttpRule, ListenerMatcher};
use hashbrown::HashMap;

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
}

/// Series that were met since tables changed.
#[derive(Debug, Default)]
struct Known {
    /// Of the tables.
    generation: u64,
    series: HashMap<Key, Arc<Series>>,
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
        Self { registry, worker, known: RefCell::default() }
    }

    /// A request begins. `matched` is of the tables of this generation, which is the present one.
    pub(crate) fn record(&self, generation: u64, matched: Matched<'_>, protocol: Protocol) -> Record {
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
        let find = || self.registry.series(self.worker, matched.subject(protocol));
        Record::begin(Arc::clone(known.series.entry(key).or_insert_with(find)))
    }

    /// One that was not understood begins.
    pub(crate) fn unmatched(&self, protocol: Protocol) -> Record {
        Record::begin(self.registry.series(self.worker, Matched::default().subject(protocol)))
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
        Subject { listener: self.listener.map(|listener| listener.name.clone()), target, protocol }
    }
}
