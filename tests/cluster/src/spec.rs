//! What a cluster shall be, and which names and addresses follow from that. Pure.
//!
//! Clusters are told apart by name alone: their networks are joined to nothing, so all use the same addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::ClusterError;

/// With more nodes, addresses of nodes would meet those that are left for pools.
const MOST_NODES: u8 = 20;

/// A device's name has at most 15 characters (IFNAMSIZ), a cgroup's and a namespace's 255: short enough to read.
const LONGEST_NAME: usize = 30;

/// `kubernetes.default`: the first address of the Service range, by Kubernetes' own rule.
pub(crate) const API_SERVICE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 1))];

/// The cluster's DNS, in dns.yaml too.
pub(crate) const DNS_SERVICE: &str = "10.96.0.10";

/// A cluster, as its flags describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub name: Name,
    pub nodes: Nodes,
    pub dual_stack: bool,
    pub kube_proxy: KubeProxy,
    pub cni: Cni,
    pub crds: Crds,
    /// Further flags of the API server.
    pub api_server: Vec<String>,
}

/// Tells a cluster from others on this machine: lower-case letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// How many nodes a cluster has: 1 to 20.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes(u8);

/// How Services are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum KubeProxy {
    Nftables,
    Iptables,
    /// Not at all: something else takes kube-proxy's place
    None,
}

/// How pods are joined to their node, and nodes' pods to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Cni {
    /// A routed veth per pod, routes between nodes
    Ptp,
    /// A bridge per node, routes between nodes
    Bridge,
    /// A routed veth per pod, a VXLAN overlay between nodes
    Vxlan,
}

/// Which channel of the Gateway API is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Crds {
    Experimental,
    Standard,
    None,
}

/// An address of each family that the cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub v4: Ipv4Addr,
    pub v6: Option<Ipv6Addr>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// In Kubernetes, and as its machine's label: `node1`.
    pub name: String,
    /// Counts from 1.
    pub number: u8,
    pub address: Address,
}

impl Spec {
    pub fn new(name: Name) -> Self {
        Self {
            name,
            nodes: Nodes(2),
            dual_stack: false,
            kube_proxy: KubeProxy::Nftables,
            cni: Cni::Ptp,
            crds: Crds::Experimental,
            api_server: Vec::new(),
        }
    }

    pub fn nodes(&self) -> impl Iterator<Item = NodeSpec> {
        (1..=self.nodes.0).map(|number| NodeSpec {
            name: format!("node{number}"),
            number,
            address: self.on_link(10 + number),
        })
    }

    /// Of the API server, which is also the link's router.
    pub fn control(&self) -> Address {
        self.on_link(1)
    }

    /// Of the client outside.
    pub fn client(&self) -> Address {
        self.on_link(2)
    }

    /// An address of the link that joins nodes, control plane and client: a /24 and a /64. From .100 on, nobody has
    /// them: pools of tests are there.
    pub fn on_link(&self, host: u8) -> Address {
        // Its digits are the IPv4 address's: fd89::12 for 10.89.0.12.
        let digits = u16::from(host);
        let digits = digits / 100 * 0x100 + digits / 10 % 10 * 0x10 + digits % 10;
        Address {
            v4: Ipv4Addr::new(10, 89, 0, host),
            v6: self.dual_stack.then(|| Ipv6Addr::new(0xfd89, 0, 0, 0, 0, 0, 0, digits)),
        }
    }

    /// Of all Services, as the API server takes them.
    pub(crate) fn service_ranges(&self) -> String {
        if self.dual_stack { "10.96.0.0/16,fd96::/112".into() } else { "10.96.0.0/16".into() }
    }

    /// Of all pods, one per family.
    pub(crate) fn pod_ranges(&self) -> Vec<&'static str> {
        if self.dual_stack { vec!["10.244.0.0/16", "fd44::/48"] } else { vec!["10.244.0.0/16"] }
    }

    /// The name of a namespace of this cluster, unique on this machine.
    pub(crate) fn namespace(&self, label: &str) -> String {
        format!("{}{label}", self.name.namespaces())
    }
}

impl NodeSpec {
    /// Of the node's pods: a /24, and a /64.
    pub fn pods(&self) -> Vec<String> {
        let v6 = self.address.v6.map(|_| format!("fd44:0:0:{}::/64", self.number));
        [format!("10.244.{}.0/24", self.number)].into_iter().chain(v6).collect()
    }
}

impl Address {
    pub fn all(&self) -> impl Iterator<Item = IpAddr> {
        [IpAddr::V4(self.v4)].into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

impl Name {
    /// What the names of its namespaces begin with.
    pub(crate) fn namespaces(&self) -> String {
        format!("cluster.{}.", self.0)
    }

    /// The cgroup that holds all of its processes.
    pub(crate) fn cgroup(&self) -> String {
        format!("gateway-cluster.{}", self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > LONGEST_NAME || !text.chars().all(fits) {
            return Err(ClusterError::Invalid(format!(
                "{text:?} is no name for a cluster: it has 1 to {LONGEST_NAME} of a-z, 0-9 and -"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = ClusterError;

    fn try_from(text: String) -> Result<Self, ClusterError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl FromStr for Nodes {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        match text.parse() {
            Ok(nodes @ 1..=MOST_NODES) => Ok(Self(nodes)),
            _ => Err(ClusterError::Invalid(format!("a cluster has 1 to {MOST_NODES} nodes, not {text}"))),
        }
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = if self.nodes.0 == 1 { "node" } else { "nodes" };
        let families = if self.dual_stack { "IPv4 and IPv6" } else { "IPv4" };
        let variants =
            format!("kube-proxy {:?}, CNI {:?}, Gateway API {:?}", self.kube_proxy, self.cni, self.crds);
        write!(f, "cluster {}: {} {nodes}, {families}, {variants}", self.name, self.nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(dual_stack: bool) -> Spec {
        Spec { dual_stack, ..Spec::new("main".parse().expect("a name")) }
    }

    #[test]
    fn names_are_plain() {
        for (text, is_name) in
            [("main", true), ("pr-12", true), ("", false), ("Main", false), ("a.b", false), ("../x", false)]
        {
            assert_eq!(text.parse::<Name>().is_ok(), is_name, "{text}");
        }
        for (text, is_count) in [("1", true), ("20", true), ("0", false), ("21", false), ("x", false)] {
            assert_eq!(text.parse::<Nodes>().is_ok(), is_count, "{text}");
        }
    }

    #[test]
    fn addresses_follow_from_the_number() {
        let node = spec(true).nodes().nth(1).expect("two nodes");
        assert_eq!(node.name, "node2");
        let addresses: Vec<String> = node.address.all().map(|address| address.to_string()).collect();
        assert_eq!(addresses, ["10.89.0.12", "fd89::12"]);
        assert_eq!(node.pods(), ["10.244.2.0/24", "fd44:0:0:2::/64"]);
        let node = spec(false).nodes().next().expect("a node");
        assert_eq!(node.pods(), ["10.244.1.0/24"]);
        assert_eq!(node.address.all().count(), 1);
    }

    #[test]
    fn a_spec_survives_the_disk() {
        let text = serde_json::to_string(&spec(true)).expect("JSON");
        assert_eq!(serde_json::from_str::<Spec>(&text).expect("a spec"), spec(true));
    }
}
