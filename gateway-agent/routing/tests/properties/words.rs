//! What random objects are made of: few names, so that they often want the same things.

use gateway_agent_api::{Kind, Object};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

pub(crate) const NAMESPACES: [&str; 2] = ["one", "two"];
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];
/// Numbers that no API server would let through are among them: nothing may panic on those.
pub(crate) const PORTS: [i64; 6] = [1, 2, 3, 0, -1, 70000];
pub(crate) const HOSTS: [&str; 4] = ["a.example.com", "*.example.com", "b.example.com", "no host"];
pub(crate) const ADDRESSES: [&str; 4] = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "203.0.113.1"];

pub(crate) fn object(json: Value) -> Object {
    let name = json["kind"].as_str().expect("a kind");
    let kind = Kind::ALL.iter().copied().find(|kind| kind.name() == name);
    let kind = kind.unwrap_or_else(|| panic!("no such kind: {name}"));
    Object::decode(kind, json, &mut |_| ()).expect("an object of its kind")
}

pub(crate) fn api_version(kind: &str) -> &'static str {
    match kind {
        "Service" | "Namespace" | "Secret" | "ConfigMap" => "v1",
        "EndpointSlice" => "discovery.k8s.io/v1",
        "GatewayConfig" => "gateway-agent.io/v1alpha1",
        kind if kind.starts_with('X') => "gateway.networking.x-k8s.io/v1alpha1",
        _ => "gateway.networking.k8s.io/v1",
    }
}

pub(crate) fn document(kind: &str, metadata: &Value, spec: &Value) -> Value {
    json!({ "apiVersion": api_version(kind), "kind": kind, "metadata": metadata, "spec": spec })
}

/// Names, namespaces and ports are chosen unevenly, so that references often meet their targets.
pub(crate) fn name() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![12 => Just(NAMES[0]), 2 => Just(NAMES[1]), 1 => Just(NAMES[2])]
}

pub(crate) fn namespace_name() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![6 => Just(NAMESPACES[0]), 1 => Just(NAMESPACES[1])]
}

pub(crate) fn port() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![12 => Just(PORTS[0]), 2 => select(&PORTS)]
}

pub(crate) fn metadata() -> impl Strategy<Value = Value> {
    (namespace_name(), name(), prop::option::of(1..4)).prop_map(|(namespace, name, day)| {
        let mut metadata = json!({ "namespace": namespace, "name": name });
        if let Some(day) = day {
            metadata["creationTimestamp"] = format!("2026-01-0{day}T00:00:00Z").into();
        }
        metadata
    })
}
