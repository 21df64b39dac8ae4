//! Clusters of many Gateways that are after each other's places and addresses, and what happens to such clusters.

use gateway_agent_api::{Gateway, Kind, Object, Typed as _};
use gateway_agent_routing::{OfferingNode, Snapshot};
use gateway_agent_tables::{FrontendKey, ListenerName, ObjectName, Protocol};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::cluster::address;
use crate::objects::{grant, namespace, our_class, secret, service};
use crate::words::{ADDRESSES, HOSTS, NAMES, NAMESPACES, document, object};

/// Alike, unlike those of [`crate::words`], so that there are many Gateways.
const GATEWAYS: [&str; 5] = ["a", "b", "c", "d", "e"];
const SETS: [&str; 3] = ["a", "b", "c"];
/// One for each family and one more, which several Gateways want.
const POOL: [&str; 2] = ["203.0.113.1-203.0.113.2", "2001:db8::10"];

/// What Gateways are made of, each name once or more.
pub(crate) fn gateways() -> impl Strategy<Value = Vec<Object>> {
    let gateways = prop::collection::vec(gateway(), 3..9);
    let others = prop::collection::vec(any_part(), 2..12);
    // Most of what Gateways refer to.
    let found = (prop::collection::vec(config(), 6..12), prop::collection::vec(secret(), 4..8));
    (gateways, others, found).prop_map(|(gateways, others, (configs, secrets))| {
        let spec = json!({ "controllerName": "gateway-agent.io/controller" });
        let class = object(document("GatewayClass", &json!({ "name": "gateway-agent" }), &spec));
        others.into_iter().chain(gateways).chain(configs).chain(secrets).chain([class]).collect()
    })
}

/// A Gateway, or something that one may look at.
pub(crate) fn any_part() -> impl Strategy<Value = Object> {
    prop_oneof![
        12 => gateway(),
        6 => set(),
        6 => route(),
        2 => config(),
        2 => secret(),
        1 => grant(),
        1 => namespace(),
        1 => our_class(),
        1 => service(),
        1 => balancer(),
    ]
}

fn metadata(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let day = prop::option::of(1..4);
    (select(&NAMESPACES), select(names), day).prop_map(|(namespace, name, day)| {
        let created = day.map(|day| format!("2026-01-0{day}T00:00:00Z"));
        let uid = format!("{namespace}-{name}");
        json!({ "namespace": namespace, "name": name, "creationTimestamp": created, "uid": uid })
    })
}

fn gateway() -> impl Strategy<Value = Object> {
    let addresses = prop_oneof![
        4 => Just(vec![]),
        3 => prop::collection::vec(prop::option::of(select(&ADDRESSES)), 1..3),
    ];
    let from = select(&["All", "All", "Same", "None"][..]);
    let scope = prop_oneof![5 => Just(None), 1 => Just(Some("All"))];
    let parameters = prop::option::weighted(0.5, select(&NAMES));
    let label = prop::option::of(select(&["x", "y"][..]));
    (metadata(&GATEWAYS), listeners(), addresses, from, scope, parameters, label).prop_map(
        |(metadata, listeners, addresses, from, scope, parameters, label)| {
            let addresses: Vec<_> = addresses.into_iter().map(|value| json!({ "value": value })).collect();
            let parameters = parameters
                .map(|name| json!({ "group": "gateway-agent.io", "kind": "GatewayConfig", "name": name }));
            let spec = json!({
                "gatewayClassName": "gateway-agent",
                "defaultScope": scope,
                "listeners": listeners,
                "addresses": addresses,
                "allowedListeners": { "namespaces": { "from": from } },
                "infrastructure": { "parametersRef": parameters, "labels": label.map(|label| json!({ "l": label })) },
            });
            object(document("Gateway", &metadata, &spec))
        },
    )
}

fn set() -> impl Strategy<Value = Object> {
    (metadata(&SETS), select(&GATEWAYS), select(&NAMESPACES), listeners()).prop_map(
        |(metadata, gateway, namespace, listeners)| {
            let parent = json!({ "name": gateway, "namespace": namespace });
            let spec = json!({ "parentRef": parent, "listeners": listeners });
            object(document("ListenerSet", &metadata, &spec))
        },
    )
}

fn listeners() -> impl Strategy<Value = Vec<Value>> {
    let protocol = prop_oneof![6 => Just("HTTP"), 2 => Just("HTTPS"), 2 => Just("TLS"), 2 => Just("TCP"), 1 => Just("UDP")];
    let from = prop_oneof![4 => Just("All"), 1 => Just("Same")];
    let listener = (protocol, 1..3, prop::option::of(select(&HOSTS[..3])), select(&NAMES), from);
    let listener = listener.prop_map(|(protocol, port, hostname, secret, from)| {
        let tls = matches!(protocol, "HTTPS" | "TLS")
            .then(|| json!({ "mode": "Terminate", "certificateRefs": [{ "name": secret }] }));
        json!({
            "protocol": protocol,
            "port": port,
            "hostname": hostname,
            "tls": tls,
            "allowedRoutes": { "namespaces": { "from": from } },
        })
    });
    prop::collection::vec(listener, 1..4).prop_map(|mut listeners| {
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener["name"] = NAMES[index].into();
        }
        listeners
    })
}

fn route() -> impl Strategy<Value = Object> {
    let kind = select(&["HTTPRoute", "HTTPRoute", "TCPRoute", "TLSRoute"][..]);
    let section = prop::option::of(select(&NAMES));
    let parent_kind = prop_oneof![4 => Just("Gateway"), 1 => Just("ListenerSet")];
    let parent = (select(&GATEWAYS), select(&NAMESPACES), section, parent_kind).prop_map(
        |(name, namespace, section, kind)| {
            json!({ "name": name, "namespace": namespace, "sectionName": section, "kind": kind })
        },
    );
    let parents = prop::collection::vec(parent, 1..3);
    let hosts = prop::collection::vec(select(&HOSTS[..3]), 0..2);
    (kind, metadata(&SETS), parents, hosts, select(&NAMES)).prop_map(
        |(kind, metadata, parents, hosts, service)| {
            let rules = json!([{ "backendRefs": [{ "name": service, "port": 1 }] }]);
            let mut spec = json!({ "parentRefs": parents, "rules": rules });
            if kind != "TCPRoute" {
                spec["hostnames"] = hosts.into();
            }
            object(document(kind, &metadata, &spec))
        },
    )
}

fn config() -> impl Strategy<Value = Object> {
    let mode = select(&["Node", "Pool", "Pool", "Pool", "LoadBalancer"][..]);
    let sharing = select(&["Namespace", "Cluster", "Cluster"][..]);
    let pool = prop::collection::vec(select(&POOL[..]), 1..3);
    (metadata(&NAMES), mode, sharing, pool, prop::option::weighted(0.2, any::<bool>())).prop_map(
        |(metadata, mode, sharing, ranges, automatic)| {
            let pools = json!([{ "name": "p", "ranges": ranges, "autoAssign": automatic }]);
            let spec = json!({ "addresses": { "mode": mode, "sharing": sharing, "pools": pools } });
            object(document("GatewayConfig", &metadata, &spec))
        },
    )
}

/// The Service before a Gateway, as the cluster has filled it in.
fn balancer() -> impl Strategy<Value = Object> {
    let ip = prop::option::of(select(&["198.51.100.1", "198.51.100.2", "203.0.113.1"][..]));
    (select(&NAMESPACES), select(&GATEWAYS), ip).prop_map(|(namespace, gateway, ip)| {
        let ingress = ip.map(|ip| json!([{ "ip": ip }]));
        let labels = json!({ "gateway.networking.k8s.io/gateway-name": gateway });
        let name = format!("{gateway}-gateway-agent-lb");
        object(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "namespace": namespace, "name": name, "labels": labels },
            "spec": { "ports": [{ "port": 1, "protocol": "TCP", "nodePort": 30_001 }] },
            "status": { "loadBalancer": { "ingress": ingress } },
        }))
    })
}

/// Somebody else has a port of some of the node's addresses.
pub(crate) fn hold(snapshot: &mut Snapshot, places: &[(usize, u16)]) {
    let place = |&(index, port): &(usize, u16)| {
        let address = address(ADDRESSES[index]);
        let port = port.try_into().expect("a port");
        (FrontendKey { address, port, protocol: Protocol::Tcp }, "somebody".to_owned())
    };
    snapshot.holders = places.iter().map(place).collect();
}

/// Nodes of the cluster, each of one address: whether it serves, and which Gateways' first listeners it can't.
pub(crate) fn offer(snapshot: &mut Snapshot, nodes: &[(bool, Vec<usize>)]) {
    let gateways: Vec<_> = snapshot.of_kind(Kind::Gateway).filter_map(Gateway::of).cloned().collect();
    let refused = |index: &usize| {
        let metadata = &gateways.get(index % gateways.len().max(1))?.metadata;
        let (namespace, name) = (metadata.namespace.clone()?, metadata.name.clone()?);
        let gateway = ObjectName { namespace, name };
        Some((ListenerName { gateway, listener: NAMES[0].to_owned() }, "somebody has it".to_owned()))
    };
    let node = |(index, (published, refusals)): (usize, &(bool, Vec<usize>))| OfferingNode {
        name: format!("node-{index}"),
        addresses: vec![address(ADDRESSES[index])],
        published: *published,
        refusals: refusals.iter().filter_map(refused).collect(),
        ..OfferingNode::default()
    };
    snapshot.nodes = Some(nodes.iter().enumerate().map(node).collect());
}
