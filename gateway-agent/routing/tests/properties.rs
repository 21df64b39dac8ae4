//! Laws that hold for every cluster, tried on small random ones whose objects often want the same things.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use gateway_agent_api::own::gateway_config::AddressSharing;
use gateway_agent_api::{Gateway, GatewayClass, GatewayConfig, Kind, Object, ObjectRef, Time};
use gateway_agent_routing::{Assigner, Changes, Minutes, Node, Outcome, Snapshot, Translation, translate};
use gateway_agent_tables::http::HttpUpdate;
use gateway_agent_tables::{FrontendKey, ObjectName, Protocol, RouteKind, Split, Target};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// In June 2026, when the certificates are valid.
const NOW: Minutes = Minutes(29_674_080);
const NAMESPACES: [&str; 2] = ["one", "two"];
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Numbers that no API server would let through are among them: nothing may panic on those.
const PORTS: [i64; 6] = [1, 2, 3, 0, -1, 70000];
const HOSTS: [&str; 4] = ["a.example.com", "*.example.com", "b.example.com", "no host"];
const ADDRESSES: [&str; 4] = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "203.0.113.1"];

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn node() -> Node {
    Node {
        name: "node-a".to_owned(),
        addresses: ADDRESSES[..3].iter().map(|text| address(text)).collect(),
        gateway_addresses: vec![address(ADDRESSES[0]), address(ADDRESSES[2])],
        ..Node::default()
    }
}

fn snapshot<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Snapshot {
    let mut snapshot = Snapshot::new(node());
    snapshot.served = gateway_agent_routing::Service::ALL.into();
    snapshot.now = Some(NOW);
    for object in objects {
        snapshot.insert(object.clone());
    }
    snapshot
}

fn object(json: Value) -> Object {
    let name = json["kind"].as_str().expect("a kind");
    let kind = Kind::ALL.iter().copied().find(|kind| kind.name() == name);
    let kind = kind.unwrap_or_else(|| panic!("no such kind: {name}"));
    Object::decode(kind, json, &mut |_| ()).expect("an object of its kind")
}

fn api_version(kind: &str) -> &'static str {
    match kind {
        "Service" | "Namespace" | "Secret" | "ConfigMap" => "v1",
        "EndpointSlice" => "discovery.k8s.io/v1",
        "GatewayConfig" => "gateway-agent.io/v1alpha1",
        kind if kind.starts_with('X') => "gateway.networking.x-k8s.io/v1alpha1",
        _ => "gateway.networking.k8s.io/v1",
    }
}

fn document(kind: &str, metadata: &Value, spec: &Value) -> Value {
    json!({ "apiVersion": api_version(kind), "kind": kind, "metadata": metadata, "spec": spec })
}

/// Names, namespaces and ports are chosen unevenly, so that references often meet their targets.
fn name() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![12 => Just(NAMES[0]), 2 => Just(NAMES[1]), 1 => Just(NAMES[2])]
}

fn namespace_name() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![6 => Just(NAMESPACES[0]), 1 => Just(NAMESPACES[1])]
}

fn port() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![12 => Just(PORTS[0]), 2 => select(&PORTS)]
}

fn metadata() -> impl Strategy<Value = Value> {
    (namespace_name(), name(), prop::option::of(1..4)).prop_map(|(namespace, name, day)| {
        let mut metadata = json!({ "namespace": namespace, "name": name });
        if let Some(day) = day {
            metadata["creationTimestamp"] = format!("2026-01-0{day}T00:00:00Z").into();
        }
        metadata
    })
}

fn class() -> impl Strategy<Value = Object> {
    prop_oneof![
        9 => our_class(),
        1 => Just(object(document(
            "GatewayClass",
            &json!({ "name": "other" }),
            &json!({ "controllerName": "example.com/other" }),
        ))),
    ]
}

fn gateway() -> impl Strategy<Value = Object> {
    let listeners = prop::collection::vec(listener(), 1..4);
    let addresses = prop::collection::vec(prop::option::of(select(&ADDRESSES)), 0..3);
    let class = prop_oneof![9 => Just("gateway-agent"), 1 => Just("other")];
    let from = select(&["All", "All", "Same", "None"][..]);
    let parameters = prop::option::weighted(0.2, parameters());
    let gateway = (metadata(), listeners, addresses, class, from, parameters, default_scope());
    gateway.prop_map(|(metadata, mut listeners, addresses, class, from, parameters, scope)| {
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener["name"] = NAMES[index].into();
        }
        let addresses: Vec<_> = addresses.into_iter().map(|value| json!({ "value": value })).collect();
        let spec = json!({
            "gatewayClassName": class,
            "defaultScope": scope,
            "listeners": listeners,
            "addresses": addresses,
            "allowedListeners": { "namespaces": { "from": from } },
            "infrastructure": { "parametersRef": parameters },
        });
        object(document("Gateway", &metadata, &spec))
    })
}

fn default_scope() -> impl Strategy<Value = Option<&'static str>> + Clone {
    prop_oneof![6 => Just(None), 2 => Just(Some("All")), 1 => Just(Some("None")), 1 => Just(Some("Odd"))]
}

/// A parametersRef that mostly leads to a GatewayConfig, without namespace.
fn parameters() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![12 => Just("GatewayConfig"), 1 => Just("Odd")];
    (name(), kind).prop_map(|(name, kind)| json!({ "group": "gateway-agent.io", "kind": kind, "name": name }))
}

fn config() -> impl Strategy<Value = Object> {
    let sharing = prop::option::weighted(0.8, select(&["Namespace", "Cluster", "Cluster"][..]));
    (metadata(), sharing, prop::option::of(1..9)).prop_map(|(metadata, sharing, flows)| {
        let spec = json!({ "addresses": { "sharing": sharing }, "kernel": { "flows": flows } });
        object(document("GatewayConfig", &metadata, &spec))
    })
}

fn listener() -> impl Strategy<Value = Value> {
    let protocol = prop_oneof![
        5 => Just("TCP"),
        2 => Just("UDP"),
        2 => Just("HTTP"),
        2 => Just("HTTPS"),
        2 => Just("TLS"),
        1 => Just("example.com/odd"),
    ];
    let namespaces = prop_oneof![
        6 => Just(json!({ "from": "All" })),
        1 => Just(json!({ "from": "Same" })),
        1 => select(vec![
            json!({ "from": "Selector", "selector": { "matchLabels": { "team": "x" } } }),
            json!({ "from": "Selector", "selector": { "matchExpressions": [{ "key": "team", "operator": "Exists" }] } }),
            json!({ "from": "Selector" }),
            json!({ "from": "Unheard" }),
        ]),
    ];
    let kinds = prop_oneof![
        8 => Just(json!([])),
        1 => select(vec![json!([{ "kind": "TCPRoute" }]), json!([{ "kind": "HTTPRoute" }])]),
    ];
    let hostname = prop::option::weighted(0.6, select(&HOSTS));
    (protocol, port(), namespaces, kinds, hostname, listener_tls()).prop_map(
        |(protocol, port, namespaces, kinds, hostname, tls)| {
            json!({
                "protocol": protocol,
                "port": port,
                "hostname": hostname,
                "tls": tls,
                "allowedRoutes": { "namespaces": namespaces, "kinds": kinds },
            })
        },
    )
}

fn listener_tls() -> impl Strategy<Value = Value> {
    let mode = prop::option::of(prop_oneof![
        4 => Just("Terminate"),
        4 => Just("Passthrough"),
        1 => Just("Unheard"),
    ]);
    (mode, prop::collection::vec(reference("Secret"), 0..3))
        .prop_map(|(mode, references)| json!({ "mode": mode, "certificateRefs": references }))
}

/// A reference that mostly leads to an object of this kind.
fn reference(kind: &'static str) -> impl Strategy<Value = Value> {
    let namespace = prop::option::weighted(0.3, namespace_name());
    let kind = prop_oneof![9 => Just(kind), 1 => Just("Odd")];
    (name(), namespace, kind).prop_map(
        |(name, namespace, kind)| json!({ "group": "", "kind": kind, "name": name, "namespace": namespace }),
    )
}

fn listener_set() -> impl Strategy<Value = Object> {
    let listeners = prop::collection::vec(listener(), 1..4);
    let namespace = prop::option::weighted(0.3, namespace_name());
    (metadata(), listeners, name(), namespace).prop_map(|(metadata, mut listeners, name, namespace)| {
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener["name"] = NAMES[index].into();
        }
        let spec = json!({ "parentRef": { "name": name, "namespace": namespace }, "listeners": listeners });
        object(document("ListenerSet", &metadata, &spec))
    })
}

fn secret() -> impl Strategy<Value = Object> {
    let certificate = select(vec![
        json!({ "tls.crt": include_str!("certificates/exact.crt"), "tls.key": include_str!("certificates/exact.key") }),
        json!({ "tls.crt": include_str!("certificates/chained.crt"), "tls.key": include_str!("certificates/exact.key") }),
        json!({ "tls.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "tls.key": "" }),
        json!({ "ca.crt": include_str!("certificates/root.crt") }),
    ]);
    (metadata(), certificate).prop_map(|(metadata, data)| {
        object(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data }))
    })
}

fn policy() -> impl Strategy<Value = Object> {
    let section = prop::option::weighted(0.2, name());
    let target = (name(), section).prop_map(
        |(name, section)| json!({ "group": "", "kind": "Service", "name": name, "sectionName": section }),
    );
    let references = prop::collection::vec(reference("Secret"), 0..3);
    (metadata(), prop::collection::vec(target, 1..3), references, any::<bool>()).prop_map(
        |(metadata, targets, references, system)| {
            let well_known = system.then_some("System");
            let validation = json!({
                "hostname": "a.example.com",
                "caCertificateRefs": references,
                "wellKnownCACertificates": well_known,
            });
            let spec = json!({ "targetRefs": targets, "validation": validation });
            object(document("BackendTLSPolicy", &metadata, &spec))
        },
    )
}

fn route() -> impl Strategy<Value = Object> {
    let some_namespace = || prop::option::weighted(0.3, namespace_name());
    let section = prop::option::weighted(0.2, name());
    let parent_kind = prop_oneof![5 => Just("Gateway"), 1 => Just("ListenerSet")];
    let parent = (name(), some_namespace(), section, prop::option::weighted(0.2, port()), parent_kind);
    let parent = parent.prop_map(|(name, namespace, section, port, kind)| {
        json!({ "name": name, "namespace": namespace, "sectionName": section, "port": port, "kind": kind })
    });
    let rules = prop::collection::vec(prop_oneof![9 => backends(1..4), 1 => backends(0..18)], 1..3);
    let kind = prop_oneof![
        4 => Just("TCPRoute"),
        1 => Just("UDPRoute"),
        2 => Just("TLSRoute"),
        2 => Just("HTTPRoute"),
        1 => Just("GRPCRoute"),
    ];
    let hosts = prop::collection::vec(select(&HOSTS), 0..3);
    (kind, metadata(), prop::collection::vec(parent, 1..3), rules, hosts, default_scope()).prop_map(
        |(kind, metadata, parents, rules, hosts, scope)| {
            let rules: Vec<_> =
                rules.into_iter().map(|backends| json!({ "backendRefs": backends })).collect();
            let mut spec = json!({ "parentRefs": parents, "rules": rules, "useDefaultGateways": scope });
            if !matches!(kind, "TCPRoute" | "UDPRoute") {
                spec["hostnames"] = hosts.into();
            }
            object(document(kind, &metadata, &spec))
        },
    )
}

fn backends(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Value>> {
    let namespace = prop::option::weighted(0.3, namespace_name());
    let weight = prop::option::of(select(&[0, 1, 7, 1_000_000, -1, 2_000_000_000][..]));
    let kind = prop_oneof![
        18 => Just(("", "Service")),
        1 => Just(("", "Secret")),
        2 => Just(("gateway.networking.x-k8s.io", "XBackend")),
    ];
    let backend = (name(), namespace, prop::option::weighted(0.9, port()), weight, kind);
    let backend = backend.prop_map(|(name, namespace, port, weight, (group, kind))| {
        let port = port.filter(|_| kind != "XBackend");
        json!({
            "name": name,
            "namespace": namespace,
            "port": port,
            "weight": weight,
            "group": group,
            "kind": kind,
        })
    });
    prop::collection::vec(backend, count)
}

/// A port of a Service or slice.
fn named_port() -> impl Strategy<Value = Value> {
    let protocol = prop_oneof![12 => Just("TCP"), 3 => Just("UDP"), 1 => Just("SCTP")];
    (port(), protocol, prop::option::weighted(0.1, name()))
        .prop_map(|(port, protocol, name)| json!({ "port": port, "protocol": protocol, "name": name }))
}

fn service() -> impl Strategy<Value = Object> {
    let kind = prop_oneof![9 => Just("ClusterIP"), 1 => Just("ExternalName")];
    (metadata(), prop::collection::vec(named_port(), 1..3), kind).prop_map(|(metadata, ports, kind)| {
        object(document("Service", &metadata, &json!({ "ports": ports, "type": kind })))
    })
}

fn experimental() -> impl Strategy<Value = Object> {
    let target = prop_oneof![
        2 => Just(("", "Service")),
        1 => Just(("gateway.networking.x-k8s.io", "XBackend")),
        2 => Just(("gateway.networking.k8s.io", "Gateway")),
    ];
    let kind = prop_oneof![
        4 => Just("XBackend"),
        1 => Just("XBackendTrafficPolicy"),
        1 => Just("XTelemetryPolicy"),
        1 => Just("XMesh"),
    ];
    let backend = prop_oneof![4 => Just("EndpointSelector"), 1 => Just("ExternalHostname"), 1 => Just("Odd")];
    let protocol = prop::option::of(select(&["HTTP", "H2C", "GRPC", "TCP", "MCP", "Odd"][..]));
    (kind, metadata(), name(), target, backend, protocol).prop_map(
        |(kind, metadata, name, (group, target), backend, protocol)| {
            let spec = match kind {
                "XBackend" => json!({
                    "type": backend,
                    "port": { "number": PORTS[0] },
                    "protocol": protocol,
                    "endpointSelector": { "matchLabels": { "app": name } },
                }),
                "XMesh" => json!({ "controllerName": "gateway-agent.io/controller" }),
                _ => json!({
                    "targetRefs": [{ "group": group, "kind": target, "name": name }],
                    "tracing": { "provider": { "backendRef": { "name": name, "port": PORTS[0] } } },
                }),
            };
            object(document(kind, &metadata, &spec))
        },
    )
}

fn slice() -> impl Strategy<Value = Object> {
    let condition = || prop::option::of(any::<bool>());
    let conditions = (condition(), condition(), condition()).prop_map(|(ready, serving, terminating)| {
        json!({ "ready": ready, "serving": serving, "terminating": terminating })
    });
    let address = select(&["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2", "a.example.com"][..]);
    let endpoint = (address, conditions, prop::option::of(select(&["node-a", "node-b"][..]))).prop_map(
        |(address, conditions, node)| json!({ "addresses": [address], "conditions": conditions, "nodeName": node }),
    );
    let ports = prop::collection::vec(named_port(), 1..3);
    (metadata(), name(), ports, prop::collection::vec(endpoint, 1..4)).prop_map(
        |(mut metadata, service, ports, endpoints)| {
            metadata["labels"] = json!({ "kubernetes.io/service-name": service });
            object(json!({
                "apiVersion": api_version("EndpointSlice"),
                "kind": "EndpointSlice",
                "metadata": metadata,
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": endpoints,
            }))
        },
    )
}

fn grant() -> impl Strategy<Value = Object> {
    let kind =
        select(&["TCPRoute", "UDPRoute", "TLSRoute", "HTTPRoute", "GRPCRoute", "Gateway", "ListenerSet"][..]);
    let target = select(&["Service", "Secret"][..]);
    (metadata(), kind, namespace_name(), prop::option::weighted(0.3, name()), target).prop_map(
        |(metadata, kind, namespace, name, target)| {
            let from =
                json!([{ "group": "gateway.networking.k8s.io", "kind": kind, "namespace": namespace }]);
            let to = json!([{ "group": "", "kind": target, "name": name }]);
            object(document("ReferenceGrant", &metadata, &json!({ "from": from, "to": to })))
        },
    )
}

fn namespace() -> impl Strategy<Value = Object> {
    (select(&NAMESPACES), prop::option::of(select(&["x", "y"][..]))).prop_map(|(name, team)| {
        let labels = team.map(|team| json!({ "team": team }));
        object(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": labels },
        }))
    })
}

/// Objects of all kinds, each name once.
fn cluster() -> impl Strategy<Value = Vec<Object>> {
    let some = |least| least..least + 4_usize;
    let configured = (
        prop::collection::vec(class(), some(1)),
        prop::collection::vec(gateway(), some(1)),
        prop::collection::vec(route(), some(2)),
        prop::collection::vec(grant(), some(0)),
    );
    let further = (
        prop::collection::vec(listener_set(), some(0)),
        prop::collection::vec(secret(), some(1)),
        prop::collection::vec(policy(), some(0)),
        prop::collection::vec(config(), some(1)),
        prop::collection::vec(experimental(), some(0)),
    );
    let observed = (
        prop::collection::vec(service(), some(3)),
        prop::collection::vec(slice(), some(3)),
        prop::collection::vec(namespace(), some(0)),
    );
    (configured, further, observed).prop_map(
        |((classes, gateways, routes, grants), further, (services, slices, namespaces))| {
            let (sets, secrets, policies, configs, experimental) = further;
            let mut seen = BTreeSet::new();
            [
                classes,
                configs,
                gateways,
                sets,
                routes,
                grants,
                policies,
                secrets,
                services,
                slices,
                namespaces,
                experimental,
            ]
            .into_iter()
            .flatten()
            .filter(|object| seen.insert(object.object_ref()))
            .collect()
        },
    )
}

/// Any object that a cluster may have.
fn any_object() -> impl Strategy<Value = Object> {
    prop_oneof![
        1 => class(),
        4 => gateway(),
        8 => route(),
        2 => grant(),
        2 => listener_set(),
        2 => secret(),
        3 => policy(),
        2 => experimental(),
        1 => config(),
        4 => service(),
        4 => slice(),
        2 => namespace(),
    ]
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

/// The keys under which two tables differ.
fn differences<K: Ord + Clone, V: PartialEq>(before: &BTreeMap<K, V>, after: &BTreeMap<K, V>) -> BTreeSet<K> {
    let keys = before.keys().chain(after.keys());
    keys.filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
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

/// Gateways of two namespaces that want the same port by host name.
fn rivals() -> impl Strategy<Value = Vec<Object>> {
    let configs = prop::collection::vec(config(), 1..4);
    let gateways = prop::collection::vec((gateway(), select(&NAMESPACES)), 2..6);
    (configs, gateways).prop_map(|(configs, gateways)| {
        let parameters = json!({
            "group": "gateway-agent.io", "kind": "GatewayConfig", "namespace": NAMESPACES[0], "name": NAMES[0],
        });
        let spec = json!({ "controllerName": "gateway-agent.io/controller", "parametersRef": parameters });
        let class = object(document("GatewayClass", &json!({ "name": "gateway-agent" }), &spec));
        let gateways = gateways.into_iter().map(|(gateway, namespace)| {
            let mut json = gateway.to_json().expect("JSON");
            json["metadata"]["namespace"] = namespace.into();
            json["spec"]["addresses"] = json!([]);
            for listener in json["spec"]["listeners"].as_array_mut().expect("listeners") {
                listener["protocol"] = "HTTP".into();
                listener["port"] = PORTS[0].into();
                listener["tls"] = Value::Null;
            }
            object(json)
        });
        let mut seen = BTreeSet::new();
        let objects = configs.into_iter().chain(gateways).chain([class]);
        objects.filter(|object| seen.insert(object.object_ref())).collect()
    })
}

/// The same object in another namespace; references keep to it, and the Gateway takes an address of its own. Nothing is left
/// to default Gateways, which may be any.
fn moved(object: &Object, prefix: &str, address: &str) -> Object {
    fn rename(value: &mut Value, prefix: &str) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match field {
                        Value::String(text) if name == "namespace" => *text = format!("{prefix}-{text}"),
                        _ => rename(field, prefix),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| rename(item, prefix)),
            _ => {}
        }
    }
    let mut json = object.to_json().expect("JSON");
    rename(&mut json, prefix);
    match object.kind() {
        Kind::Gateway => json["spec"]["addresses"] = json!([{ "value": address }]),
        Kind::Namespace => {
            json["metadata"]["name"] =
                format!("{prefix}-{}", json["metadata"]["name"].as_str().expect("a name")).into();
        }
        kind if kind.name().ends_with("Route") => json["spec"]["useDefaultGateways"] = Value::Null,
        _ => {}
    }
    self::object(json)
}

/// The part of an outcome that is about the namespaces with this prefix.
fn part_of(outcome: &Outcome, prefix: &str) -> Outcome {
    let mine = |namespace: &str| namespace.starts_with(prefix);
    let named = |object: &ObjectRef| object.namespace.as_deref().is_some_and(mine);
    let mut part = outcome.clone();
    part.statuses.retain(|object, _| named(object));
    part.problems.retain(|problem| named(&problem.object));
    part.copies.retain(|object, _| named(object));
    part.assignments.retain(|gateway, _| mine(&gateway.namespace));
    part.tables.l4.frontends.retain(|_, frontend| mine(&frontend.listener.gateway.namespace));
    part.tables.l4.services.retain(|port, _| mine(&port.service.namespace));
    part.tables.l4.alive.clear();
    part.tables.tls.certificates.retain(|name, _| mine(&name.namespace));
    part.tables.tls.backends.retain(|(service, _), _| mine(&service.namespace));
    for frontend in part.tables.tls.frontends.values_mut() {
        frontend.listeners.retain(|_, listener| mine(&listener.name.gateway.namespace));
    }
    part.tables.tls.frontends.retain(|_, frontend| !frontend.listeners.is_empty());
    let http = &mut part.tables.http;
    http.listeners.retain(|name, _| mine(&name.to_string()));
    for frontend in http.frontends.values_mut() {
        frontend.listeners.retain(|_, name| mine(&name.to_string()));
    }
    http.frontends.retain(|_, frontend| !frontend.listeners.is_empty());
    http.http_routes.retain(|name, _| mine(&name.namespace));
    http.grpc_routes.retain(|name, _| mine(&name.namespace));
    http.services.retain(|name, _| mine(&name.service.namespace));
    part.recheck_at = None;
    part
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

fn our_class() -> impl Strategy<Value = Object> {
    let namespace = prop::option::weighted(0.9, namespace_name());
    prop::option::weighted(0.4, (parameters(), namespace)).prop_map(|parameters| {
        let parameters = parameters.map(|(mut parameters, namespace)| {
            parameters["namespace"] = namespace.into();
            parameters
        });
        let spec = json!({ "controllerName": "gateway-agent.io/controller", "parametersRef": parameters });
        object(document("GatewayClass", &json!({ "name": "gateway-agent" }), &spec))
    })
}

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
                        address: self::address(address["value"].as_str().expect("text")),
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
