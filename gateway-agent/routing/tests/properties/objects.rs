//! Random objects of each kind.

use gateway_agent_api::Object;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::words::{
    ADDRESSES, HOSTS, NAMES, NAMESPACES, PORTS, api_version, document, metadata, name, namespace_name,
    object, port,
};

pub(crate) fn class() -> impl Strategy<Value = Object> {
    prop_oneof![
        9 => our_class(),
        1 => Just(object(document(
            "GatewayClass",
            &json!({ "name": "other" }),
            &json!({ "controllerName": "example.com/other" }),
        ))),
    ]
}

pub(crate) fn our_class() -> impl Strategy<Value = Object> {
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

pub(crate) fn gateway() -> impl Strategy<Value = Object> {
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

pub(crate) fn default_scope() -> impl Strategy<Value = Option<&'static str>> + Clone {
    prop_oneof![6 => Just(None), 2 => Just(Some("All")), 1 => Just(Some("None")), 1 => Just(Some("Odd"))]
}

/// A parametersRef that mostly leads to a GatewayConfig, without namespace.
pub(crate) fn parameters() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![12 => Just("GatewayConfig"), 1 => Just("Odd")];
    (name(), kind).prop_map(|(name, kind)| json!({ "group": "gateway-agent.io", "kind": kind, "name": name }))
}

pub(crate) fn config() -> impl Strategy<Value = Object> {
    let sharing = prop::option::weighted(0.8, select(&["Namespace", "Cluster", "Cluster"][..]));
    (metadata(), sharing, prop::option::of(1..9)).prop_map(|(metadata, sharing, flows)| {
        let spec = json!({ "addresses": { "sharing": sharing }, "kernel": { "flows": flows } });
        object(document("GatewayConfig", &metadata, &spec))
    })
}

pub(crate) fn listener() -> impl Strategy<Value = Value> {
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

pub(crate) fn listener_tls() -> impl Strategy<Value = Value> {
    let mode = prop::option::of(prop_oneof![
        4 => Just("Terminate"),
        4 => Just("Passthrough"),
        1 => Just("Unheard"),
    ]);
    (mode, prop::collection::vec(reference("Secret"), 0..3))
        .prop_map(|(mode, references)| json!({ "mode": mode, "certificateRefs": references }))
}

/// A reference that mostly leads to an object of this kind.
pub(crate) fn reference(kind: &'static str) -> impl Strategy<Value = Value> {
    let namespace = prop::option::weighted(0.3, namespace_name());
    let kind = prop_oneof![9 => Just(kind), 1 => Just("Odd")];
    (name(), namespace, kind).prop_map(
        |(name, namespace, kind)| json!({ "group": "", "kind": kind, "name": name, "namespace": namespace }),
    )
}

pub(crate) fn listener_set() -> impl Strategy<Value = Object> {
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

pub(crate) fn secret() -> impl Strategy<Value = Object> {
    let certificate = select(vec![
        json!({ "tls.crt": include_str!("../certificates/exact.crt"), "tls.key": include_str!("../certificates/exact.key") }),
        json!({ "tls.crt": include_str!("../certificates/chained.crt"), "tls.key": include_str!("../certificates/exact.key") }),
        json!({ "tls.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "tls.key": "" }),
        json!({ "ca.crt": include_str!("../certificates/root.crt") }),
    ]);
    (metadata(), certificate).prop_map(|(metadata, data)| {
        object(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data }))
    })
}

pub(crate) fn policy() -> impl Strategy<Value = Object> {
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

pub(crate) fn route() -> impl Strategy<Value = Object> {
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

pub(crate) fn backends(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Value>> {
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
pub(crate) fn named_port() -> impl Strategy<Value = Value> {
    let protocol = prop_oneof![12 => Just("TCP"), 3 => Just("UDP"), 1 => Just("SCTP")];
    (port(), protocol, prop::option::weighted(0.1, name()))
        .prop_map(|(port, protocol, name)| json!({ "port": port, "protocol": protocol, "name": name }))
}

pub(crate) fn service() -> impl Strategy<Value = Object> {
    let kind = prop_oneof![9 => Just("ClusterIP"), 1 => Just("ExternalName")];
    (metadata(), prop::collection::vec(named_port(), 1..3), kind).prop_map(|(metadata, ports, kind)| {
        object(document("Service", &metadata, &json!({ "ports": ports, "type": kind })))
    })
}

pub(crate) fn experimental() -> impl Strategy<Value = Object> {
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

pub(crate) fn slice() -> impl Strategy<Value = Object> {
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

pub(crate) fn grant() -> impl Strategy<Value = Object> {
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

pub(crate) fn namespace() -> impl Strategy<Value = Object> {
    (select(&NAMESPACES), prop::option::of(select(&["x", "y"][..]))).prop_map(|(name, team)| {
        let labels = team.map(|team| json!({ "team": team }));
        object(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": labels },
        }))
    })
}
