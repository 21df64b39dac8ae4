//! Admission of documents: what each kind of mistake is answered with.

use gateway_agent_api::admission::{Admitted, Refusal, admit, documents};
use gateway_agent_api::gateway::GatewayListenersAllowedRoutesNamespacesFrom;
use gateway_agent_api::{Gateway, Object, ObjectRef, Secret, Service, TcpRoute, Typed};
use serde_json::{Value, json};

fn gateway() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "edge", "namespace": "infra" },
        "spec": {
            "gatewayClassName": "gateway-agent",
            "listeners": [{ "name": "db", "protocol": "TCP", "port": 5432 }],
        },
    })
}

fn route() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "TCPRoute",
        "metadata": { "name": "orders", "namespace": "shop" },
        "spec": {
            "parentRefs": [{ "name": "edge" }],
            "rules": [{ "backendRefs": [{ "name": "orders", "port": 5432 }] }],
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "orders", "namespace": "shop" },
        "spec": { "ports": [{ "port": 5432 }] },
    })
}

fn slice() -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": "orders-1", "namespace": "shop" },
        "addressType": "IPv4",
        "ports": [{ "port": 5432 }],
        "endpoints": [{ "addresses": ["10.0.0.1"] }],
    })
}

/// The document with the value at a JSON pointer replaced; a last part that doesn't exist is added.
fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    if let Some(place) = document.pointer_mut(pointer) {
        *place = value;
        return document;
    }
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    // RFC 6901, section 3.
    document.pointer_mut(parent).expect("the parent exists")[name.replace("~1", "/")] = value;
    document
}

fn admitted(document: Value) -> Admitted {
    admit(document).unwrap_or_else(|refusal| panic!("refused: {refusal}"))
}

fn typed<T: Typed>(object: &Object) -> &T {
    T::of(object).expect("an object of this kind")
}

#[test]
fn mistakes_are_named_with_path_cause_and_fix() {
    let listener = gateway()["spec"]["listeners"][0].clone();
    let cases = [
        (
            with(gateway(), "/spec/listeners/0/port", json!(70000)),
            "spec.listeners[0].port",
            "70000 is out of range",
        ),
        (with(gateway(), "/spec/listeners/0/port", json!(0)), "spec.listeners[0].port", "0 is out of range"),
        (
            with(gateway(), "/spec/listeners/0/port", json!("80")),
            "spec.listeners[0].port",
            "\"80\" where an integer is due",
        ),
        (with(gateway(), "/spec/listeners", json!({})), "spec.listeners", "a mapping where a list is due"),
        (with(gateway(), "/spec/listeners", json!([])), "spec.listeners", "0 items where at least 1 are due"),
        (with(gateway(), "/spec", json!({})), "spec.gatewayClassName", "required but missing"),
        (
            with(gateway(), "/spec/listeners", json!([listener, listener])),
            "spec.listeners[1]",
            "same name as item 0",
        ),
        (
            with(
                gateway(),
                "/spec/listeners/0/allowedRoutes",
                json!({ "namespaces": { "from": "Everyone" } }),
            ),
            "spec.listeners[0].allowedRoutes.namespaces.from",
            "\"Everyone\" is not a known value",
        ),
        (
            with(gateway(), "/spec/addresses", json!([{ "value": "300.1.1.1" }])),
            "spec.addresses[0].value",
            "\"300.1.1.1\" is no IPv4 address",
        ),
        (
            with(gateway(), "/metadata/name", json!("Edge!")),
            "metadata.name",
            "\"Edge!\" is no DNS-1123 subdomain",
        ),
        (
            with(gateway(), "/metadata/namespace", json!("in.fra")),
            "metadata.namespace",
            "\"in.fra\" is no DNS-1123 label",
        ),
        (with(gateway(), "/metadata/labels", json!({ "a": 1 })), "metadata.labels.a", "invalid type"),
        (
            with(gateway(), "/metadata/creationTimestamp", json!("yesterday")),
            "metadata.creationTimestamp",
            "failed to parse",
        ),
        (
            with(route(), "/spec/rules/0/backendRefs/0/weight", json!(1_000_001)),
            "spec.rules[0].backendRefs[0].weight",
            "1000001 is out of range",
        ),
        (
            with(route(), "/spec/rules/0/backendRefs/0/weight", json!(1.5)),
            "spec.rules[0].backendRefs[0].weight",
            "1.5 where an integer is due",
        ),
        (with(route(), "/spec/rules", json!([{}, {}])), "spec.rules", "2 items where at most 1 are allowed"),
        (with(service(), "/spec/ports/0/port", json!(70000)), "spec.ports[0].port", "70000 is no port"),
        (with(service(), "/spec/ports/0/port", json!("http")), "spec.ports[0].port", "invalid type"),
        (with(service(), "/spec/ports/0/targetPort", json!(0)), "spec.ports[0].targetPort", "0 is no port"),
        (
            with(service(), "/spec/ports/0/targetPort", json!("No Port")),
            "spec.ports[0].targetPort",
            "neither a port number nor a port's name",
        ),
        (
            with(service(), "/spec/ports/0/protocol", json!("tcp")),
            "spec.ports[0].protocol",
            "no protocol of a port",
        ),
        (with(service(), "/metadata/name", json!("9lives")), "metadata.name", "no DNS-1035 label"),
        (with(slice(), "/ports/0/port", json!(-1)), "ports[0].port", "-1 is no port"),
        (
            with(slice(), "/endpoints/0/addresses/0", json!("fd00::1")),
            "endpoints[0].addresses[0]",
            "\"fd00::1\" is no IPv4 address",
        ),
        (
            with(slice(), "/endpoints/0/addresses/0", json!("127.0.0.1")),
            "endpoints[0].addresses[0]",
            "loopback",
        ),
        (with(slice(), "/addressType", json!("IPv5")), "addressType", "\"IPv5\" is no address type"),
    ];
    for (document, path, cause) in cases {
        let Err(Refusal::Invalid { object, findings }) = admit(document.clone()) else {
            panic!("{path}: admitted {document}")
        };
        assert!(!object.name.is_empty());
        assert!(
            findings.iter().any(|it| it.path == path && it.cause.contains(cause) && !it.fix.is_empty()),
            "{path}: {cause}: {findings:#?}"
        );
    }
}

#[test]
fn the_crds_own_rules_are_checked() {
    let second = json!({ "name": "also-db", "protocol": "TCP", "port": 5432 });
    let mut same_port = gateway();
    same_port["spec"]["listeners"].as_array_mut().expect("a list").push(second);
    let twice = json!([{ "name": "edge", "namespace": "a" }, { "name": "edge", "namespace": "a" }]);
    let apart = json!([{ "name": "edge", "namespace": "a" }, { "name": "edge", "namespace": "b" }]);
    let by_port = json!([{ "name": "edge", "port": 1 }, { "name": "edge", "port": 2 }]);
    let cases = [
        (same_port, Some("Combination of port, protocol and hostname must be unique")),
        (
            with(gateway(), "/spec/listeners/0/hostname", json!("a.example")),
            Some("hostname must not be specified"),
        ),
        (
            with(gateway(), "/spec/listeners/0/tls", json!({ "mode": "Passthrough" })),
            Some("tls must not be specified"),
        ),
        (with(route(), "/spec/parentRefs", twice), Some("sectionName or port must be")),
        (with(route(), "/spec/parentRefs", apart), None),
        (with(route(), "/spec/parentRefs", by_port), None),
        (
            with(route(), "/spec/rules/0/backendRefs", json!([{ "name": "orders" }])),
            Some("Must have port for Service reference"),
        ),
        (gateway(), None),
    ];
    for (document, message) in cases {
        match (admit(document.clone()), message) {
            (Ok(_), None) => {}
            (Err(Refusal::Invalid { findings, .. }), Some(message)) => {
                assert!(findings.iter().any(|it| it.cause.contains(message)), "{message}: {findings:#?}");
            }
            (outcome, message) => panic!("{document}: wanted {message:?}, got {outcome:?}"),
        }
    }
}

/// Each message names the setting, what is wrong with it, and a way out.
#[test]
fn settings_are_checked() {
    let limits = |limits: Value| json!({ "http": { "limits": limits } });
    let timeouts = |timeouts: Value| json!({ "http": { "timeouts": timeouts } });
    let cases = [
        (
            json!({ "addresses": { "mode": "Nodes" } }),
            "addresses.mode: \"Nodes\" is not a known value (use one of ",
        ),
        (
            json!({ "addresses": { "pools": [{ "name": "a", "ranges": ["x"] }] } }),
            "addresses.pools[0].ranges[0]: \"x\" does not match ",
        ),
        (
            json!({ "http": { "trustedHops": -1 } }),
            "http.trustedHops: -1 is out of range (use a number from 0 to 16)",
        ),
        (
            json!({ "http": { "paths": { "encodedSlashes": "Drop" } } }),
            "http.paths.encodedSlashes: \"Drop\" is not a known value (use one of Keep, Decode, Refuse)",
        ),
        (
            limits(json!({ "headBytes": 10 })),
            "http.limits.headBytes: 10 is out of range (use a number from 1024 to 262144)",
        ),
        (
            limits(json!({ "headFields": 1000 })),
            "http.limits.headFields: 1000 is out of range (use a number from 1 to 200)",
        ),
        (limits(json!({ "bodyBytes": 0 })), "http.limits.bodyBytes: 0 is out of range (use 1 or more)"),
        (
            limits(json!({ "streams": 0 })),
            "http.limits.streams: 0 is out of range (use a number from 1 to 1000)",
        ),
        (
            limits(json!({ "connections": "many" })),
            "http.limits.connections: \"many\" where an integer is due (write an integer)",
        ),
        (
            timeouts(json!({ "stall": "forever" })),
            "http.timeouts.stall: \"forever\" is no span of time (write one such as 1h30m, 10s or 500ms)",
        ),
        (timeouts(json!({ "head": "1ms" })), "http.timeouts.head: a time-out must be from 100ms to 720h"),
        (
            json!({ "telemetry": { "maxSeries": 5000 } }),
            "telemetry.maxSeries: 5000 is out of range (use a number from 1 to 3000)",
        ),
        (
            json!({ "telemetry": { "accessLog": { "sampleOneIn": 0 } } }),
            "telemetry.accessLog.sampleOneIn: 0 is out of range (use a number from 1 to 1000000)",
        ),
    ];
    for (spec, message) in cases {
        let Err(Refusal::Invalid { findings, .. }) = admit(config(&spec)) else {
            panic!("{message}: admitted")
        };
        let [finding] = &findings[..] else { panic!("{message}: {findings:#?}") };
        let finding = finding.to_string();
        assert!(finding.starts_with(&format!("spec.{message}")), "{message}: {finding}");
    }
}

/// It is dropped, as the API server does, but said.
#[test]
fn settings_that_are_not_known_are_told() {
    let admitted = admitted(config(&json!({ "http": { "limits": { "headSize": 4096 } } })));
    let warnings: Vec<_> = admitted.warnings.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(warnings, ["spec.http.limits.headSize"]);
}

fn config(spec: &Value) -> Value {
    json!({
        "apiVersion": "gateway-agent.io/v1alpha1",
        "kind": "GatewayConfig",
        "metadata": { "name": "ours", "namespace": "infra" },
        "spec": spec,
    })
}

#[test]
fn unknown_fields_are_dropped_and_reported() {
    let cases = [
        (with(gateway(), "/spec/listeners/0/prot", json!(1)), "spec.listeners[0].prot"),
        (with(gateway(), "/specs", json!({})), "specs"),
        (with(gateway(), "/metadata/lables", json!({})), "metadata.lables"),
        (with(service(), "/spec/prots", json!([])), "spec.prots"),
        (with(service(), "/spec/ports/0/tragetPort", json!(1)), "spec.ports[0].tragetPort"),
    ];
    for (document, path) in cases {
        let warnings = admitted(document).warnings;
        assert_eq!(warnings.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), [path]);
    }
}

#[test]
fn what_an_api_server_has_stored_is_no_misspelling() {
    let stored = |document: Value, pointer: &str| {
        with(with(document, "/metadata/uid", json!("0-1-2")), pointer, json!(1))
    };
    let warnings = admitted(stored(gateway(), "/spec/listeners/0/next")).warnings;
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].cause, "unknown to this version, has no effect");
    assert_eq!(admitted(stored(service(), "/spec/next")).warnings, []);
}

#[test]
fn a_secrets_texts_become_data() {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "cert", "namespace": "shop" },
        "type": "kubernetes.io/tls",
        "data": { "tls.crt": "YQ==", "tls.key": "Yg==" },
        "stringData": { "tls.key": "c" },
    });
    let object = admitted(secret.clone()).object;
    let bytes = |key: &str| typed::<Secret>(&object).data.as_ref().expect("data")[key].0.clone();
    assert_eq!((bytes("tls.crt"), bytes("tls.key")), (b"a".to_vec(), b"c".to_vec()));

    let cases = [
        (with(secret.clone(), "/data", json!({})), "data[tls.crt]", "lacks it"),
        (with(secret.clone(), "/data/a~1b", json!("YQ==")), "data[a/b]", "is no key"),
        (with(secret, "/data/tls.crt", json!("?")), "data.tls.crt", "Invalid symbol"),
    ];
    for (document, path, cause) in cases {
        let Err(Refusal::Invalid { findings, .. }) = admit(document) else { panic!("{path}: admitted") };
        assert!(
            findings.iter().any(|it| it.path == path && it.cause.contains(cause)),
            "{path}: {findings:#?}"
        );
    }
}

#[test]
fn values_of_a_later_release_stay_in_their_place() {
    let from = "/spec/listeners/0/allowedRoutes";
    let document = with(gateway(), from, json!({ "namespaces": { "from": "Friends" } }));
    let mut unknown = Vec::new();
    let object = Object::decode(Gateway::KIND, document, &mut |path| unknown.push(path)).expect("an object");
    let gateway: &Gateway = typed(&object);
    let allowed =
        gateway.spec.listeners[0].allowed_routes.as_ref().and_then(|routes| routes.namespaces.as_ref());
    let expected = GatewayListenersAllowedRoutesNamespacesFrom::Unknown("Friends".to_owned());
    assert_eq!(allowed.and_then(|namespaces| namespaces.from.as_ref()), Some(&expected));
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn defaults_are_filled_in() {
    let object = admitted(with(route(), "/metadata", json!({ "name": "orders" }))).object;
    assert_eq!(object.object_ref().to_string(), "TCPRoute default/orders");
    let route: &TcpRoute = typed(&object);
    let parent = &route.spec.parent_refs.as_ref().expect("parentRefs")[0];
    assert_eq!(parent.kind.as_deref(), Some("Gateway"));
    assert_eq!(parent.group.as_deref(), Some("gateway.networking.k8s.io"));
    assert_eq!(route.spec.rules[0].backend_refs[0].weight, Some(1));

    let object = admitted(gateway()).object;
    let gateway: &Gateway = typed(&object);
    let allowed = gateway.spec.listeners[0].allowed_routes.as_ref().expect("allowedRoutes");
    assert!(allowed.namespaces.as_ref().is_some_and(|namespaces| namespaces.from.is_some()));

    let object = admitted(service()).object;
    let service: &Service = typed(&object);
    let port = &service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).expect("ports")[0];
    assert_eq!(port.protocol.as_deref(), Some("TCP"));
    assert!(port.target_port.is_some());
}

#[test]
fn a_null_counts_as_absent() {
    let document = with(gateway(), "/spec/addresses", Value::Null);
    assert_eq!(admitted(document).object, admitted(gateway()).object);
    let document = with(gateway(), "/metadata/namespace", Value::Null);
    assert_eq!(admitted(document).object.object_ref().to_string(), "Gateway default/edge");
    let document = with(service(), "/spec/ports/0/protocol", Value::Null);
    assert_eq!(admitted(document).object, admitted(service()).object);
}

#[test]
fn a_status_in_a_file_is_not_ours_to_read() {
    let document = with(gateway(), "/status", json!({ "listeners": 3 }));
    assert_eq!(admitted(document).object, admitted(gateway()).object);
}

#[test]
fn older_served_versions_have_the_same_type() {
    let old = with(gateway(), "/apiVersion", json!("gateway.networking.k8s.io/v1beta1"));
    assert_eq!(admitted(old).object, admitted(gateway()).object);
    let old = with(route(), "/apiVersion", json!("gateway.networking.k8s.io/v1alpha2"));
    assert_eq!(admitted(old).object, admitted(route()).object);
}

#[test]
fn what_is_not_read_is_told_apart() {
    let deployment =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "orders" } });
    let refusal = admit(deployment).expect_err("not read");
    assert!(!refusal.is_error());
    assert_eq!(refusal.to_string(), "apps/v1 Deployment orders is not read");

    let refusal =
        admit(with(gateway(), "/apiVersion", json!("gateway.networking.k8s.io/v3"))).expect_err("no version");
    assert!(refusal.is_error());
    assert_eq!(
        refusal.to_string(),
        "Gateway infra/edge has version v3, which is not read; use v1 or v1beta1"
    );

    let malformed = [
        (json!(null), ""),
        (json!([1]), ""),
        (json!({ "kind": "Gateway" }), "apiVersion"),
        (json!({ "apiVersion": "v1" }), "kind"),
        (json!({ "apiVersion": "v1", "kind": "Service" }), "metadata.name"),
        (json!({ "apiVersion": "v1", "kind": "Service", "metadata": 3 }), "metadata.name"),
    ];
    for (document, path) in malformed {
        let Err(Refusal::Malformed(finding)) = admit(document.clone()) else { panic!("{document}") };
        assert_eq!(finding.path, path);
    }
}

#[test]
fn a_refusal_names_the_object() {
    let refusal = admit(with(gateway(), "/spec/listeners/0/port", json!(70000))).expect_err("out of range");
    assert_eq!(refusal.object(), Some(&ObjectRef::new(Gateway::KIND, "infra", "edge")));
    assert_eq!(
        refusal.to_string(),
        "Gateway infra/edge: spec.listeners[0].port: 70000 is out of range (use a number from 1 to 65535)"
    );
}

#[test]
fn lists_are_taken_apart() {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [gateway(), { "kind": "TCPRouteList", "items": [route()] }] });
    assert_eq!(documents(list), [gateway(), route()]);
    assert_eq!(documents(gateway()), [gateway()]);
    assert_eq!(documents(json!(3)), [json!(3)]);
}

#[test]
fn objects_are_shown_as_they_were_written() {
    let document = with(service(), "/spec/ports/0", json!({ "port": 1, "protocol": "UDP", "targetPort": 2 }));
    assert_eq!(admitted(document.clone()).object.to_json().expect("JSON"), document);
    let shown = admitted(gateway()).object.to_json().expect("JSON");
    assert_eq!((&shown["apiVersion"], &shown["kind"]), (&gateway()["apiVersion"], &gateway()["kind"]));
}
