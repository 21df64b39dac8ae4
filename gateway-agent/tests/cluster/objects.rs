//! Objects for the stories, and questions to them.

use serde_json::{Value, json};

pub const OURS: &str = "gateway-agent.io/controller";

pub fn class() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": "gateway-agent" },
        "spec": { "controllerName": OURS },
    })
}

/// Listens for TCP and, 1,000 above, for HTTP, for routes of its namespace.
pub fn gateway(namespace: &str, name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "gatewayClassName": "gateway-agent",
            "listeners": [
                { "name": "tcp", "protocol": "TCP", "port": port },
                { "name": "web", "protocol": "HTTP", "port": port + 1000 },
            ],
        },
    })
}

pub fn service(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "ports": [{ "port": 80, "protocol": "TCP" }] },
    })
}

pub fn tcp_route(namespace: &str, name: &str, gateway: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "TCPRoute",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "parentRefs": [{ "name": gateway, "sectionName": "tcp" }],
            "rules": [{ "backendRefs": [{ "name": "server", "port": 80 }] }],
        },
    })
}

pub fn http_route(namespace: &str, name: &str, gateway: &str, filters: &Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "parentRefs": [{ "name": gateway, "sectionName": "web" }],
            "rules": [{ "filters": filters, "backendRefs": [{ "name": "server", "port": 80 }] }],
        },
    })
}

pub fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

/// `True Accepted`: status and reason of a condition.
pub fn verdict(conditions: &Value, kind: &str) -> String {
    let conditions = conditions.as_array().into_iter().flatten();
    let condition = conditions.into_iter().find(|condition| condition["type"] == kind);
    let text = |field: &str| condition.and_then(|it| it[field].as_str()).unwrap_or("-");
    format!("{} {}", text("status"), text("reason"))
}

/// Our entry in the status of a route.
pub fn ours(route: &Value) -> Option<&Value> {
    route["status"]["parents"].as_array()?.iter().find(|parent| parent["controllerName"] == OURS)
}

/// What we say about a route, of a condition.
pub fn route_verdict(route: &Value, kind: &str) -> String {
    ours(route).map_or_else(|| "none".to_owned(), |entry| verdict(&entry["conditions"], kind))
}

/// How many routes a listener has.
pub fn attached(gateway: &Value, listener: &str) -> Option<u64> {
    let listeners = gateway["status"]["listeners"].as_array()?;
    listeners.iter().find(|it| it["name"] == listener)?["attachedRoutes"].as_u64()
}
