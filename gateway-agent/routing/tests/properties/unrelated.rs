//! Two clusters in one that have nothing to do with each other.

use gateway_agent_api::{Kind, Object, ObjectRef};
use gateway_agent_routing::Outcome;
use serde_json::{Value, json};

use crate::words;

/// The same object in another namespace; references keep to it, and the Gateway takes an address of its own. Nothing is left
/// to default Gateways, which may be any.
pub(crate) fn moved(object: &Object, prefix: &str, address: &str) -> Object {
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
    words::object(json)
}

/// The part of an outcome that is about the namespaces with this prefix.
pub(crate) fn part_of(outcome: &Outcome, prefix: &str) -> Outcome {
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
