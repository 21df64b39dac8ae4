//! What ids stand for, as JSON in the map `labels`: for `stats` without an agent, and for an agent that takes over.

use std::net::IpAddr;
use std::num::NonZeroU16;

use aya::maps::{HashMap, MapData, MapError};
use gateway_agent_tables::{
    Family, FrontendKey, ListenerName, ObjectName, Protocol, RouteKind, RouteName, ServicePort,
};
use gateway_common::maps::{LABEL_BYTES, Label, LabelKey, LabelKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Of a frontend id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FrontendLabel {
    pub(crate) address: IpAddr,
    pub(crate) port: NonZeroU16,
    pub(crate) protocol: ProtocolName,
    pub(crate) gateway: String,
    pub(crate) listener: String,
}

/// Of a backend id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackendLabel {
    /// Id of the frontend.
    pub(crate) frontend: u32,
    pub(crate) kind: RouteKindName,
    pub(crate) namespace: String,
    pub(crate) route: String,
    pub(crate) rule: u16,
    pub(crate) backend: String,
    /// Which of the rule's backends of this name.
    pub(crate) nth: u16,
    pub(crate) weight: u32,
}

/// Of a ring id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RingLabel {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: NonZeroU16,
    pub(crate) protocol: ProtocolName,
    pub(crate) family: FamilyName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProtocolName {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FamilyName {
    Ipv4,
    Ipv6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RouteKindName {
    #[serde(rename = "TCPRoute")]
    Tcp,
    #[serde(rename = "TLSRoute")]
    Tls,
    #[serde(rename = "UDPRoute")]
    Udp,
}

impl FrontendLabel {
    pub(crate) fn new(key: &FrontendKey, listener: &ListenerName) -> Self {
        Self {
            address: key.address,
            port: key.port,
            protocol: key.protocol.into(),
            gateway: listener.gateway.to_string(),
            listener: listener.listener.clone(),
        }
    }
}

impl BackendLabel {
    pub(crate) fn route(&self) -> RouteName {
        RouteName {
            kind: match self.kind {
                RouteKindName::Tcp => RouteKind::Tcp,
                RouteKindName::Tls => RouteKind::Tls,
                RouteKindName::Udp => RouteKind::Udp,
            },
            object: ObjectName { namespace: self.namespace.clone(), name: self.route.clone() },
            rule: self.rule,
        }
    }
}

impl From<RouteKind> for RouteKindName {
    fn from(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Tcp => Self::Tcp,
            RouteKind::Tls => Self::Tls,
            RouteKind::Udp => Self::Udp,
        }
    }
}

impl From<Protocol> for ProtocolName {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

impl From<ProtocolName> for Protocol {
    fn from(name: ProtocolName) -> Self {
        match name {
            ProtocolName::Tcp => Self::Tcp,
            ProtocolName::Udp => Self::Udp,
        }
    }
}

impl From<&ServicePort> for RingLabel {
    fn from(port: &ServicePort) -> Self {
        Self {
            namespace: port.service.namespace.clone(),
            service: port.service.name.clone(),
            port: port.port,
            protocol: port.protocol.into(),
            family: match port.family {
                Family::V4 => FamilyName::Ipv4,
                Family::V6 => FamilyName::Ipv6,
            },
        }
    }
}

impl From<RingLabel> for ServicePort {
    fn from(label: RingLabel) -> Self {
        Self {
            service: ObjectName { namespace: label.namespace, name: label.service },
            port: label.port,
            protocol: label.protocol.into(),
            family: match label.family {
                FamilyName::Ipv4 => Family::V4,
                FamilyName::Ipv6 => Family::V6,
            },
        }
    }
}

/// The map `labels`.
pub(crate) type Labels = HashMap<MapData, LabelKey, Label>;

/// Names longer than the API allows are cut; they then can't be read back, so their ids are not kept over a restart.
pub(crate) fn write(
    labels: &mut Labels,
    kind: LabelKind,
    id: u32,
    label: &impl Serialize,
) -> Result<(), MapError> {
    let json = serde_json::to_vec(label).unwrap_or_default();
    let mut text = [0; LABEL_BYTES];
    let len = json.len().min(LABEL_BYTES);
    text[..len].copy_from_slice(&json[..len]);
    labels.insert(key(kind, id), Label { text }, 0)
}

pub(crate) fn remove(labels: &mut Labels, kind: LabelKind, id: u32) -> Result<(), MapError> {
    labels.remove(&key(kind, id))
}

/// Every label of a kind, by id; None: it isn't readable.
pub(crate) fn read<T: DeserializeOwned>(
    labels: &Labels,
    kind: LabelKind,
) -> Result<Vec<(u32, Option<T>)>, MapError> {
    let mut found = Vec::new();
    for entry in labels {
        let (key, label) = entry?;
        if key.kind == kind as u32 {
            found.push((key.id, parse(&label)));
        }
    }
    found.sort_by_key(|(id, _)| *id);
    Ok(found)
}

fn parse<T: DeserializeOwned>(label: &Label) -> Option<T> {
    let len = label.text.iter().position(|byte| *byte == 0).unwrap_or(LABEL_BYTES);
    serde_json::from_slice(&label.text[..len]).ok()
}

fn key(kind: LabelKind, id: u32) -> LabelKey {
    LabelKey { kind: kind as u32, id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_names_of_the_api_fit() {
        let (namespace, name) = ("n".repeat(63), "x".repeat(253));
        let backend = BackendLabel {
            frontend: u32::MAX,
            kind: RouteKindName::Tcp,
            namespace: namespace.clone(),
            route: name.clone(),
            rule: u16::MAX,
            backend: format!("{namespace}/{name}:65535"),
            nth: 15,
            weight: 1_000_000,
        };
        let frontend = FrontendLabel {
            address: "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(),
            port: NonZeroU16::MAX,
            protocol: ProtocolName::Tcp,
            gateway: format!("{namespace}/{name}"),
            listener: name,
        };
        for json in [serde_json::to_vec(&backend).unwrap(), serde_json::to_vec(&frontend).unwrap()] {
            assert!(json.len() <= LABEL_BYTES, "{}", json.len());
        }
    }
}
