//! The maps `frontends` and `splits`, and the ids of counters of frontends and backends.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use aya::maps::{MapData, MapError, PerCpuArray, PerCpuValues};
use aya::{Pod, util::nr_cpus};
use gateway_agent_tables::{Frontend, FrontendKey, L4Tables, RouteName, Split, Target};
use gateway_common::maps::{self, LabelKind, MAX_BACKENDS, RING_REFUSE, split_flags};

use crate::address::{entry_key, parse_key};
use crate::apply::{ApplyProblem, ApplyReport};
use crate::ids::Ids;
use crate::labels::{self, BackendLabel, FrontendLabel};
use crate::retired::Retired;
use crate::rings::Rings;
use crate::store::Store;

#[derive(Debug)]
pub(crate) struct Frontends {
    ids: Ids,
    split_ids: Ids,
    backend_ids: Ids,
    known: HashMap<FrontendKey, Known>,
    retired: Retired<Id>,
}

#[derive(Debug)]
struct Known {
    id: u32,
    label: Option<FrontendLabel>,
    /// In the map `frontends`; None: not inserted yet.
    split: Option<(u32, maps::Split)>,
    backends: BTreeMap<BackendKey, KnownBackend>,
}

#[derive(Debug)]
struct KnownBackend {
    id: u32,
    weight: u32,
}

#[derive(Clone, Copy, Debug)]
enum Id {
    Frontend(u32),
    Split(u32),
    Backend(u32),
}

/// What a backend's counters are kept by, for one frontend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct BackendKey {
    route: RouteName,
    name: String,
    /// Which of the rule's backends of this name.
    nth: u16,
}

/// Counts for all backends that have no id of their own.
const NAMELESS_BACKEND: u32 = 0;

impl Frontends {
    /// What an earlier agent left. Labels of nothing are removed.
    pub(crate) fn recover(store: &mut Store) -> Result<Self, MapError> {
        let mut known = HashMap::new();
        let mut keys = HashMap::new();
        for entry in &store.frontends {
            let (key, value) = entry?;
            let split = store.splits.get(&value.split, 0)?;
            if let Some(key) = parse_key(&key) {
                let id = split.frontend;
                keys.insert(id, key);
                let split = Some((value.split, split));
                known.insert(key, Known { id, label: None, split, backends: BTreeMap::new() });
            }
        }
        for (id, label) in labels::read::<FrontendLabel>(&store.labels, LabelKind::Frontend)? {
            match keys.get(&id).and_then(|key| known.get_mut(key)) {
                Some(frontend) => frontend.label = label,
                None => labels::remove(&mut store.labels, LabelKind::Frontend, id)?,
            }
        }
        let mut backend_ids = vec![NAMELESS_BACKEND];
        for (id, label) in labels::read::<BackendLabel>(&store.labels, LabelKind::Backend)? {
            let owner = label.and_then(|label| Some((known.get_mut(keys.get(&label.frontend)?)?, label)));
            let Some((frontend, label)) = owner else {
                labels::remove(&mut store.labels, LabelKind::Backend, id)?;
                continue;
            };
            let weight = label.weight;
            let key = BackendKey { route: label.route(), name: label.backend, nth: label.nth };
            match frontend.backends.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(KnownBackend { id, weight });
                    backend_ids.push(id);
                }
                Entry::Occupied(_) => labels::remove(&mut store.labels, LabelKind::Backend, id)?,
            }
        }
        Ok(Self {
            ids: Ids::recover(store.frontend_stats.len(), known.values().map(|k| k.id)),
            split_ids: Ids::recover(store.splits.len(), known.values().filter_map(|k| Some(k.split?.0))),
            backend_ids: Ids::recover(store.backend_stats.len(), backend_ids),
            known,
            retired: Retired::default(),
        })
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &FrontendKey> {
        self.known.keys()
    }

    /// Inserts and replaces, of these frontends, what the tables have.
    pub(crate) fn write(
        &mut self,
        store: &mut Store,
        tables: &L4Tables,
        frontends: &BTreeSet<FrontendKey>,
        rings: &Rings,
        report: &mut ApplyReport,
    ) {
        for key in frontends {
            let Some(frontend) = tables.frontends.get(key) else { continue };
            if !self.known.contains_key(key) && !self.insert(store, key, report) {
                continue;
            }
            self.name(store, key, frontend, report);
            let split = match &frontend.split {
                Some(split) => self.split(store, key, split, rings, report),
                None => self.empty_split(key),
            };
            let is_pool = tables.pool.contains(&key.address);
            let split = maps::Split { flags: if is_pool { split_flags::POOL } else { 0 }, ..split };
            self.switch(store, key, split, report);
            self.retire_backends(store, key, frontend.split.as_ref(), report);
        }
    }

    /// Removes, of these frontends, what the tables don't have.
    pub(crate) fn remove(
        &mut self,
        store: &mut Store,
        tables: &L4Tables,
        frontends: &BTreeSet<FrontendKey>,
        report: &mut ApplyReport,
    ) {
        for key in frontends.iter().filter(|key| !tables.frontends.contains_key(key)) {
            let Some(known) = self.known.get(key) else { continue };
            if known.split.is_some()
                && !report.wrote("frontends", key, store.frontends.remove(&entry_key(key)))
            {
                continue;
            }
            self.retire_backends(store, key, None, report);
            if let Some(known) = self.known.remove(key) {
                report.wrote("labels", key, labels::remove(&mut store.labels, LabelKind::Frontend, known.id));
                self.retired.push(Id::Frontend(known.id));
                if let Some((id, _)) = known.split {
                    self.retired.push(Id::Split(id));
                }
            }
        }
    }

    pub(crate) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// As [`Retired::begin`].
    pub(crate) fn begin_release(&mut self) -> bool {
        self.retired.begin()
    }

    /// When every program that may have read them has finished.
    pub(crate) fn release(&mut self, report: &mut ApplyReport) {
        for id in self.retired.release() {
            match id {
                Id::Frontend(id) => self.ids.free(id),
                Id::Split(id) => self.split_ids.free(id),
                Id::Backend(id) => self.backend_ids.free(id),
            }
            report.freed();
        }
    }

    /// Takes an id for a new frontend.
    fn insert(&mut self, store: &mut Store, key: &FrontendKey, report: &mut ApplyReport) -> bool {
        let Some(id) = self.ids.allocate() else {
            report.problem(ApplyProblem::FrontendsFull { frontend: *key, capacity: self.ids.capacity() });
            return false;
        };
        if !report.wrote("frontend_stats", key, zero(&mut store.frontend_stats, id)) {
            self.ids.free(id);
            return false;
        }
        self.known.insert(*key, Known { id, label: None, split: None, backends: BTreeMap::new() });
        true
    }

    fn name(&mut self, store: &mut Store, key: &FrontendKey, frontend: &Frontend, report: &mut ApplyReport) {
        let Some(known) = self.known.get_mut(key) else { return };
        let label = FrontendLabel::new(key, &frontend.listener);
        if known.label.as_ref() != Some(&label) {
            let written = labels::write(&mut store.labels, LabelKind::Frontend, known.id, &label);
            if report.wrote("labels", key, written) {
                known.label = Some(label);
            }
        }
    }

    fn split(
        &mut self,
        store: &mut Store,
        key: &FrontendKey,
        split: &Split,
        rings: &Rings,
        report: &mut ApplyReport,
    ) -> maps::Split {
        let mut value = self.empty_split(key);
        value.total = split.total_weight();
        value.count = u32::try_from(split.backends().len()).unwrap_or(0);
        value.cumulative = [value.total; MAX_BACKENDS];
        let mut sum = 0;
        for (i, (name, backend)) in named(split).enumerate() {
            sum += backend.weight;
            value.cumulative[i] = sum;
            value.backend[i] = self.backend(store, key, name, backend.weight, report);
            value.ring[i] = match &backend.target {
                // One without a ring is reported where the ring should be made.
                Target::Service(service) => rings.id(service).unwrap_or(RING_REFUSE),
                Target::Refuse(_) => RING_REFUSE,
            };
        }
        value
    }

    /// One that refuses all.
    fn empty_split(&self, key: &FrontendKey) -> maps::Split {
        maps::Split {
            key: entry_key(key),
            frontend: self.known.get(key).map_or(u32::MAX, |known| known.id),
            total: 0,
            count: 0,
            flags: 0,
            cumulative: [0; MAX_BACKENDS],
            backend: [NAMELESS_BACKEND; MAX_BACKENDS],
            ring: [RING_REFUSE; MAX_BACKENDS],
        }
    }

    /// The id of a backend's counters.
    fn backend(
        &mut self,
        store: &mut Store,
        key: &FrontendKey,
        name: BackendKey,
        weight: u32,
        report: &mut ApplyReport,
    ) -> u32 {
        let Some(known) = self.known.get_mut(key) else { return NAMELESS_BACKEND };
        let former = known.backends.get(&name);
        if let Some(former) = former
            && former.weight == weight
        {
            return former.id;
        }
        let (id, new) = match (former, former.is_none().then(|| self.backend_ids.allocate()).flatten()) {
            (Some(former), _) => (former.id, false),
            (None, Some(id)) => (id, true),
            (None, None) => {
                let capacity = self.backend_ids.capacity() - 1;
                let BackendKey { route, name: backend, .. } = name;
                report.problem(ApplyProblem::BackendsFull { frontend: *key, route, backend, capacity });
                return NAMELESS_BACKEND;
            }
        };
        let zeroed = if new { zero(&mut store.backend_stats, id) } else { Ok(()) };
        let label = backend_label(known.id, &name, weight);
        let written = zeroed.and_then(|()| labels::write(&mut store.labels, LabelKind::Backend, id, &label));
        if !report.wrote("labels", key, written) && new {
            self.backend_ids.free(id);
            return NAMELESS_BACKEND;
        }
        known.backends.insert(name, KnownBackend { id, weight });
        id
    }

    /// Writes the split beside the present one, then points the frontend at it.
    fn switch(&mut self, store: &mut Store, key: &FrontendKey, split: maps::Split, report: &mut ApplyReport) {
        let Some(known) = self.known.get_mut(key) else { return };
        if known.split.is_some_and(|(_, former)| former == split) {
            return;
        }
        let Some(split_id) = self.split_ids.allocate() else {
            report.problem(ApplyProblem::SplitsFull { frontend: *key, capacity: self.split_ids.capacity() });
            return;
        };
        let value = maps::Frontend { split: split_id };
        let written = store.splits.set(split_id, split, 0);
        let written = written.and_then(|()| store.frontends.insert(entry_key(key), value, 0));
        if report.wrote("frontends", key, written) {
            if let Some((former, _)) = known.split.replace((split_id, split)) {
                self.retired.push(Id::Split(former));
            }
        } else {
            self.split_ids.free(split_id);
        }
    }

    /// Gives up the ids of backends that the split doesn't name.
    fn retire_backends(
        &mut self,
        store: &mut Store,
        key: &FrontendKey,
        split: Option<&Split>,
        report: &mut ApplyReport,
    ) {
        let Some(known) = self.known.get_mut(key) else { return };
        let kept: Vec<_> = split.into_iter().flat_map(named).map(|(name, _)| name).collect();
        for (_, backend) in known.backends.extract_if(.., |name, _| !kept.contains(name)) {
            report.wrote("labels", key, labels::remove(&mut store.labels, LabelKind::Backend, backend.id));
            self.retired.push(Id::Backend(backend.id));
        }
    }
}

/// The backends of a split, those of the same name told apart.
fn named(split: &Split) -> impl Iterator<Item = (BackendKey, &gateway_agent_tables::Backend)> {
    split.backends().iter().enumerate().map(|(i, backend)| {
        let former = split.backends()[..i].iter().filter(|b| b.name == backend.name).count();
        let nth = u16::try_from(former).unwrap_or(u16::MAX);
        (BackendKey { route: split.route().clone(), name: backend.name.clone(), nth }, backend)
    })
}

fn backend_label(frontend: u32, name: &BackendKey, weight: u32) -> BackendLabel {
    BackendLabel {
        frontend,
        kind: name.route.kind.into(),
        namespace: name.route.object.namespace.clone(),
        route: name.route.object.name.clone(),
        rule: name.route.rule,
        backend: name.name.clone(),
        nth: name.nth,
        weight,
    }
}

/// A reused id starts from nothing.
fn zero<T: Pod + Default>(counters: &mut PerCpuArray<MapData, T>, id: u32) -> Result<(), MapError> {
    let error = |io_error| MapError::SyscallError(aya::sys::SyscallError { call: "possible CPUs", io_error });
    let cpus = nr_cpus().map_err(|(_, e)| error(e))?;
    let values = PerCpuValues::try_from(vec![T::default(); cpus]).map_err(error)?;
    counters.set(id, values, 0)
}
