//! One object as an API server gives it: raw JSON first, then the type.

use gateway_agent_api::{DecodeError, Kind, Object, ObjectRef, Secret};
use serde_json::{Map, Value, json};

use super::Role;
use crate::copies;

/// An object that was received.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub name: ObjectRef,
    pub uid: String,
    pub resource_version: String,
    /// What it says, less what nobody here reads.
    pub object: Result<Object, DecodeError>,
    /// Fields that this version of ours doesn't know, so that they have no effect.
    pub unknown: Vec<String>,
    /// As it stands, where a controller's statuses are merged into it.
    pub status: Option<Value>,
}

/// Takes an object apart.
pub fn receive(kind: Kind, mut document: Value, role: Role) -> Received {
    let metadata = |field: &str| {
        document.pointer("/metadata").and_then(|it| it.get(field)?.as_str()).unwrap_or_default().to_owned()
    };
    let name = ObjectRef::new(kind, &metadata("namespace"), &metadata("name"));
    let (uid, resource_version) = (metadata("uid"), metadata("resourceVersion"));
    let addresses = document.pointer("/status/addresses").cloned();
    let status = if is_of_gateway_api(kind) { take(&mut document, "status") } else { None };
    let status = status.filter(|_| has_our_status(kind) && role == Role::Controller);
    if kind == Kind::Gateway && role == Role::Agent {
        // What the controller has assigned; nothing else that it writes shall wake an agent's compiler.
        document["status"] = json!({ "addresses": addresses });
    }
    trim(kind, &mut document, role);
    let mut unknown = Vec::new();
    let object = Object::decode(kind, document, &mut |path| unknown.push(path));
    if !is_of_gateway_api(kind) {
        // A newer Kubernetes has more than we were built for, and nothing of it concerns us.
        unknown.clear();
    }
    Received { name, uid, resource_version, object, unknown, status }
}

/// Takes a Secret apart that is there for agents: a copy becomes the object that it is of.
pub fn receive_for_agents(document: Value) -> Received {
    // What is no Secret has no name, which no API server would let happen.
    let secret: Secret = serde_json::from_value(document).unwrap_or_default();
    let metadata = &secret.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let name = ObjectRef::new(Kind::Secret, &text(&metadata.namespace), &text(&metadata.name));
    let (uid, resource_version) = (text(&metadata.uid), text(&metadata.resource_version));
    let object = if name.name == copies::PEERS {
        Ok(secret.into())
    } else {
        copies::decode(secret)
            .map_err(|error| DecodeError { path: "metadata".to_owned(), cause: error.to_string() })
    };
    let name = object.as_ref().map_or(name, Object::object_ref);
    Received { name, uid, resource_version, object, unknown: Vec::new(), status: None }
}

/// Kinds whose statuses the controller writes.
pub fn has_our_status(kind: Kind) -> bool {
    is_of_gateway_api(kind) && kind != Kind::ReferenceGrant
}

pub fn is_of_gateway_api(kind: Kind) -> bool {
    kind.group().starts_with("gateway.networking.")
}

/// Which Service a slice belongs to, and which Gateway a Service stands for.
const LABELS: [&str; 2] = ["kubernetes.io/service-name", "gateway.networking.k8s.io/gateway-name"];

/// Drops what nobody reads, but a cluster has a lot of, and what changes all the time.
fn trim(kind: Kind, document: &mut Value, role: Role) {
    if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["managedFields", "resourceVersion", "finalizers"] {
            metadata.remove(field);
        }
        if kind != Kind::GatewayNode {
            metadata.remove("ownerReferences");
        }
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        if role == Role::Agent {
            metadata.remove("annotations");
            if matches!(kind, Kind::Service | Kind::EndpointSlice) {
                keep(metadata.get_mut("labels"), &LABELS);
            }
        }
    }
    match kind {
        // The others are what the controller makes for Gateways, and compares.
        Kind::Service if role == Role::Agent => {
            keep(document.get_mut("spec"), &["type", "ports", "externalIPs"]);
        }
        Kind::EndpointSlice => {
            for endpoint in document.get_mut("endpoints").and_then(Value::as_array_mut).into_iter().flatten()
            {
                // Names the pod, which nobody asks for.
                take(endpoint, "targetRef");
            }
        }
        Kind::Secret | Kind::ConfigMap => keep(document.get_mut("data"), &["tls.crt", "tls.key", "ca.crt"]),
        Kind::Node => {
            take(document, "spec");
            keep(document.get_mut("status"), &["addresses", "conditions"]);
            let conditions = document.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
            if let Some(conditions) = conditions {
                conditions.retain(|condition| condition.get("type").is_some_and(|it| it == "Ready"));
                for condition in conditions {
                    take(condition, "lastHeartbeatTime");
                }
            }
        }
        Kind::GatewayNode => trim_report(document.get_mut("status"), role),
        _ => {}
    }
}

/// Each node reports all the time: what is only for people is left out, and for other agents what is only for the
/// controller.
fn trim_report(status: Option<&mut Value>, role: Role) {
    let Some(status) = status else { return };
    for field in ["lastHeartbeatTime", "kernel", "cni", "delivery", "hooks", "settings"] {
        take(status, field);
    }
    if role == Role::Agent {
        for field in ["applied", "problems", "problemCount"] {
            take(status, field);
        }
        let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten() {
            condition["message"] = "".into();
        }
    }
}

fn take(value: &mut Value, field: &str) -> Option<Value> {
    value.as_object_mut()?.remove(field)
}

fn keep(value: Option<&mut Value>, fields: &[&str]) {
    if let Some(map) = value.and_then(Value::as_object_mut) {
        let kept = std::mem::take(map).into_iter().filter(|(field, _)| fields.contains(&field.as_str()));
        *map = kept.collect::<Map<_, _>>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(filter: &Value) -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {
                "name": "r", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 2,
                "managedFields": [{"manager": "kubectl"}],
                "annotations": {"a": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
            },
            "spec": {"rules": [{"filters": [filter]}]},
            "status": {"parents": [{"controllerName": "other", "invented": 1}]},
        })
    }

    #[test]
    fn what_nobody_reads_goes_and_the_status_stays_apart() {
        let redirect = json!({"type": "RequestRedirect", "requestRedirect": {"port": 443}});
        let received = receive(Kind::HttpRoute, route(&redirect), Role::Controller);
        assert_eq!(received.name, ObjectRef::new(Kind::HttpRoute, "n", "r"));
        assert_eq!((received.uid.as_str(), received.resource_version.as_str()), ("u", "7"));
        assert_eq!(received.status.unwrap()["parents"][0]["invented"], 1);
        let json = received.object.unwrap().to_json().unwrap();
        assert_eq!(
            json["metadata"],
            json!({"name": "r", "namespace": "n", "uid": "u", "generation": 2, "annotations": {"a": "b"}})
        );
        assert_eq!(json.get("status"), None);
        assert_eq!(receive(Kind::HttpRoute, route(&redirect), Role::Agent).status, None);
    }

    #[test]
    fn an_object_that_is_no_object_of_its_kind_still_has_a_name() {
        let mut wrong = route(&json!({"type": "RequestRedirect"}));
        wrong["spec"]["rules"] = json!("none");
        let received = receive(Kind::HttpRoute, wrong, Role::Controller);
        assert_eq!(received.name, ObjectRef::new(Kind::HttpRoute, "n", "r"));
        assert!(received.object.unwrap_err().path.starts_with("spec.rules"));
        // Not even that: it has no name, which no API server would let happen.
        assert!(receive(Kind::HttpRoute, json!([]), Role::Controller).object.is_err());
    }

    #[test]
    fn unknown_fields_are_told_of_our_kinds_only() {
        let mut newer = route(&json!({"type": "RequestRedirect"}));
        newer["spec"]["invented"] = json!(1);
        assert_eq!(receive(Kind::HttpRoute, newer, Role::Controller).unknown, ["spec.invented"]);
        let service = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"invented": 1}});
        assert_eq!(receive(Kind::Service, service, Role::Controller).unknown, [""; 0]);
    }

    #[test]
    fn a_node_that_has_nothing_new_to_tell_is_no_change() {
        let node = |applied: &str, heartbeat: &str| {
            json!({
                "metadata": {"name": "n"}, "spec": {},
                "status": {
                    "addresses": ["10.0.0.1"], "applied": {"gateways": applied}, "lastHeartbeatTime": heartbeat,
                    "conditions": [{
                        "type": "Ready", "status": "True", "reason": "Ready", "message": applied,
                        "lastTransitionTime": "2026-01-01T00:00:00Z",
                    }],
                },
            })
        };
        let [first, later] = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:10Z"];
        let seen = |document: Value, role| receive(Kind::GatewayNode, document, role).object.unwrap();
        assert_eq!(seen(node("1", first), Role::Controller), seen(node("1", later), Role::Controller));
        assert_ne!(seen(node("1", first), Role::Controller), seen(node("2", later), Role::Controller));
        assert_eq!(seen(node("1", first), Role::Agent), seen(node("2", later), Role::Agent));
        let json = seen(node("1", first), Role::Agent).to_json().unwrap();
        assert_eq!(json["status"]["addresses"], json!(["10.0.0.1"]));
    }

    #[test]
    fn an_agent_keeps_of_services_what_tables_are_made_of() {
        let service = json!({
            "metadata": {
                "name": "s", "namespace": "n", "annotations": {"a": "b"},
                "labels": {"app": "s", "gateway.networking.k8s.io/gateway-name": "g"},
            },
            "spec": {
                "type": "NodePort", "clusterIP": "10.96.0.7", "selector": {"app": "s"},
                "ports": [{"port": 80}], "externalIPs": ["192.0.2.1"],
            },
        });
        let kept = |role| receive(Kind::Service, service.clone(), role).object.unwrap().to_json().unwrap();
        let json = kept(Role::Agent);
        let labels = json!({"gateway.networking.k8s.io/gateway-name": "g"});
        assert_eq!(json["metadata"], json!({"name": "s", "namespace": "n", "labels": labels}));
        let spec = json!({"type": "NodePort", "ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]});
        assert_eq!(json["spec"], spec);
        assert_eq!(kept(Role::Controller)["spec"], service["spec"]);
    }

    #[test]
    fn core_kinds_keep_what_is_read() {
        let slice = json!({
            "metadata": {"name": "s", "namespace": "n"}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"name": "pod"}}],
        });
        let json = receive(Kind::EndpointSlice, slice, Role::Controller).object.unwrap().to_json().unwrap();
        assert_eq!(json["endpoints"], json!([{"addresses": ["10.0.0.1"]}]));
        let map = json!({"metadata": {"name": "m", "namespace": "n"}, "data": {"ca.crt": "x", "other": "y"}});
        let json = receive(Kind::ConfigMap, map, Role::Controller).object.unwrap().to_json().unwrap();
        assert_eq!(json["data"], json!({"ca.crt": "x"}));
        let node = json!({
            "metadata": {"name": "n"}, "spec": {"podCIDR": "10.0.0.0/24"},
            "status": {
                "images": [{"names": ["a"]}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "conditions": [
                    {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"},
                    {"type": "DiskPressure", "status": "False"},
                ],
            },
        });
        let json = receive(Kind::Node, node, Role::Controller).object.unwrap().to_json().unwrap();
        assert_eq!(
            json["status"],
            json!({
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "conditions": [{"type": "Ready", "status": "True"}],
            })
        );
    }
}
