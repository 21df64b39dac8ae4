//! Ports that Services have on nodes: node ports, external addresses, and those of load balancers.

use std::num::NonZeroU16;

use gateway_agent_api::Service;
use gateway_agent_routing::{Snapshot, is_infrastructure};
use gateway_agent_tables::Protocol;

use super::{At, Held, Port};

/// Of all Services but those that stand for Gateways.
pub fn held(snapshot: &Snapshot) -> impl Iterator<Item = Held> {
    snapshot.all::<Service>().filter(|service| !is_infrastructure(&service.metadata)).flat_map(of_service)
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
        let mut snapshot = Snapshot::default();
        snapshot.insert(service(json!({ "app.kubernetes.io/managed-by": "gateway-agent" })).into());
        assert_eq!(held(&snapshot).count(), 0);
    }
}
