//! EndpointSlices as they are kept: a cluster has more endpoints than anything else, and the API's own type takes ten
//! times as much for each.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1 as api;
use serde::{Deserialize, Serialize};

use crate::ObjectMeta;

/// What is read of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "api::EndpointSlice", into = "api::EndpointSlice")]
pub struct EndpointSlice {
    /// Without the label that says `service`.
    pub metadata: ObjectMeta,
    /// Whose endpoints they are.
    pub service: Option<Box<str>>,
    pub address_type: String,
    pub endpoints: Box<[Endpoint]>,
    pub ports: Box<[api::EndpointPort]>,
}

/// Says which Service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub addresses: Addresses,
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
    /// Shared by the endpoints of a slice that are on one node.
    pub node_name: Option<Arc<str>>,
}

/// Of an endpoint. The API defines no meaning for more than one.
#[derive(Clone, Debug, PartialEq)]
pub enum Addresses {
    One(IpAddr),
    /// None, several, or one that is no IP address; as they are written.
    Other(Box<[String]>),
}

impl Endpoint {
    /// Where it is reached, if that is said by an IP address.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.addresses {
            Addresses::One(address) => Some(*address),
            Addresses::Other(texts) => texts.first()?.parse().ok(),
        }
    }

    /// As they are written.
    pub fn texts(&self) -> Vec<String> {
        match &self.addresses {
            Addresses::One(address) => vec![address.to_string()],
            Addresses::Other(texts) => texts.to_vec(),
        }
    }
}

impl From<Vec<String>> for Addresses {
    fn from(texts: Vec<String>) -> Self {
        if let [text] = &*texts
            && let Ok(address) = text.parse::<IpAddr>()
            && address.to_string() == *text
        {
            return Self::One(address);
        }
        Self::Other(texts.into())
    }
}

impl From<api::EndpointSlice> for EndpointSlice {
    fn from(mut slice: api::EndpointSlice) -> Self {
        let labels = &mut slice.metadata.labels;
        let service = labels.as_mut().and_then(|labels| labels.remove(SERVICE_NAME));
        // A tree of one label takes 600 bytes, and most slices need no other.
        *labels = labels.take().filter(|labels| !labels.is_empty());
        let mut nodes: Vec<Arc<str>> = Vec::new();
        let mut node = |name: String| {
            let known = nodes.iter().find(|known| ***known == *name).cloned();
            known.unwrap_or_else(|| {
                nodes.push(name.into());
                Arc::clone(&nodes[nodes.len() - 1])
            })
        };
        let endpoints = slice.endpoints.into_iter().map(|endpoint| {
            let conditions = endpoint.conditions.unwrap_or_default();
            Endpoint {
                addresses: endpoint.addresses.into(),
                ready: conditions.ready,
                serving: conditions.serving,
                terminating: conditions.terminating,
                node_name: endpoint.node_name.map(&mut node),
            }
        });
        Self {
            endpoints: endpoints.collect(),
            service: service.map(Into::into),
            metadata: slice.metadata,
            address_type: slice.address_type,
            ports: slice.ports.unwrap_or_default().into(),
        }
    }
}

impl From<EndpointSlice> for api::EndpointSlice {
    fn from(slice: EndpointSlice) -> Self {
        let mut metadata = slice.metadata;
        if let Some(service) = slice.service {
            metadata.labels.get_or_insert_default().insert(SERVICE_NAME.to_owned(), service.into());
        }
        let endpoints = slice.endpoints.iter().map(|endpoint| {
            let Endpoint { ready, serving, terminating, .. } = *endpoint;
            let conditions = api::EndpointConditions { ready, serving, terminating };
            api::Endpoint {
                addresses: endpoint.texts(),
                conditions: (conditions != api::EndpointConditions::default()).then_some(conditions),
                node_name: endpoint.node_name.as_deref().map(str::to_owned),
                ..api::Endpoint::default()
            }
        });
        Self {
            endpoints: endpoints.collect(),
            metadata,
            address_type: slice.address_type,
            ports: (!slice.ports.is_empty()).then(|| slice.ports.into_vec()),
        }
    }
}
