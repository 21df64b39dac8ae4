//! The objects that stand for a Gateway in its namespace.

use std::num::NonZeroU16;

use gateway_agent_api::Service;
use gateway_agent_api::own::gateway_config::AddressMode;
use gateway_agent_tables::{FrontendKey, ObjectName, Protocol};
use k8s_openapi::api::core::v1::ServicePort;
use sha2::{Digest, Sha256};

use crate::Snapshot;
use crate::address::Address;
use crate::gateway::Gateway;

/// What the Service of type `LoadBalancer` in front of a Gateway has got.
pub(crate) fn balanced_addresses(gateway: &Gateway<'_>, snapshot: &Snapshot) -> Vec<Address> {
    let name = load_balancer_name(gateway);
    let service = snapshot.named::<Service>(&name.namespace, &name.name).filter(|it| stands_for(it, gateway));
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
    if gateway.settings.address_mode() != AddressMode::LoadBalancer {
        return Vec::new();
    }
    let name = load_balancer_name(gateway);
    let service = snapshot.named::<Service>(&name.namespace, &name.name).filter(|it| stands_for(it, gateway));
    let ports = service
        .into_iter()
        .flat_map(|service| service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()));
    let name = protocol.to_string();
    let is_ours = |it: &&ServicePort| {
        it.port == i32::from(port.get())
            && it.protocol.as_deref().unwrap_or("TCP").eq_ignore_ascii_case(&name)
    };
    let node_ports =
        ports.filter(is_ours).filter_map(|it| u16::try_from(it.node_port?).ok().and_then(NonZeroU16::new));
    let addresses = &snapshot.node.gateway_addresses;
    node_ports
        .flat_map(|port| addresses.iter().map(move |&address| FrontendKey { address, port, protocol }))
        .collect()
}

/// The Service of type `LoadBalancer`.
pub(crate) fn load_balancer_name(gateway: &Gateway<'_>) -> ObjectName {
    named(gateway, "-lb")
}

/// GATEWAY-CLASS, as GEP-1762 wants it, with an ending.
fn named(gateway: &Gateway<'_>, ending: &str) -> ObjectName {
    let full = format!("{}-{}{ending}", gateway.name.name, gateway.spec.gateway_class_name);
    ObjectName { namespace: gateway.name.namespace.clone(), name: label(&full, ending) }
}

/// What may be the name of a Service (RFC 1035): the text itself, or the begin of it, a hash of all of it, and the ending.
fn label(text: &str, ending: &str) -> String {
    const LONGEST: usize = 63;
    /// Of the hash, in hexadecimal digits: 40 bits.
    const HASH: usize = 10;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let starts_well = text.starts_with(|first: char| first.is_ascii_lowercase());
    if text.len() <= LONGEST && starts_well && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let digest = Sha256::digest(text);
    let hash = digest.iter().take(HASH / 2).fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
    let prefix = if starts_well { "" } else { "g-" };
    let room = LONGEST - prefix.len() - HASH - 1 - ending.len();
    let begin = text.trim_end_matches(ending).chars().map(|it| if it == '.' { '-' } else { it });
    let begin: String = begin.take(room).collect();
    format!("{prefix}{}-{hash}{ending}", begin.trim_end_matches('-'))
}

/// Of Gateways, on what is made for them (GEP-1762).
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "gateway-agent");

/// Whether a Service stands for a Gateway of ours.
pub fn is_infrastructure(service: &Service) -> bool {
    let label = service.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY.0));
    label.is_some_and(|label| label == MANAGED_BY.1)
}

/// Whether a Service was made for the Gateway, and isn't somebody's own that happens to have its name.
fn stands_for(service: &Service, gateway: &Gateway<'_>) -> bool {
    let label = service.metadata.labels.as_ref().and_then(|labels| labels.get(GATEWAY_NAME));
    label.is_some_and(|label| *label == label_value(&gateway.name.name))
}

/// A name as the value of a label.
fn label_value(name: &str) -> String {
    label(name, "")
}
