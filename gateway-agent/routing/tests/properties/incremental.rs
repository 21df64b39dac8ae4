//! A translation that follows what happens to a cluster says what a new one would.

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_api::{Object, ObjectRef};
use gateway_agent_routing::{Assigner, Changes, Minutes, Outcome, Snapshot, Translation, translate};
use gateway_agent_tables::http::HttpUpdate;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cluster::{NOW, any_object, cluster, node, snapshot};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_translation_that_follows_changes_says_what_a_new_one_would(
        objects in cluster(),
        events in prop::collection::vec(prop::collection::vec(event(), 1..3), 1..24),
    ) {
        let mut snapshot = snapshot(&objects);
        let mut translation = Translation::default();
        let mut of_tables = Translation::of_tables();
        let all = objects.iter().map(Object::object_ref).collect();
        translation.update(&snapshot, &all);
        of_tables.update(&snapshot, &all);
        let (mut read, mut untold) = (translation.outcome().tables.http.clone(), HttpUpdate::default());
        for together in events {
            let before = translation.outcome().clone();
            let told = format!("{together:?}");
            let changed = together.into_iter().filter_map(|event| happen(event, &mut snapshot)).collect();
            let changes = translation.update(&snapshot, &changed);
            prop_assert_eq!(translation.outcome(), &translate(&snapshot), "after {}", told);
            names_all(&changes, &before, translation.outcome())?;
            untold.extend(HttpUpdate::new(&translation.outcome().tables.http, &changes.tables.http));
            of_tables.update(&snapshot, &changed);
            prop_assert_eq!(&of_tables.outcome().tables, &translation.outcome().tables);
            prop_assert!(of_tables.outcome().statuses.is_empty() && of_tables.outcome().problems.is_empty());
            let nothing = translation.update(&snapshot, &BTreeSet::new());
            prop_assert_eq!(nothing, Changes::default());
        }
        untold.apply(&mut read);
        prop_assert_eq!(&read, &translation.outcome().tables.http, "by all updates at once");
    }
}

/// Something that happens to a cluster.
#[derive(Clone, Debug)]
enum Event {
    Put(Box<Object>),
    /// One of those that there are.
    Remove(prop::sample::Index),
    Time(Option<Minutes>),
    NodeAddresses(usize),
    Served(usize),
    Accepted(usize),
    /// What was assigned counts from now on.
    Assigned(Assigner),
}

fn event() -> impl Strategy<Value = Event> {
    // Before, while and after the certificates are valid.
    let times = [
        None,
        Some(NOW),
        Some(NOW),
        Some(Minutes(NOW.0 + 1)),
        Some(Minutes(0)),
        Some(Minutes(u64::MAX / 61)),
    ];
    prop_oneof![
        20 => any_object().prop_map(|object| Event::Put(Box::new(object))),
        12 => any::<prop::sample::Index>().prop_map(Event::Remove),
        2 => select(times.to_vec()).prop_map(Event::Time),
        1 => (0..4_usize).prop_map(Event::NodeAddresses),
        1 => select(vec![2, 7, 7]).prop_map(Event::Served),
        1 => select(vec![0, 7]).prop_map(Event::Accepted),
        2 => select(vec![Assigner::Here, Assigner::Controller]).prop_map(Event::Assigned),
    ]
}

/// Lets something happen, and gives the objects that are others afterwards.
fn happen(event: Event, snapshot: &mut Snapshot) -> Option<ObjectRef> {
    match event {
        Event::Put(object) => {
            let name = object.object_ref();
            snapshot.insert(*object);
            return Some(name);
        }
        Event::Remove(index) => {
            let names: Vec<_> = snapshot.objects().map(|(name, _)| name.clone()).collect();
            let name = (!names.is_empty()).then(|| index.get(&names).clone())?;
            snapshot.remove(&name);
            return Some(name);
        }
        Event::Time(now) => snapshot.now = now,
        Event::NodeAddresses(count) => {
            snapshot.node.gateway_addresses = node().addresses.into_iter().take(count).collect();
        }
        Event::Served(count) => {
            snapshot.served = gateway_agent_routing::Service::ALL.into_iter().take(count).collect();
        }
        Event::Accepted(count) => {
            snapshot.accepted = gateway_agent_routing::Service::ALL.into_iter().take(count).collect();
        }
        Event::Assigned(assigner) => {
            snapshot.assignments = translate(snapshot).assignments;
            snapshot.assigner = assigner;
        }
    }
    None
}

/// Whatever differs between two outcomes is named.
fn names_all(changes: &Changes, before: &Outcome, after: &Outcome) -> Result<(), TestCaseError> {
    let (was, is, delta) = (&before.tables.l4, &after.tables.l4, &changes.tables.l4);
    prop_assert!(differences(&was.frontends, &is.frontends).is_subset(&delta.frontends));
    prop_assert!(differences(&was.services, &is.services).is_subset(&delta.services));
    let alive: BTreeSet<_> = was.alive.symmetric_difference(&is.alive).copied().collect();
    prop_assert!(alive.is_subset(&delta.alive));
    let pool: BTreeSet<_> = was.pool.symmetric_difference(&is.pool).copied().collect();
    prop_assert!(pool.is_subset(&delta.pool));
    let (was, is, delta) = (&before.tables.tls, &after.tables.tls, &changes.tables.tls);
    prop_assert!(differences(&was.frontends, &is.frontends).is_subset(&delta.frontends));
    prop_assert!(differences(&was.certificates, &is.certificates).is_subset(&delta.certificates));
    prop_assert!(differences(&was.backends, &is.backends).is_subset(&delta.backends));
    let (was, is, delta) = (&before.tables.http, &after.tables.http, &changes.tables.http);
    let mut updated = was.clone();
    HttpUpdate::new(is, delta).apply(&mut updated);
    prop_assert_eq!(&updated, is, "as the delta leads to it");
    prop_assert!(differences(&before.statuses, &after.statuses).is_subset(&changes.statuses));
    prop_assert!(differences(&before.copies, &after.copies).is_subset(&changes.copies));
    let problems = before.problems.symmetric_difference(&after.problems).map(|it| it.object.clone());
    prop_assert!(problems.collect::<BTreeSet<_>>().is_subset(&changes.problems));
    Ok(())
}

/// The keys under which two tables differ.
fn differences<K: Ord + Clone, V: PartialEq>(before: &BTreeMap<K, V>, after: &BTreeMap<K, V>) -> BTreeSet<K> {
    let keys = before.keys().chain(after.keys());
    keys.filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}
