//! What the controller makes for a Gateway: a headless Service that leads to its addresses, so that it has a name in DNS and
//! something that carries its labels and annotations; and, where that is asked for, a Service of type `LoadBalancer` that
//! leads to nodes.

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_api::own::gateway_config::AddressMode;
use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_tables::{Family, ObjectName, Protocol};
use serde_json::{Value, json};

use super::{
    GATEWAY_NAME, MANAGED_BY, SLICES_MANAGED_BY, label_value, load_balancer, load_balancer_name, node_port,
    service_name,
};
use crate::Snapshot;
use crate::address::{Address, published_nodes};
use crate::gateway::Gateway;
use crate::listener::Listener;

/// As many endpoints as Kubernetes puts into a slice.
const SLICE: usize = 100;

/// The objects as the API server shall have them. A Gateway without uid is in no cluster.
pub(crate) fn objects(gateway: &Gateway<'_>, snapshot: &Snapshot) -> BTreeMap<ObjectRef, Value> {
    let mut objects = BTreeMap::new();
    if gateway.fault.is_some() || gateway.metadata.uid.is_none() {
        return objects;
    }
    let mut add = |kind: Kind, name: &ObjectName, labels: &[(&str, &str)], rest: Value| {
        let object = ObjectRef::new(kind, &name.namespace, &name.name);
        objects.insert(object, made(kind, name, labels, gateway, rest));
    };
    let ports = ports(gateway);
    let name = service_name(&gateway.asking);
    let spec = json!({
        "clusterIP": "None",
        "ipFamilyPolicy": "PreferDualStack",
        "ports": ports.iter().map(|port| service_port(*port)).collect::<Vec<_>>(),
    });
    add(Kind::Service, &name, &[], json!({ "spec": spec }));
    let addresses = gateway.addresses.ips().map(|ip| (ip, None));
    let listed: Vec<_> = ports.iter().map(|port| slice_port(*port, port.0)).collect();
    slices(&name, addresses, &listed, &mut add);
    if gateway.asking.mode() == AddressMode::LoadBalancer {
        balanced(gateway, &ports, snapshot, &mut add);
    }
    objects
}

/// A port number and protocol that a listener of the Gateway wants.
type Port = (u16, Protocol);

fn ports(gateway: &Gateway<'_>) -> BTreeSet<Port> {
    let sockets = gateway.listeners.iter().filter_map(Listener::socket);
    sockets.map(|(port, protocol)| (port.get(), protocol)).collect()
}

/// The load balancer sends to the Service's ports on nodes, and a node serves what comes there: nobody else has those.
fn balanced(
    gateway: &Gateway<'_>,
    ports: &BTreeSet<Port>,
    snapshot: &Snapshot,
    add: &mut impl FnMut(Kind, &ObjectName, &[(&str, &str)], Value),
) {
    let name = load_balancer_name(&gateway.asking);
    let mut spec = json!({
        "type": "LoadBalancer",
        "ipFamilyPolicy": "PreferDualStack",
        // The client's address arrives, and no node sends on to another.
        "externalTrafficPolicy": "Local",
        "ports": ports.iter().map(|port| service_port(*port)).collect::<Vec<_>>(),
    });
    let named = gateway.asking.wishes.named().find_map(Address::ip);
    if let Some(ip) = named {
        spec["loadBalancerIP"] = ip.to_string().into();
    }
    if !ports.is_empty() {
        add(Kind::Service, &name, &[], json!({ "spec": spec }));
    }
    let service = load_balancer(&gateway.asking, snapshot);
    let listed = ports.iter().filter_map(|port| Some(slice_port(*port, node_port(service?, *port)?.get())));
    let listed: Vec<_> = listed.collect();
    if listed.len() == ports.len() && !ports.is_empty() {
        let nodes = published_nodes(&gateway.asking.settings, snapshot);
        let endpoints = nodes.flat_map(|(node, ips)| ips.iter().map(move |ip| (*ip, Some(node))));
        slices(&name, endpoints, &listed, add);
    }
}

fn slices<'n>(
    service: &ObjectName,
    endpoints: impl Iterator<Item = (std::net::IpAddr, Option<&'n str>)>,
    ports: &[Value],
    add: &mut impl FnMut(Kind, &ObjectName, &[(&str, &str)], Value),
) {
    let labels = [("kubernetes.io/service-name", service.name.as_str()), SLICES_MANAGED_BY];
    let endpoints: Vec<_> = endpoints.collect();
    for (family, kind) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
        let of_family: Vec<_> = endpoints.iter().filter(|(ip, _)| Family::of(*ip) == family).collect();
        for (index, part) in of_family.chunks(SLICE).enumerate() {
            let endpoints = part.iter().map(|(ip, node)| {
                let mut endpoint = json!({ "addresses": [ip], "conditions": { "ready": true } });
                if let Some(node) = node {
                    endpoint["nodeName"] = (*node).into();
                }
                endpoint
            });
            let name = format!("{}-{family}-{index}", service.name);
            let rest = json!({
                "addressType": kind,
                "endpoints": endpoints.collect::<Vec<_>>(),
                "ports": ports,
            });
            let name = ObjectName { namespace: service.namespace.clone(), name };
            add(Kind::EndpointSlice, &name, &labels, rest);
        }
    }
}

/// An object of the Gateway, which goes when the Gateway does.
fn made(kind: Kind, name: &ObjectName, labels: &[(&str, &str)], gateway: &Gateway<'_>, rest: Value) -> Value {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let mut all = infrastructure.and_then(|it| it.labels.clone()).unwrap_or_default();
    let own = [
        (GATEWAY_NAME.to_owned(), label_value(&gateway.name.name)),
        (MANAGED_BY.0.into(), MANAGED_BY.1.into()),
    ];
    all.extend(own);
    all.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let annotations = infrastructure.and_then(|it| it.annotations.clone()).unwrap_or_default();
    let mut object = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.name(),
        "metadata": {
            "namespace": name.namespace,
            "name": name.name,
            "labels": all,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": Kind::Gateway.api_version(),
                "kind": Kind::Gateway.name(),
                "name": gateway.name.name,
                "uid": gateway.metadata.uid,
                "controller": true,
            }],
        },
    });
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}

fn port_name((port, protocol): Port) -> String {
    format!("{protocol}-{port}")
}

fn service_port(port: Port) -> Value {
    json!({ "name": port_name(port), "port": port.0, "protocol": protocol_name(port) })
}

fn slice_port(port: Port, number: u16) -> Value {
    json!({ "name": port_name(port), "port": number, "protocol": protocol_name(port) })
}

fn protocol_name((_, protocol): Port) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}
