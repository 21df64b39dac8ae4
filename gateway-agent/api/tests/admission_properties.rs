//! Laws of admission, tried on valid documents with one place spoilt.

use gateway_agent_api::admission::{Refusal, admit, documents};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

fn valid() -> Vec<Value> {
    let gateway_api = "gateway.networking.k8s.io/v1";
    let route = |kind: &str| {
        json!({
            "apiVersion": gateway_api,
            "kind": kind,
            "metadata": { "name": "orders", "namespace": "shop", "labels": { "a": "b" } },
            "spec": {
                "parentRefs": [{ "name": "edge", "namespace": "infra", "sectionName": "db", "port": 1 }],
                "rules": [{ "name": "all", "backendRefs": [{ "name": "orders", "port": 1, "weight": 2 }] }],
            },
        })
    };
    vec![
        route("TCPRoute"),
        route("UDPRoute"),
        json!({
            "apiVersion": gateway_api,
            "kind": "GatewayClass",
            "metadata": { "name": "ours" },
            "spec": { "controllerName": "example.com/ours", "parametersRef": { "group": "a.b", "kind": "C", "name": "d" } },
        }),
        json!({
            "apiVersion": gateway_api,
            "kind": "Gateway",
            "metadata": { "name": "edge", "namespace": "infra", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": {
                "gatewayClassName": "ours",
                "addresses": [{ "type": "IPAddress", "value": "192.0.2.1" }, { "value": "2001:db8::1" }],
                "listeners": [
                    { "name": "db", "protocol": "TCP", "port": 1, "allowedRoutes": { "kinds": [{ "kind": "TCPRoute" }] } },
                    {
                        "name": "web",
                        "protocol": "HTTPS",
                        "port": 2,
                        "hostname": "*.example.com",
                        "tls": { "mode": "Terminate", "certificateRefs": [{ "name": "cert" }] },
                        "allowedRoutes": { "namespaces": { "from": "Selector", "selector": { "matchLabels": { "a": "b" } } } },
                    },
                ],
            },
        }),
        json!({
            "apiVersion": gateway_api,
            "kind": "ReferenceGrant",
            "metadata": { "name": "allow", "namespace": "shop" },
            "spec": {
                "from": [{ "group": "a.b", "kind": "C", "namespace": "d" }],
                "to": [{ "group": "", "kind": "Service", "name": "orders" }],
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": "orders", "namespace": "shop" },
            "spec": { "type": "ClusterIP", "ports": [{ "name": "db", "port": 1, "targetPort": "db", "protocol": "TCP" }] },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": { "name": "orders-1", "namespace": "shop" },
            "addressType": "IPv6",
            "ports": [{ "name": "db", "port": 1, "protocol": "TCP" }],
            "endpoints": [{ "addresses": ["fd00::1"], "conditions": { "ready": true }, "nodeName": "node-a" }],
        }),
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop", "labels": { "team": "shop" } } }),
    ]
}

/// Every place of a document, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| places(field, &format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

fn junk() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![0, 1, 80, 65_535, 65_536, 70_000, -1]).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        select(
            &["", "TCP", "UDP", "HTTP", "Terminate", "IPAddress", "Hostname", "a", "A.b", "*.c", "192.0.2.1"]
                [..]
        )
        .prop_map(Value::from),
    ];
    let field =
        prop_oneof![select(&["name", "port", "namespace", "kind", "protocol", "value"][..]), Just("unknown")];
    leaf.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((field.clone(), inner), 0..4).prop_map(|fields| fields
                .into_iter()
                .map(|(name, field)| (name.to_owned(), field))
                .collect()),
        ]
    })
}

/// A valid document with one place replaced, and the place.
fn spoilt() -> impl Strategy<Value = (Value, String)> {
    (select(valid()), any::<Index>(), junk()).prop_map(|(mut document, place, junk)| {
        let mut found = Vec::new();
        places(&document, "", &mut found);
        let place = found.swap_remove(place.index(found.len()));
        *document.pointer_mut(&place).expect("a place that was found") = junk;
        (document, place)
    })
}

#[test]
fn the_documents_are_valid() {
    for document in valid() {
        let admitted = admit(document.clone()).unwrap_or_else(|refusal| panic!("{document}: {refusal}"));
        assert_eq!(admitted.warnings, [], "{document}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is wrong has an answer that names it; nothing panics.
    #[test]
    fn a_refusal_says_what_is_wrong((document, place) in spoilt()) {
        for document in documents(document) {
            match admit(document) {
                Ok(admitted) => prop_assert!(!admitted.object.object_ref().name.is_empty()),
                Err(Refusal::Invalid { findings, .. }) => {
                    prop_assert!(!findings.is_empty(), "{place}");
                    for finding in findings {
                        prop_assert!(!finding.path.is_empty() && !finding.cause.is_empty() && !finding.fix.is_empty(), "{finding}");
                    }
                }
                Err(refusal) => prop_assert!(!refusal.to_string().is_empty()),
            }
        }
    }

    /// What was admitted once is admitted again as it is, with nothing left to drop or to fill in.
    #[test]
    fn admission_is_idempotent((document, _) in spoilt()) {
        let Ok(first) = admit(document) else { return Ok(()) };
        let again = admit(first.object.to_json().expect("JSON"));
        match again {
            Ok(again) => {
                prop_assert_eq!(again.object, first.object);
                prop_assert_eq!(again.warnings, []);
            }
            Err(refusal) => prop_assert!(false, "{}", refusal),
        }
    }
}
