//! Random clusters: objects of all kinds, as one node sees them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use gateway_agent_api::Object;
use gateway_agent_routing::{Minutes, Node, Snapshot};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::objects::*;
use crate::words::{ADDRESSES, NAMES, NAMESPACES, PORTS, document, object};

/// In June 2026, when the certificates are valid.
pub(crate) const NOW: Minutes = Minutes(29_674_080);

pub(crate) fn node() -> Node {
    Node {
        name: "node-a".to_owned(),
        addresses: ADDRESSES[..3].iter().map(|text| address(text)).collect(),
        gateway_addresses: vec![address(ADDRESSES[0]), address(ADDRESSES[2])],
        ..Node::default()
    }
}

pub(crate) fn snapshot<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Snapshot {
    let mut snapshot = Snapshot::new(node());
    snapshot.served = gateway_agent_routing::Service::ALL.into();
    snapshot.now = Some(NOW);
    for object in objects {
        snapshot.insert(object.clone());
    }
    snapshot
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Objects of all kinds, each name once.
pub(crate) fn cluster() -> impl Strategy<Value = Vec<Object>> {
    let some = |least| least..least + 4_usize;
    let configured = (
        prop::collection::vec(class(), some(1)),
        prop::collection::vec(gateway(), some(1)),
        prop::collection::vec(route(), some(2)),
        prop::collection::vec(grant(), some(0)),
    );
    let further = (
        prop::collection::vec(listener_set(), some(0)),
        prop::collection::vec(secret(), some(1)),
        prop::collection::vec(policy(), some(0)),
        prop::collection::vec(config(), some(1)),
        prop::collection::vec(experimental(), some(0)),
    );
    let observed = (
        prop::collection::vec(service(), some(3)),
        prop::collection::vec(slice(), some(3)),
        prop::collection::vec(namespace(), some(0)),
    );
    (configured, further, observed).prop_map(
        |((classes, gateways, routes, grants), further, (services, slices, namespaces))| {
            let (sets, secrets, policies, configs, experimental) = further;
            let mut seen = BTreeSet::new();
            [
                classes,
                configs,
                gateways,
                sets,
                routes,
                grants,
                policies,
                secrets,
                services,
                slices,
                namespaces,
                experimental,
            ]
            .into_iter()
            .flatten()
            .filter(|object| seen.insert(object.object_ref()))
            .collect()
        },
    )
}

/// Any object that a cluster may have.
pub(crate) fn any_object() -> impl Strategy<Value = Object> {
    prop_oneof![
        1 => class(),
        4 => gateway(),
        8 => route(),
        2 => grant(),
        2 => listener_set(),
        2 => secret(),
        3 => policy(),
        2 => experimental(),
        1 => config(),
        4 => service(),
        4 => slice(),
        2 => namespace(),
    ]
}

/// Gateways of two namespaces that want the same port by host name.
pub(crate) fn rivals() -> impl Strategy<Value = Vec<Object>> {
    let configs = prop::collection::vec(config(), 1..4);
    let gateways = prop::collection::vec((gateway(), select(&NAMESPACES)), 2..6);
    (configs, gateways).prop_map(|(configs, gateways)| {
        let parameters = json!({
            "group": "gateway-agent.io", "kind": "GatewayConfig", "namespace": NAMESPACES[0], "name": NAMES[0],
        });
        let spec = json!({ "controllerName": "gateway-agent.io/controller", "parametersRef": parameters });
        let class = object(document("GatewayClass", &json!({ "name": "gateway-agent" }), &spec));
        let gateways = gateways.into_iter().map(|(gateway, namespace)| {
            let mut json = gateway.to_json().expect("JSON");
            json["metadata"]["namespace"] = namespace.into();
            json["spec"]["addresses"] = json!([]);
            for listener in json["spec"]["listeners"].as_array_mut().expect("listeners") {
                listener["protocol"] = "HTTP".into();
                listener["port"] = PORTS[0].into();
                listener["tls"] = Value::Null;
            }
            object(json)
        });
        let mut seen = BTreeSet::new();
        let objects = configs.into_iter().chain(gateways).chain([class]);
        objects.filter(|object| seen.insert(object.object_ref())).collect()
    })
}
