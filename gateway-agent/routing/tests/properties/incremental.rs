//! A translation that follows what happens to a cluster says what a new one would.

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_api::{Object, ObjectRef};
use gateway_agent_routing::{Assigner, Changes, Minutes, Outcome, Snapshot, Translation, translate};
use gateway_agent_tables::http::HttpUpdate;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cluster::{NOW, any_object, cluster, node, snapshot};
use crate::gateways::{any_part, gateways, hold, offer};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_translation_that_follows_changes_says_what_a_new_one_would(
        objects in cluster(),
        events in prop::collection::vec(prop::collection::vec(event(any_object()), 1..3), 1..24),
    ) {
        follow(snapshot(&objects), events)?;
    }

    #[test]
    fn it_does_so_where_many_gateways_are_after_each_others_places(
        objects in gateways(),
        nodes in prop::option::of(offers()),
        events in prop::collection::vec(prop::collection::vec(event(any_part()), 1..3), 1..24),
    ) {
        let mut snapshot = snapshot(&objects);
        if let Some(nodes) = nodes {
            offer(&mut snapshot, &nodes);
        }
        follow(snapshot, events)?;
    }
}

/// Lets things happen, those of one step together, and compares after each step.
fn follow(mut snapshot: Snapshot, events: Vec<Vec<Event>>) -> Result<(), TestCaseError> {
    let mut translation = Translation::default();
    let mut of_tables = Translation::of_tables();
    let all = snapshot.objects().map(|(name, _)| name.clone()).collect();
    translation.update(&snapshot, &all);
    of_tables.update(&snapshot, &all);
    let (mut read, mut untold) = (translation.outcome().tables.http.clone(), HttpUpdate::default());
    for together in events {
        let before = translation.outcome().clone();
        let told = format!("{together:?}");
        let named = together.into_iter().filter_map(|event| happen(event, &mut snapshot)).collect();
        let changes = translation.update(&snapshot, &named);
        prop_assert_eq!(translation.outcome(), &translate(&snapshot), "after {}", told);
        names_all(&changes, &before, translation.outcome())?;
        untold.extend(HttpUpdate::new(&translation.outcome().tables.http, &changes.tables.http));
        of_tables.update(&snapshot, &named);
        prop_assert_eq!(&of_tables.outcome().tables, &translation.outcome().tables);
        prop_assert!(of_tables.outcome().statuses.is_empty() && of_tables.outcome().problems.is_empty());
        let nothing = translation.update(&snapshot, &BTreeSet::new());
        prop_assert_eq!(nothing, Changes::default());
    }
    untold.apply(&mut read);
    prop_assert_eq!(&read, &translation.outcome().tables.http, "by all updates at once");
    Ok(())
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
    /// Others have ports of the node: the index of an address, and the port.
    Held(Vec<(usize, u16)>),
    /// Of the cluster's nodes: whether each is published, and which Gateways' listeners it refuses.
    Offered(Option<Vec<(bool, Vec<usize>)>>),
}

fn offers() -> impl Strategy<Value = Vec<(bool, Vec<usize>)>> {
    prop::collection::vec((any::<bool>(), prop::collection::vec(0..8_usize, 0..3)), 1..4)
}

fn event(object: impl Strategy<Value = Object>) -> impl Strategy<Value = Event> {
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
        20 => object.prop_map(|object| Event::Put(Box::new(object))),
        12 => any::<prop::sample::Index>().prop_map(Event::Remove),
        2 => select(times.to_vec()).prop_map(Event::Time),
        1 => (0..4_usize).prop_map(Event::NodeAddresses),
        1 => select(vec![2, 7, 7]).prop_map(Event::Served),
        1 => select(vec![0, 7]).prop_map(Event::Accepted),
        2 => select(vec![Assigner::Here, Assigner::Here, Assigner::Controller]).prop_map(Event::Assigned),
        1 => prop::collection::vec((0..3_usize, 1..3_u16), 0..3).prop_map(Event::Held),
        2 => prop::option::weighted(0.8, offers()).prop_map(Event::Offered),
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
        Event::Held(places) => hold(snapshot, &places),
        Event::Offered(None) => snapshot.nodes = None,
        Event::Offered(Some(nodes)) => offer(snapshot, &nodes),
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
