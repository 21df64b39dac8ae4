//! What the cluster says of the node that the agent runs on: its addresses, and the ports that its pods have there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use gateway_agent_tables::Protocol;
use kube::Client;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::source::cluster::{Follower, News, Resource, Task};

/// The node's own Node object and its pods, followed.
pub struct OwnNode {
    node: Known<Vec<IpAddr>>,
    pods: Known<Vec<HostPort>>,
    news: mpsc::Receiver<(u64, News<Part>)>,
    _followers: [Task; 2],
}

/// A port of the node that a pod has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// None: all of the node.
    pub address: Option<IpAddr>,
    pub port: NonZeroU16,
    pub protocol: Protocol,
}

/// Objects of one kind by name, with what counts of them.
#[derive(Debug)]
struct Known<T> {
    objects: BTreeMap<String, T>,
    listed: bool,
    lost: Option<String>,
}

/// An object, by its namespace and name.
#[derive(Debug)]
enum Part {
    Node(String, Vec<IpAddr>),
    Pod(String, Vec<HostPort>),
}

/// Numbers of the followers.
const NODE: u64 = 0;
const PODS: u64 = 1;

/// News on their way to us.
const NEWS: usize = 64;

impl OwnNode {
    pub fn follow(client: &Client, name: &str) -> Self {
        let (sender, news) = mpsc::channel(NEWS);
        let follower = |number, plural: &str, field: &str, decode: fn(Value) -> Part| Follower {
            client: client.clone(),
            resource: Resource {
                path: format!("/api/v1/{plural}"),
                metadata_only: false,
                fields: Some(format!("{field}={name}").into()),
            },
            decode,
            number,
            news: sender.clone(),
        };
        let node = follower(NODE, "nodes", "metadata.name", |document| {
            Part::Node(full_name(&document), internal_addresses(&document))
        });
        let pods = follower(PODS, "pods", "spec.nodeName", |document| {
            Part::Pod(full_name(&document), host_ports(&document))
        });
        Self {
            node: Known::default(),
            pods: Known::default(),
            news,
            _followers: [Task::spawn(node.run()), Task::spawn(pods.run())],
        }
    }

    /// Waits until something may have changed. Can be cancelled.
    pub async fn changed(&mut self) {
        // The followers live as long as we do.
        let Some(told) = self.news.recv().await else { return std::future::pending().await };
        self.take(told);
        while let Ok(told) = self.news.try_recv() {
            self.take(told);
        }
    }

    /// Node and pods were told of once.
    pub fn is_complete(&self) -> bool {
        self.node.listed && self.pods.listed
    }

    /// What Kubernetes calls the node's internal addresses, in its order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.node.objects.values().flatten().copied()
    }

    /// The ports that pods have, with their names.
    pub fn host_ports(&self) -> impl Iterator<Item = (&str, &HostPort)> {
        self.pods.objects.iter().flat_map(|(pod, ports)| ports.iter().map(|port| (pod.as_str(), port)))
    }

    pub fn problems(&self) -> Vec<String> {
        let lost = [("Node", &self.node.lost), ("Pods", &self.pods.lost)];
        let told = lost.into_iter().filter_map(|(what, lost)| Some((what, lost.as_ref()?)));
        told.map(|(what, cause)| {
            format!(
                "the API server tells nothing new of this node's {what}: {cause}; it is tried again; check the API server, \
                 the way to it, and the permissions of this service account"
            )
        })
        .collect()
    }

    fn take(&mut self, (number, news): (u64, News<Part>)) {
        let lost = if number == NODE { &mut self.node.lost } else { &mut self.pods.lost };
        match news {
            News::Listing => {}
            News::Connected => *lost = None,
            News::Lost(cause) => *lost = Some(cause),
            News::Listed(parts, _) => {
                *lost = None;
                if number == NODE {
                    self.node.begin();
                } else {
                    self.pods.begin();
                }
                for part in parts {
                    self.put(part);
                }
            }
            News::Put(part) => self.put(part),
            News::Removed(Part::Node(name, _)) => drop(self.node.objects.remove(&name)),
            News::Removed(Part::Pod(name, _)) => drop(self.pods.objects.remove(&name)),
        }
    }

    fn put(&mut self, part: Part) {
        match part {
            Part::Node(name, addresses) => drop(self.node.objects.insert(name, addresses)),
            Part::Pod(name, ports) => drop(self.pods.objects.insert(name, ports)),
        }
    }
}

impl<T> Known<T> {
    fn begin(&mut self) {
        self.objects.clear();
        self.listed = true;
    }
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), listed: false, lost: None }
    }
}

fn full_name(document: &Value) -> String {
    let field = |name: &str| document["metadata"][name].as_str().unwrap_or_default();
    format!("{}/{}", field("namespace"), field("name"))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn internal_addresses(node: &Value) -> Vec<IpAddr> {
    let addresses = items(&node["status"]["addresses"]).filter(|it| it["type"] == "InternalIP");
    addresses.filter_map(|it| it["address"].as_str()?.parse().ok()).collect()
}

/// Of the containers of a pod that has not ended.
fn host_ports(pod: &Value) -> Vec<HostPort> {
    let phase = pod["status"]["phase"].as_str();
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return Vec::new();
    }
    let containers = items(&pod["spec"]["containers"]).chain(items(&pod["spec"]["initContainers"]));
    containers.flat_map(|container| items(&container["ports"])).filter_map(host_port).collect()
}

/// None: not a port of the node, or of a protocol that Gateways have nothing to do with.
fn host_port(port: &Value) -> Option<HostPort> {
    let protocol = match port["protocol"].as_str().unwrap_or("TCP") {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => return None,
    };
    let address = port["hostIP"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
    Some(HostPort {
        address: address.filter(|address| !address.is_unspecified()),
        port: u16::try_from(port["hostPort"].as_u64()?).ok().and_then(NonZeroU16::new)?,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_have_the_ports_of_their_containers_until_they_end() {
        let pod = |phase: &str| {
            json!({
                "metadata": { "namespace": "shop", "name": "web-1" },
                "spec": {
                    "initContainers": [{ "ports": [{ "containerPort": 9, "hostPort": 9 }] }],
                    "containers": [{ "ports": [
                        { "containerPort": 80, "hostPort": 8080, "protocol": "TCP", "hostIP": "0.0.0.0" },
                        { "containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "10.0.0.1" },
                        { "containerPort": 5060, "hostPort": 5060, "protocol": "SCTP" },
                        { "containerPort": 81 },
                    ] }, {}],
                },
                "status": { "phase": phase },
            })
        };
        let shown = |phase: &str| -> Vec<String> {
            let ports = host_ports(&pod(phase)).into_iter();
            ports.map(|it| format!("{:?} {}/{}", it.address, it.port, it.protocol)).collect()
        };
        assert_eq!(shown("Running"), ["None 8080/tcp", "Some(10.0.0.1) 53/udp", "None 9/tcp"]);
        assert_eq!(shown("Succeeded"), [""; 0]);
        assert_eq!(full_name(&pod("Running")), "shop/web-1");
    }
}
