//! Ports that Services have on nodes: node ports, external addresses, and those of load balancers.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use gateway_agent_api::{Kind, ObjectRef, Service, Typed as _};
use gateway_agent_routing::{Snapshot, is_infrastructure};
use gateway_agent_tables::Protocol;

use super::{At, Held, Port};

/// The Services that have any, but for those that stand for Gateways.
#[derive(Debug, Default)]
pub(super) struct Services(BTreeMap<ObjectRef, Vec<Held>>);

impl Services {
    /// Looks at those that may have changed. True if they have other ports now.
    pub(super) fn look(&mut self, snapshot: &Snapshot, changed: &BTreeSet<ObjectRef>) -> bool {
        let mut differs = false;
        for name in changed.iter().filter(|object| object.kind == Kind::Service) {
            let service = snapshot.find(name).and_then(Service::of);
            let service = service.filter(|service| !is_infrastructure(Kind::Service, &service.metadata));
            let held = service.map(of_service).unwrap_or_default();
            differs |= self.0.get(name).map(Vec::as_slice).unwrap_or_default() != held;
            if held.is_empty() {
                self.0.remove(name);
            } else {
                self.0.insert(name.clone(), held);
            }
        }
        differs
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.0.values().flatten()
    }
}

fn of_service(service: &Service) -> Vec<Held> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let balanced = status.into_iter().flat_map(|status| status.ingress.iter().flatten());
    let balanced = balanced.filter_map(|ingress| ingress.ip.as_ref());
    let external = spec.external_ips.iter().flatten();
    let addresses: Vec<_> = external
        .map(|address| (address, "an external address"))
        .chain(balanced.map(|address| (address, "a load balancer's address")))
        .filter_map(|(address, what)| Some((At::One(address.parse().ok()?), what)))
        .collect();
    let name = |what: &str| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{what} of Service {}/{}", text(&service.metadata.namespace), text(&service.metadata.name))
    };
    let mut held = Vec::new();
    for port in spec.ports.iter().flatten() {
        let on = |number: Option<i32>| port_of(number?, port.protocol.as_deref());
        held.extend(on(port.node_port).map(|port| Held { at: At::All, port, by: name("a NodePort") }));
        let at = |(at, what): &(At, &str)| Some(Held { at: *at, port: on(Some(port.port))?, by: name(what) });
        held.extend(addresses.iter().filter_map(at));
    }
    held
}

fn port_of(number: i32, protocol: Option<&str>) -> Option<Port> {
    let protocol = match protocol.unwrap_or("TCP") {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => return None,
    };
    Some((u16::try_from(number).ok().and_then(NonZeroU16::new)?, protocol))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_have_node_ports_and_addresses() {
        let service = |labels: serde_json::Value| -> Service {
            serde_json::from_value(json!({
                "metadata": { "namespace": "shop", "name": "web", "labels": labels },
                "spec": {
                    "externalIPs": ["10.0.0.1"],
                    "ports": [
                        { "port": 80, "nodePort": 30080 },
                        { "port": 53, "protocol": "UDP" },
                        { "port": 5060, "protocol": "SCTP", "nodePort": 30081 },
                    ],
                },
                "status": { "loadBalancer": { "ingress": [{ "ip": "203.0.113.7" }, { "hostname": "x" }] } },
            }))
            .unwrap()
        };
        let show = |it: Held| format!("{:?} {}/{} {}", it.at, it.port.0, it.port.1, it.by);
        assert_eq!(
            of_service(&service(json!({}))).into_iter().map(show).collect::<Vec<_>>(),
            [
                "All 30080/tcp a NodePort of Service shop/web",
                "One(10.0.0.1) 80/tcp an external address of Service shop/web",
                "One(203.0.113.7) 80/tcp a load balancer's address of Service shop/web",
                "One(10.0.0.1) 53/udp an external address of Service shop/web",
                "One(203.0.113.7) 53/udp a load balancer's address of Service shop/web",
            ]
        );
        let (mut snapshot, mut services) = (Snapshot::default(), Services::default());
        let mut look = |labels: serde_json::Value| {
            snapshot.insert(service(labels).into());
            let name = ObjectRef::new(Kind::Service, "shop", "web");
            (services.look(&snapshot, &BTreeSet::from([name])), services.held().count())
        };
        assert_eq!(look(json!({})), (true, 5));
        assert_eq!(look(json!({ "app": "web" })), (false, 5));
        assert_eq!(look(json!({ "app.kubernetes.io/managed-by": "gateway-agent" })), (true, 0));
    }
}
