//! The objects that stand for a Gateway or an XBackend in its namespace: their names, and what others have written into them.

mod behind;
mod made;
mod objects;

use std::num::NonZeroU16;

use gateway_agent_api::own::gateway_config::AddressMode;
use gateway_agent_api::{Kind, ObjectMeta, Service};
use gateway_agent_tables::{FrontendKey, ObjectName, Protocol};
use sha2::{Digest, Sha256};

use crate::Snapshot;
use crate::address::{Address, Asking};
use crate::gateway::Gateway;

pub(crate) use behind::behind;
pub(crate) use made::Made;
pub(crate) use objects::objects;

/// What the Service of type `LoadBalancer` in front of a Gateway has got.
pub(crate) fn balanced_addresses(asking: &Asking, snapshot: &Snapshot) -> Vec<Address> {
    let service = load_balancer(asking, snapshot);
    let status = service.and_then(|service| service.status.as_ref()?.load_balancer.as_ref());
    let ingress = status.into_iter().flat_map(|status| status.ingress.iter().flatten());
    ingress
        .filter_map(|ingress| {
            let ip = ingress.ip.as_deref().and_then(|ip| Address::parse("IPAddress", ip));
            ip.or_else(|| Address::parse("Hostname", ingress.hostname.as_deref()?))
        })
        .collect()
}

/// Where this node serves a listener behind a load balancer, which may send to the ports that the Service has on nodes.
pub(crate) fn balanced_frontends(
    gateway: &Gateway<'_>,
    (port, protocol): (NonZeroU16, Protocol),
    snapshot: &Snapshot,
) -> Vec<FrontendKey> {
    if gateway.asking.mode() != AddressMode::LoadBalancer {
        return Vec::new();
    }
    let service = load_balancer(&gateway.asking, snapshot);
    let port = service.and_then(|service| node_port(service, (port.get(), protocol)));
    let addresses = snapshot.node.gateway_addresses.iter();
    port.into_iter()
        .flat_map(|port| addresses.clone().map(move |&address| FrontendKey { address, port, protocol }))
        .collect()
}

/// The port that a Service has on nodes for one of its own.
fn node_port(service: &Service, (port, protocol): (u16, Protocol)) -> Option<NonZeroU16> {
    let name = protocol.to_string();
    let mut ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let port = ports.find(|it| {
        it.port == i32::from(port) && it.protocol.as_deref().unwrap_or("TCP").eq_ignore_ascii_case(&name)
    });
    u16::try_from(port?.node_port?).ok().and_then(NonZeroU16::new)
}

fn load_balancer<'s>(asking: &Asking, snapshot: &'s Snapshot) -> Option<&'s Service> {
    let name = load_balancer_name(asking);
    snapshot.named::<Service>(&name.namespace, &name.name).filter(|it| stands_for(it, &asking.gateway))
}

/// The headless Service.
fn service_name(asking: &Asking) -> ObjectName {
    named(asking, "")
}

/// The Service of type `LoadBalancer`.
pub(crate) fn load_balancer_name(asking: &Asking) -> ObjectName {
    named(asking, "-lb")
}

/// GATEWAY-CLASS, as GEP-1762 wants it, with an ending.
fn named(Asking { gateway, class, .. }: &Asking, ending: &str) -> ObjectName {
    let full = format!("{}-{class}{ending}", gateway.name);
    ObjectName { namespace: gateway.namespace.clone(), name: label(&full, ending) }
}

/// The name of what stands for an object and is to be used by nobody else: it can't be told before the object exists.
pub(crate) fn hidden_name(name: &str, uid: &str) -> String {
    label(&format!("{name}-{}", digest(uid)), "")
}

/// Of a label of DNS (RFC 1035) and of the value of a label of Kubernetes.
const LONGEST: usize = 63;

/// What may be the name of a Service (RFC 1035): the text itself, or the begin of it, a hash of all of it, and the ending.
fn label(text: &str, ending: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let starts_well = text.starts_with(|first: char| first.is_ascii_lowercase());
    if text.len() <= LONGEST && starts_well && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let hash = digest(text);
    let prefix = if starts_well { "" } else { "g-" };
    let room = LONGEST - prefix.len() - hash.len() - 1 - ending.len();
    let begin = text.trim_end_matches(ending).chars().map(|it| if it == '.' { '-' } else { it });
    let begin: String = begin.take(room).collect();
    format!("{prefix}{}-{hash}{ending}", begin.trim_end_matches('-'))
}

/// Ten hexadecimal digits: 40 bits.
fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(5).fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"))
}

/// Of Gateways, on what is made for them (GEP-1762).
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "gateway-agent");

/// On EndpointSlices of ours: those that Kubernetes makes for a Service of ours have the Service's labels, too.
const SLICES_MANAGED_BY: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "gateway-agent.io");

/// Whether an object was made for a Gateway or an XBackend.
pub fn is_infrastructure(kind: Kind, metadata: &ObjectMeta) -> bool {
    let labels =
        if kind == Kind::EndpointSlice { &[MANAGED_BY, SLICES_MANAGED_BY][..] } else { &[MANAGED_BY] };
    labels.iter().all(|(key, value)| {
        metadata.labels.as_ref().and_then(|labels| labels.get(*key)).is_some_and(|it| it == value)
    })
}

/// Whether a Service was made for the Gateway, and isn't somebody's own that happens to have its name.
fn stands_for(service: &Service, gateway: &ObjectName) -> bool {
    let label = service.metadata.labels.as_ref().and_then(|labels| labels.get(GATEWAY_NAME));
    label.is_some_and(|label| *label == label_value(&gateway.name))
}

/// A name as the value of a label, which may be as long as that of a Service but needs no letter first.
fn label_value(name: &str) -> String {
    if name.len() <= LONGEST { name.to_owned() } else { label(name, "") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_of_dns_and_tell_gateways_apart() {
        let long = "a".repeat(253);
        let cases = [
            ("edge-gateway-agent", "", "edge-gateway-agent"),
            ("edge-gateway-agent-lb", "-lb", "edge-gateway-agent-lb"),
            ("my.edge-gateway-agent", "", "my-edge-gateway-agent-"),
            ("9edge-gateway-agent", "", "g-9edge-gateway-agent-"),
            (long.as_str(), "", "aaaa"),
        ];
        for (text, ending, begin) in cases {
            let name = label(text, ending);
            assert!(
                name.len() <= LONGEST && name.starts_with(begin) && name.ends_with(ending),
                "{text}: {name}"
            );
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{name}");
        }
        assert_ne!(label(&long, ""), label(&long[1..], ""));
        assert_eq!(label_value("9.edge"), "9.edge");
        assert_eq!(label_value(&long).len(), LONGEST);
    }
}
