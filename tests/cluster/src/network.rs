//! The network that a cluster's machines share: one link, without a way out.
//!
//! ```text
//!   control: br0 10.89.0.1, API server      client: eth0 10.89.0.2
//!            │
//!            └── node1: eth0 10.89.0.11, pods 10.244.1.0/24      node2: ...
//! ```

use std::fs;
use std::path::Path;

use lab::{NETNS, Namespace};

use crate::ClusterError;
use crate::spec::{Address, Cni, Name, NodeSpec, Spec};

/// What flannel uses, and RFC 7348 leaves open to whoever comes from before it; kernels listen there by default.
const VXLAN_PORT: u16 = 8472;

/// Ethernet's 1500 bytes less those of the outer Ethernet, IPv4, UDP and VXLAN headers (RFC 7348, section 5).
pub(crate) const VXLAN_MTU: u16 = 1500 - (14 + 20 + 8 + 8);

/// The network namespaces of a cluster.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) control: Namespace,
    /// Somebody outside the cluster, on the same link.
    pub(crate) client: Namespace,
    pub(crate) nodes: Vec<Namespace>,
}

impl Network {
    pub(crate) fn create(spec: &Spec) -> Result<Self, ClusterError> {
        fs::create_dir_all(NETNS).map_err(ClusterError::system(format!("create {NETNS}")))?;
        let make = |label: &str| Namespace::create(label, &spec.namespace(label));
        let nodes = spec.nodes().map(|node| make(&node.name)).collect::<Result<_, _>>()?;
        let network = Self { control: make("control")?, client: make("client")?, nodes };
        network.control.bridge("br0")?;
        addresses(&network.control, "br0", spec.control())?;
        forward(&network.control)?;
        network.join(&network.client, "client", spec.client())?;
        for (node, namespace) in spec.nodes().zip(&network.nodes) {
            network.connect(spec, &node, namespace)?;
            if spec.cni != Cni::Vxlan {
                // As if the network's routers knew pods. Those of an overlay are known to nobody else.
                route(&network.control, &node)?;
                route(&network.client, &node)?;
            }
        }
        Ok(network)
    }

    /// Makes the namespace of a node anew, as it was at first, with the same link address: the node was off.
    pub(crate) fn renew(&mut self, spec: &Spec, node: &NodeSpec) -> Result<(), ClusterError> {
        let place = usize::from(node.number) - 1;
        let mac = self.nodes[place].mac("eth0")?;
        self.control.ip(&format!("link del {}\n", node.name))?;
        Namespace::remove(&self.nodes[place].path());
        let namespace = Namespace::create(&node.name, &spec.namespace(&node.name))?;
        self.connect(spec, node, &namespace)?;
        namespace.ip(&format!("link set eth0 address {mac}\n"))?;
        self.nodes[place] = namespace;
        Ok(())
    }

    /// Gives a node its address, and the ways to everybody else.
    fn connect(&self, spec: &Spec, node: &NodeSpec, namespace: &Namespace) -> Result<(), ClusterError> {
        self.join(namespace, &node.name, node.address)?;
        // kubelet and kube-proxy want a default route. It ends in a namespace with no way out.
        for router in spec.control().all() {
            namespace.route(&format!("default via {router}"))?;
        }
        forward(namespace)?;
        let overlay = spec.cni == Cni::Vxlan;
        if overlay {
            Overlay(node).create(namespace)?;
            masquerade(namespace, spec)?;
        }
        for other in spec.nodes().filter(|other| other.number != node.number) {
            if overlay { Overlay(&other).reach_from(namespace)? } else { route(namespace, &other)? }
        }
        Ok(())
    }

    /// That of a cluster that runs.
    pub(crate) fn open(spec: &Spec) -> Result<Self, ClusterError> {
        let open = |label: &str| Namespace::open(label, &spec.namespace(label));
        let nodes = spec.nodes().map(|node| open(&node.name)).collect::<Result<_, _>>()?;
        Ok(Self { control: open("control")?, client: open("client")?, nodes })
    }

    /// Joins a namespace to the link by its eth0.
    fn join(&self, namespace: &Namespace, port: &str, address: Address) -> Result<(), ClusterError> {
        lab::link(namespace, "eth0", &self.control, port)?;
        self.control.bridge_port("br0", port)?;
        addresses(namespace, "eth0", address)
    }
}

/// Paths of the namespaces that a cluster of this name has, whole or not.
pub(crate) fn namespaces_of(name: &Name) -> Vec<std::path::PathBuf> {
    let prefix = name.namespaces();
    let entries = fs::read_dir(Path::new(NETNS)).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    ours.map(|entry| entry.path()).collect()
}

/// A node's end of the overlay, as flannel builds it: nothing is learned, everybody is told where the others are.
struct Overlay<'a>(&'a NodeSpec);

impl Overlay<'_> {
    fn create(&self, namespace: &Namespace) -> Result<(), ClusterError> {
        let mac = self.mac();
        let local = self.0.address.v4;
        let tunnel = format!("type vxlan id 1 local {local} dev eth0 dstport {VXLAN_PORT} nolearning");
        namespace
            .ip(&format!("link add vxlan0 address {mac} mtu {VXLAN_MTU} {tunnel}\nlink set vxlan0 up\n"))?;
        for address in self.addresses() {
            namespace.address("vxlan0", &address)?;
        }
        Ok(())
    }

    /// Teaches another node the way here.
    fn reach_from(&self, other: &Namespace) -> Result<(), ClusterError> {
        let mac = self.mac();
        for (address, pods) in self.addresses().iter().zip(self.0.pods()) {
            other.ip(&format!("neighbor add {address} lladdr {mac} dev vxlan0 nud permanent\n"))?;
            other.route(&format!("{pods} via {address} dev vxlan0 onlink"))?;
        }
        let node = self.0.address.v4.to_string();
        let entry = ["bridge", "fdb", "append", &mac, "dev", "vxlan0", "dst", &node, "self", "permanent"];
        Ok(other.command(&entry).map(drop)?)
    }

    /// Locally administered; the same on every run.
    fn mac(&self) -> String {
        format!("02:00:0a:f4:{:02x}:00", self.0.number)
    }

    /// The first of the node's pod addresses, which host-local gives to no pod.
    fn addresses(&self) -> Vec<String> {
        let first = |range: String| range.split_once('/').map(|(first, _)| first.to_owned());
        self.0.pods().into_iter().filter_map(first).collect()
    }
}

/// Lets pods of an overlay, whose addresses nobody outside knows, speak by their node's.
fn masquerade(namespace: &Namespace, spec: &Spec) -> Result<(), ClusterError> {
    let chain = "add table inet pods
        add chain inet pods leaving { type nat hook postrouting priority srcnat; }";
    let rule = |range: &str| {
        let family = if range.contains(':') { "ip6" } else { "ip" };
        format!("\nadd rule inet pods leaving oifname eth0 {family} saddr {range} masquerade")
    };
    let rules: String = spec.pod_ranges().into_iter().map(rule).collect();
    Ok(namespace.command(&["nft", &format!("{chain}{rules}")]).map(drop)?)
}

fn route(namespace: &Namespace, node: &NodeSpec) -> Result<(), ClusterError> {
    for (pods, via) in node.pods().iter().zip(node.address.all()) {
        namespace.route(&format!("{pods} via {via}"))?;
    }
    Ok(())
}

fn addresses(namespace: &Namespace, device: &str, address: Address) -> Result<(), ClusterError> {
    for address in address.all() {
        let prefix = if address.is_ipv4() { 24 } else { 64 };
        namespace.address(device, &format!("{address}/{prefix}"))?;
    }
    Ok(())
}

fn forward(namespace: &Namespace) -> Result<(), ClusterError> {
    for (name, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        // Answers to a Service may come in by another device than packets to it went out by.
        ("net.ipv4.conf.all.rp_filter", "0"),
        ("net.ipv4.conf.default.rp_filter", "0"),
    ] {
        namespace.sysctl(name, value)?;
    }
    Ok(())
}
