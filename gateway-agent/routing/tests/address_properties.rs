//! Laws of the assignment of addresses, tried on small random clusters whose Gateways often want the same ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use gateway_agent_api::{Kind, Object, ObjectRef};
use gateway_agent_routing::{Address, Assigner, Assignments, Node, OfferingNode, Snapshot, translate};
use gateway_agent_tables::ObjectName;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// Few enough that Gateways run out of them, in pools and on nodes.
const ADDRESSES: [&str; 8] = [
    "192.0.2.1",
    "192.0.2.2",
    "192.0.2.3",
    "192.0.2.4",
    "2001:db8::1",
    "2001:db8::2",
    "10.0.0.1",
    "203.0.113.9",
];
const RANGES: [&str; 5] =
    ["192.0.2.0/30", "192.0.2.2-192.0.2.4", "192.0.2.4", "2001:db8::1-2001:db8::2", "10.0.0.0/30"];
const NAMESPACES: [&str; 2] = ["one", "two"];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn object(kind: &str, api_version: &str, metadata: &Value, spec: &Value) -> Object {
    let document = json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec });
    let kind = Kind::ALL.iter().copied().find(|it| it.name() == kind).expect("a kind");
    Object::decode(kind, document, &mut |_| ()).expect("an object of its kind")
}

fn class() -> Object {
    let parameters =
        json!({ "group": "gateway-agent.io", "kind": "GatewayConfig", "name": "ours", "namespace": "one" });
    let spec = json!({ "controllerName": "gateway-agent.io/controller", "parametersRef": parameters });
    object("GatewayClass", "gateway.networking.k8s.io/v1", &json!({ "name": "gateway-agent" }), &spec)
}

fn config() -> impl Strategy<Value = Object> {
    let mode = prop_oneof![4 => Just("Pool"), 1 => Just("Node")];
    let pool = (prop::collection::vec(select(&RANGES), 1..3), prop::bool::weighted(0.8));
    let selector = prop::option::weighted(0.1, Just(json!({ "zone": "east" })));
    (mode, prop::collection::vec(pool, 0..3), selector).prop_map(|(mode, pools, selector)| {
        let pools: Vec<_> = pools
            .iter()
            .zip(NAMES)
            .map(|((ranges, automatic), name)| json!({ "name": name, "ranges": ranges, "autoAssign": automatic }))
            .collect();
        let addresses = json!({ "mode": mode, "pools": pools, "nodeSelector": selector });
        let metadata = json!({ "namespace": "one", "name": "ours" });
        object("GatewayConfig", "gateway-agent.io/v1alpha1", &metadata, &json!({ "addresses": addresses }))
    })
}

fn gateway() -> impl Strategy<Value = Object> {
    let entry = prop_oneof![
        1 => Just(json!({ "type": "IPAddress" })),
        3 => select(&ADDRESSES).prop_map(|value| json!({ "value": value })),
    ];
    let addresses = prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(entry, 1..3)];
    (select(&NAMESPACES), select(&NAMES), 1..4, addresses).prop_map(|(namespace, name, day, addresses)| {
        let time = format!("2026-01-0{day}T00:00:00Z");
        let metadata = json!({ "namespace": namespace, "name": name, "creationTimestamp": time });
        let spec = json!({
            "gatewayClassName": "gateway-agent",
            "listeners": [{ "name": "tcp", "protocol": "TCP", "port": 80 }],
            "addresses": addresses,
        });
        object("Gateway", "gateway.networking.k8s.io/v1", &metadata, &spec)
    })
}

fn before() -> impl Strategy<Value = Assignments> {
    let name = (select(&NAMESPACES), select(&NAMES))
        .prop_map(|(namespace, name)| ObjectName { namespace: namespace.to_owned(), name: name.to_owned() });
    let address = select(&ADDRESSES).prop_map(|text| Address::Ip(text.parse().expect("an address")));
    prop::collection::btree_map(name, prop::collection::vec(address, 1..3), 0..4)
}

fn nodes() -> impl Strategy<Value = Vec<OfferingNode>> {
    let node = (prop::collection::vec(select(&ADDRESSES), 1..3), prop::bool::weighted(0.8), any::<bool>());
    prop::collection::vec(node, 0..3).prop_map(|nodes| {
        let node = |((addresses, published, is_east), name): ((Vec<&str>, bool, bool), &str)| OfferingNode {
            name: name.to_owned(),
            labels: BTreeMap::from([("zone".to_owned(), if is_east { "east" } else { "west" }.to_owned())]),
            addresses: addresses.iter().map(|text| text.parse().expect("an address")).collect(),
            published,
            ..OfferingNode::default()
        };
        nodes.into_iter().zip(NAMES).map(node).collect()
    })
}

/// As a controller sees it.
fn cluster() -> impl Strategy<Value = Snapshot> {
    let gateways = prop::collection::vec(gateway(), 1..6);
    (config(), gateways, before(), nodes()).prop_map(|(config, gateways, before, nodes)| {
        let mut snapshot = Snapshot::new(Node::default());
        snapshot.nodes = Some(nodes);
        snapshot.assignments = before;
        for object in gateways.into_iter().chain([class(), config]) {
            snapshot.insert(object);
        }
        snapshot
    })
}

fn pool_addresses(snapshot: &Snapshot) -> Vec<(ObjectName, IpAddr)> {
    let outcome = translate(snapshot);
    let all = outcome.assignments.iter().flat_map(|(name, addresses)| {
        addresses.iter().filter_map(|address| Some((name.clone(), address.ip()?)))
    });
    all.filter(|(_, ip)| outcome.tables.l4.pool.contains(ip)).collect()
}

proptest! {
    #[test]
    fn no_address_of_a_pool_is_given_twice(snapshot in cluster()) {
        let given = pool_addresses(&snapshot);
        let distinct: BTreeSet<_> = given.iter().map(|(_, ip)| ip).collect();
        prop_assert_eq!(distinct.len(), given.len(), "{:?}", given);
        let of_nodes = || snapshot.nodes.iter().flatten().flat_map(|node| &node.addresses);
        prop_assert!(given.iter().all(|(_, ip)| !of_nodes().any(|of_node| of_node == ip)), "{:?}", given);
    }

    #[test]
    fn what_was_assigned_stays(snapshot in cluster()) {
        let first = translate(&snapshot);
        let mut again = snapshot.clone();
        again.assignments.clone_from(&first.assignments);
        prop_assert_eq!(&translate(&again), &first);
    }

    #[test]
    fn no_gateway_moves_because_another_one_comes_or_goes(snapshot in cluster(), gateway in gateway()) {
        let mut snapshot = snapshot;
        snapshot.assignments = translate(&snapshot).assignments;
        let name = gateway.object_ref();
        let after = |snapshot: &Snapshot| translate(snapshot).assignments;
        let mut without = snapshot.clone();
        without.remove(&name);
        let mut with = without.clone();
        with.assignments = after(&without);
        with.insert(gateway);
        for (of, had) in &with.assignments {
            let has = after(&with);
            prop_assert!(had.iter().all(|address| has[of].contains(address)), "{}: {:?}, {:?}", of, had, has);
        }
        for (of, had) in snapshot.assignments.iter().filter(|(of, _)| object_ref(of) != name) {
            let has = after(&without);
            prop_assert!(had.iter().all(|address| has[of].contains(address)), "{}: {:?}, {:?}", of, had, has);
        }
    }

    #[test]
    fn agents_serve_what_the_controller_has_assigned(snapshot in cluster()) {
        let decided = translate(&snapshot);
        let mut of_agent = snapshot.clone();
        of_agent.assigner = Assigner::Controller;
        of_agent.nodes = None;
        of_agent.assignments.clone_from(&decided.assignments);
        of_agent.node.addresses = snapshot.nodes.iter().flatten().take(1).flat_map(|node| node.addresses.clone()).collect();
        let followed = translate(&of_agent);
        prop_assert_eq!(&followed.assignments, &decided.assignments);
        for key in followed.tables.l4.frontends.keys() {
            let (own, pool) = (&of_agent.node.addresses, &followed.tables.l4.pool);
            prop_assert!(own.contains(&key.address) || pool.contains(&key.address), "{}", key);
        }
    }
}

fn object_ref(name: &ObjectName) -> ObjectRef {
    ObjectRef::new(Kind::Gateway, &name.namespace, &name.name)
}

/// The laws mean little if there is hardly ever anything to assign, or always enough.
#[test]
fn random_clusters_have_pools_and_want_more() {
    let mut runner = TestRunner::deterministic();
    let (mut pools, mut reasons) = (0, BTreeMap::<_, usize>::new());
    for _ in 0..300 {
        let snapshot = cluster().new_tree(&mut runner).expect("a cluster").current();
        pools += usize::from(!pool_addresses(&snapshot).is_empty());
        for problem in translate(&snapshot).problems {
            *reasons.entry(problem.reason).or_default() += 1;
        }
    }
    assert!(pools >= 100, "{pools}");
    let often = |reason: &str| reasons.get(reason).is_some_and(|times| *times >= 50);
    assert!(["AddressNotAssigned", "AddressNotUsable", "Invalid"].into_iter().all(often), "{reasons:?}");
}
