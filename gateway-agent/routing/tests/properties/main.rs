//! Laws that hold for every cluster, tried on small random ones whose objects often want the same things.

mod cluster;
mod gateways;
mod incremental;
mod objects;
mod unrelated;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use gateway_agent_api::own::gateway_config::AddressSharing;
use gateway_agent_api::{Gateway, GatewayClass, GatewayConfig, Kind, Object, ObjectRef, Time};
use gateway_agent_routing::{Snapshot, translate};
use gateway_agent_tables::{FrontendKey, ObjectName, Protocol, RouteKind, Split, Target};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::cluster::{cluster, rivals, snapshot};
use crate::objects::our_class;
use crate::unrelated::{moved, part_of};
use crate::words::{ADDRESSES, NAMESPACES};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_way_to_a_snapshot_does_not_matter(
        (ordered, shuffled) in cluster().prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle())),
        passing in prop::collection::vec(cluster(), 0..2),
    ) {
        let mut roundabout = snapshot([]);
        for object in passing.iter().flatten().chain(&shuffled) {
            roundabout.insert(object.clone());
        }
        for object in passing.iter().flatten() {
            roundabout.remove(&object.object_ref());
        }
        for object in &shuffled {
            roundabout.insert(object.clone());
        }
        prop_assert_eq!(translate(&roundabout), translate(&snapshot(&ordered)));
    }

    #[test]
    fn what_is_unrelated_changes_nothing(mine in cluster(), others in cluster(), class in our_class()) {
        let mine: Vec<_> = mine.iter().chain([&class]).map(|it| moved(it, "mine", ADDRESSES[0])).collect();
        let others: Vec<_> = others
            .iter()
            .filter(|it| it.kind() != Kind::GatewayClass)
            .map(|it| moved(it, "other", ADDRESSES[1]))
            .collect();
        let alone = translate(&snapshot(&mine));
        let together = translate(&snapshot(mine.iter().chain(&others)));
        prop_assert_eq!(part_of(&together, "mine"), part_of(&alone, "mine"));
    }

    #[test]
    fn without_a_grant_nothing_tells_whether_the_target_exists(
        objects in cluster(), class in our_class(), other in select(&NAMESPACES),
    ) {
        let elsewhere = |it: &&Object| it.metadata().namespace.as_deref() != Some(other);
        // Whether a ListenerSet is accepted may depend on its own Secrets; its Gateway counts it.
        let left_out = |it: &&Object| {
            it.kind() == Kind::ReferenceGrant || it.kind() == Kind::ListenerSet && !elsewhere(it)
        };
        let ungranted = || objects.iter().filter(|it| !left_out(it)).chain([&class]);
        let full = translate(&snapshot(ungranted()));
        let is_target = |it: &&Object| matches!(it.kind(), Kind::Service | Kind::EndpointSlice | Kind::Secret) && !elsewhere(it);
        let without = translate(&snapshot(ungranted().filter(|it| !is_target(it))));
        for (route, status) in full.statuses.iter().filter(|(it, _)| it.namespace.as_deref() != Some(other)) {
            prop_assert_eq!(Some(status), without.statuses.get(route), "{}", route);
        }
    }

    #[test]
    fn weights_are_kept(objects in cluster()) {
        let snapshot = snapshot(&objects);
        for frontend in translate(&snapshot).tables.l4.frontends.values() {
            let Some(split) = &frontend.split else { continue };
            let name = &split.route().object;
            let kind = match split.route().kind {
                RouteKind::Tcp => Kind::TcpRoute,
                RouteKind::Tls => Kind::TlsRoute,
                RouteKind::Udp => Kind::UdpRoute,
            };
            let route = snapshot.find(&ObjectRef::new(kind, &name.namespace, &name.name)).expect("the route");
            let route = route.to_json().expect("JSON");
            let written = route["spec"]["rules"][0]["backendRefs"].as_array().expect("backendRefs");
            prop_assert_eq!(split.backends().len(), written.len());
            for (backend, written) in split.backends().iter().zip(written) {
                let weight = written["weight"].as_i64().unwrap_or(1).clamp(0, 1_000_000);
                prop_assert_eq!(i64::from(backend.weight), weight);
            }
        }
    }

    #[test]
    fn a_listener_that_says_programmed_has_its_frontends(objects in cluster()) {
        let snapshot = snapshot(&objects);
        let outcome = translate(&snapshot);
        for gateway in snapshot.all::<Gateway>() {
            let object = Object::from(gateway.clone()).object_ref();
            let Some(status) = outcome.statuses.get(&object) else { continue };
            let statuses = status["listeners"].as_array().expect("listeners");
            for (listener, status_of_listener) in gateway.spec.listeners.iter().zip(statuses) {
                if !programmed(status_of_listener) || !matches!(listener.protocol.as_str(), "TCP" | "UDP") {
                    continue;
                }
                for address in status["addresses"].as_array().expect("addresses") {
                    let key = FrontendKey {
                        address: cluster::address(address["value"].as_str().expect("text")),
                        port: u16::try_from(listener.port).ok().and_then(NonZeroU16::new).expect("a port"),
                        protocol: if listener.protocol == "UDP" { Protocol::Udp } else { Protocol::Tcp },
                    };
                    let frontend = outcome.tables.l4.frontends.get(&key).expect("a frontend");
                    prop_assert_eq!(&frontend.listener.listener, &listener.name);
                    prop_assert_eq!(Some(&frontend.listener.gateway.name), gateway.metadata.name.as_ref());
                    prop_assert_eq!(Some(&frontend.listener.gateway.namespace), gateway.metadata.namespace.as_ref());
                }
            }
        }
    }

    #[test]
    fn namespaces_share_a_place_only_where_all_allow_it(objects in rivals()) {
        let snapshot = snapshot(&objects);
        for (key, frontend) in &translate(&snapshot).tables.http.frontends {
            for (host, name) in &frontend.listeners {
                let (gateway, listeners) = (&name.gateway, &frontend.listeners);
                for (narrower, rival) in
                    listeners.iter().filter(|(_, it)| it.gateway.namespace != gateway.namespace)
                {
                    prop_assert_eq!(sharing(gateway, &snapshot), AddressSharing::Cluster, "{} at {}", gateway, key);
                    prop_assert!(
                        !host.covers(narrower) || age(gateway, &snapshot) > age(&rival.gateway, &snapshot),
                        "{} at {}", rival, key
                    );
                }
            }
        }
    }

    #[test]
    fn tables_and_statuses_agree(objects in cluster()) {
        let snapshot = snapshot(&objects);
        let outcome = translate(&snapshot);
        let tables = &outcome.tables.l4;
        for (key, frontend) in &tables.frontends {
            let gateway = &frontend.listener.gateway;
            let status = &outcome.statuses[&ObjectRef::new(Kind::Gateway, &gateway.namespace, &gateway.name)];
            // Listeners of ListenerSets are named by namespace, set and listener.
            let path: Vec<_> = frontend.listener.listener.split('/').collect();
            let (owner, name) = match path[..] {
                [namespace, set, name] => {
                    (&outcome.statuses[&ObjectRef::new(Kind::ListenerSet, namespace, set)], name)
                }
                _ => (status, frontend.listener.listener.as_str()),
            };
            let listeners = owner["listeners"].as_array().expect("listeners");
            let listener = listeners.iter().find(|it| it["name"] == name);
            let listener = listener.expect("a status for each listener that makes frontends");
            for (condition, wanted) in [("Accepted", "True"), ("Programmed", "True"), ("Conflicted", "False")] {
                let conditions = listener["conditions"].as_array().expect("conditions");
                let found = conditions.iter().find(|it| it["type"] == condition).expect("the condition");
                prop_assert_eq!(&found["status"], wanted, "{} {}", key, condition);
            }
            let addresses = status["addresses"].as_array().expect("addresses");
            prop_assert!(addresses.iter().any(|it| it["value"] == key.address.to_string().as_str()));
            prop_assert!(snapshot.node.addresses.contains(&key.address));
            prop_assert!(frontend.split.is_none() || listener["attachedRoutes"] != 0, "{}", key);
            for backend in frontend.split.iter().flat_map(Split::backends) {
                if let Target::Service(port) = &backend.target {
                    prop_assert!(tables.services.contains_key(port), "{}", port);
                    prop_assert_eq!(port.protocol, key.protocol);
                }
            }
        }
        for (port, endpoints) in &tables.services {
            for endpoint in &endpoints.ready {
                prop_assert!(tables.alive.contains(&(port.protocol, endpoint.address)), "{:?}", endpoint);
            }
        }
        for problem in &outcome.problems {
            prop_assert!(snapshot.find(&problem.object).is_some(), "{}", problem);
            prop_assert!(!problem.message.is_empty());
        }
    }
}

/// The laws above mean little if random clusters hardly ever carry traffic or have faults.
#[test]
fn random_clusters_have_traffic_and_faults() {
    let mut runner = TestRunner::deterministic();
    let mut reasons = BTreeSet::new();
    let (mut frontends, mut splits, mut endpoints) = (0, 0, 0);
    let (mut names, mut hosts, mut policies, mut sets, mut backends) = (0, 0, 0, 0, 0);
    for _ in 0..600 {
        let objects = cluster().new_tree(&mut runner).expect("a cluster").current();
        let outcome = translate(&snapshot(&objects));
        let tables = &outcome.tables.l4;
        frontends += usize::from(!tables.frontends.is_empty());
        splits += usize::from(tables.frontends.values().any(|frontend| frontend.split.is_some()));
        endpoints += usize::from(tables.services.values().any(|endpoints| !endpoints.ready.is_empty()));
        names += usize::from(!outcome.tables.tls.frontends.is_empty());
        hosts += usize::from(outcome.tables.http.listeners.values().any(|it| !it.hosts.is_empty()));
        policies += usize::from(!outcome.tables.tls.backends.is_empty());
        let attached = |status: &Value| status["attachedListenerSets"].as_u64().unwrap_or_default() > 0;
        sets += usize::from(outcome.statuses.values().any(attached));
        let valid = |(object, status): (&ObjectRef, &Value)| {
            object.kind == Kind::XBackend && status["ancestors"][0]["conditions"][0]["status"] == "True"
        };
        backends += usize::from(outcome.statuses.iter().any(valid));
        reasons.extend(outcome.problems.iter().map(|problem| problem.reason));
    }
    let counts = [frontends, splits, endpoints, names, hosts, policies, sets, backends];
    let least = [200, 45, 10, 20, 10, 15, 50, 5];
    assert!(counts.iter().zip(least).all(|(count, least)| *count >= least), "{counts:?}");
    assert!(reasons.len() >= 20, "{reasons:?}");
}

#[test]
fn random_rivals_share_places() {
    let mut runner = TestRunner::deterministic();
    let shared = (0..200).filter(|_| {
        let objects = rivals().new_tree(&mut runner).expect("rivals").current();
        translate(&snapshot(&objects)).tables.http.frontends.values().any(|frontend| {
            let namespaces = frontend.listeners.values().map(|name| &name.gateway.namespace);
            namespaces.collect::<BTreeSet<_>>().len() > 1
        })
    });
    let shared = shared.count();
    assert!(shared >= 3, "{shared}");
}

#[test]
fn random_gateways_are_after_each_others_places_and_addresses() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeMap::<&str, usize>::new();
    for _ in 0..100 {
        let objects = gateways::gateways().new_tree(&mut runner).expect("Gateways").current();
        let outcome = translate(&snapshot(&objects));
        let says = |words: &str| outcome.problems.iter().any(|it| it.message.contains(words));
        let cases = [
            ("a place of another's listener", says("which comes first by age and name; give listener")),
            ("a place of another namespace", says("belongs to a Gateway of another namespace; give")),
            ("an empty pool", says("are in use; add a range")),
            ("an address of another's", says("already; name another one")),
            ("a pool", !outcome.tables.l4.pool.is_empty()),
            ("a ListenerSet", outcome.tables.http.listeners.keys().any(|it| it.listener.contains('/'))),
            ("a route", !outcome.tables.http.http_routes.is_empty()),
            ("a certificate", !outcome.copies.is_empty()),
        ];
        for (case, is_met) in cases {
            *met.entry(case).or_default() += usize::from(is_met);
        }
    }
    assert!(met.values().all(|times| *times >= 3), "{met:?}");
}

/// What a Gateway's settings, or else those of its class, say.
fn sharing(gateway: &ObjectName, snapshot: &Snapshot) -> AddressSharing {
    let config = |namespace: &str, name: &str| {
        snapshot.named::<GatewayConfig>(namespace, name).expect("a GatewayConfig").spec.addresses.clone()
    };
    let of_class = snapshot.all::<GatewayClass>().find_map(|class| class.spec.parameters_ref.as_ref());
    let of_class = of_class.map(|it| config(it.namespace.as_deref().expect("a namespace"), &it.name));
    let gateway = snapshot.named::<Gateway>(&gateway.namespace, &gateway.name).expect("the Gateway");
    let own = gateway.spec.infrastructure.as_ref().and_then(|it| it.parameters_ref.as_ref());
    let own = own.map(|it| config(gateway.metadata.namespace.as_deref().expect("a namespace"), &it.name));
    let said = [own, of_class].into_iter().flatten().flatten().find_map(|addresses| addresses.sharing);
    said.unwrap_or(AddressSharing::Namespace)
}

/// Greater for a Gateway that comes later.
fn age(gateway: &ObjectName, snapshot: &Snapshot) -> (Option<Time>, String) {
    let object = snapshot.named::<Gateway>(&gateway.namespace, &gateway.name).expect("the Gateway");
    (object.metadata.creation_timestamp.clone(), gateway.to_string())
}

fn programmed(listener: &Value) -> bool {
    let conditions = listener["conditions"].as_array().expect("conditions");
    conditions.iter().any(|it| it["type"] == "Programmed" && it["status"] == "True")
}
