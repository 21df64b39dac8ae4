//! Experimental kinds, as the CRDs of v1.6 and v1.7 have them.

use lab::wait_until;
use serde_json::{Value, json};

use crate::objects::{OURS, route_verdict, verdict};
use crate::rig::{PATIENCE, Rig};

const NAMESPACE: &str = "late";

/// With the CRDs of v1.7, after those of v1.6.
pub fn kinds_get_verdicts(rig: &Rig) {
    let backend = object(
        "XBackend",
        "pods",
        &json!({
            "type": "EndpointSelector",
            "port": { "number": 8080 },
            "endpointSelector": { "matchLabels": { "app": "pods" } },
        }),
    );
    let traffic = object(
        "XBackendTrafficPolicy",
        "budget",
        &json!({
            "targetRefs": [{ "group": "gateway.networking.x-k8s.io", "kind": "XBackend", "name": "pods" }],
            "retryConstraint": { "budget": { "percent": 20 } },
        }),
    );
    let telemetry = object(
        "XTelemetryPolicy",
        "spans",
        &json!({
            "targetRefs": [{ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge" }],
            "tracing": { "mode": "Disabled" },
        }),
    );
    rig.apply(&[backend, traffic, telemetry, mesh(), route("to-pods", "pods")]);
    let accepted = |it: &Value| verdict(&entry(it, "ancestors")["conditions"], "Accepted");
    rig.until("xbackend", NAMESPACE, "pods", |it| accepted(it) == "True Accepted");
    rig.until("xbackendtrafficpolicy", NAMESPACE, "budget", |it| accepted(it) == "False UnsupportedValue");
    rig.until("xtelemetrypolicy", NAMESPACE, "spans", |it| accepted(it) == "False UnsupportedValue");
    rig.until("xmesh", "", "ours", |it| {
        verdict(&it["status"]["conditions"], "Accepted") == "False UnsupportedValue"
    });
    rig.until("httproute", NAMESPACE, "to-pods", |it| {
        route_verdict(it, "ResolvedRefs") == "True ResolvedRefs"
    });
    the_service_behind_a_backend_comes_and_goes(rig);
    rig.kubectl(&["delete", "xbackendtrafficpolicy", "budget", "--namespace", NAMESPACE]);
    rig.kubectl(&["delete", "xtelemetrypolicy", "spans", "--namespace", NAMESPACE]);
    rig.kubectl(&["delete", "xmesh", "ours"]);
}

/// v1.6 knows host names only, and calls ancestors parents.
pub fn older_backends_get_verdicts(rig: &Rig) {
    rig.apply(&[
        object(
            "XBackend",
            "elsewhere",
            &json!({
                "type": "ExternalHostname",
                "port": { "port": 443 },
                "externalHostname": { "hostname": "api.example.com" },
            }),
        ),
        route("to-elsewhere", "elsewhere"),
    ]);
    rig.until("xbackend", NAMESPACE, "elsewhere", |it| {
        verdict(&entry(it, "parents")["conditions"], "Accepted") == "False UnsupportedValue"
    });
    rig.until("httproute", NAMESPACE, "to-elsewhere", |it| {
        route_verdict(it, "ResolvedRefs") == "False BackendNotFound"
    });
    rig.kubectl(&["delete", "httproute", "to-elsewhere", "--namespace", NAMESPACE]);
    rig.kubectl(&["delete", "xbackend", "elsewhere", "--namespace", NAMESPACE]);
}

/// Kubernetes lists the pods of that Service, in slices that carry its labels and are none of ours.
fn the_service_behind_a_backend_comes_and_goes(rig: &Rig) {
    let of = ["--namespace", NAMESPACE, "--selector", "gateway-agent.io/backend-name=pods", "--output=json"];
    let found = |kind: &str| -> Vec<Value> {
        let text = rig.kubectl(&[&["get", kind], &of[..]].concat());
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().unwrap().clone()
    };
    wait_until("a Service and its slices", PATIENCE, || {
        found("services").len() == 1 && !found("endpointslices").is_empty()
    })
    .unwrap();
    let service = &found("services")[0];
    assert_eq!(service["spec"]["selector"], json!({ "app": "pods" }));
    assert_eq!(service["metadata"]["ownerReferences"][0]["kind"], "XBackend");
    let slice = found("endpointslices")[0]["metadata"]["uid"].clone();
    rig.kubectl(&["delete", "httproute", "to-pods", "--namespace", NAMESPACE]);
    rig.until("xbackend", NAMESPACE, "pods", |it| entry(it, "ancestors").is_null());
    wait_until("the end of the Service", PATIENCE, || found("services").is_empty()).unwrap();
    rig.apply(&[route("to-pods", "pods")]);
    wait_until("another Service", PATIENCE, || !found("endpointslices").is_empty()).unwrap();
    assert_ne!(found("endpointslices")[0]["metadata"]["uid"], slice);
    rig.kubectl(&["delete", "httproute", "to-pods", "--namespace", NAMESPACE]);
    rig.kubectl(&["delete", "xbackend", "pods", "--namespace", NAMESPACE]);
}

/// Our entry in a list of a status.
fn entry(object: &Value, list: &str) -> Value {
    let mut entries = object["status"][list].as_array().into_iter().flatten();
    entries.find(|it| it["controllerName"] == OURS).cloned().unwrap_or_default()
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.x-k8s.io/v1alpha1",
        "kind": kind,
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": spec,
    })
}

fn mesh() -> Value {
    json!({
        "apiVersion": "gateway.networking.x-k8s.io/v1alpha1",
        "kind": "XMesh",
        "metadata": { "name": "ours" },
        "spec": { "controllerName": OURS },
    })
}

fn route(name: &str, backend: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "parentRefs": [{ "name": "edge" }],
            "rules": [{ "backendRefs": [{
                "group": "gateway.networking.x-k8s.io", "kind": "XBackend", "name": backend,
            }] }],
        },
    })
}
