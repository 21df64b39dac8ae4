//! The standard lab.
//!
//! ```text
//!  client1   client2                 10.0.0.11, .12    fd00::11, ::12
//!     └──┬──────┘
//!      switch                        a bridge
//!     ┌──┴──────┐
//!   node1     node2                  10.0.0.1, .2      fd00::1, ::2
//!   ├─ pod1   ├─ pod3                10.244.N.11       fd00:244:N::11
//!   └─ pod2   └─ pod4                10.244.N.12       fd00:244:N::12
//! ```
//!
//! Pods hang on veths with host routes, as a point-to-point CNI makes them: the pod's only way out is its node, the
//! node has a /32 and a /128 per pod. Nodes and clients reach the other pods by the node that has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Lab, LabError, Namespace, link};

/// The device of every client, node and pod that leads out.
pub const UPLINK: &str = "eth0";

const BRIDGE: &str = "br0";

#[derive(Debug)]
pub struct Standard {
    pub switch: Namespace,
    pub clients: [Host; 2],
    pub nodes: [Node; 2],
    // Last, so that the namespaces are gone when it removes their names.
    pub lab: Lab,
}

/// A namespace with one address per family.
#[derive(Clone, Debug)]
pub struct Host {
    pub namespace: Namespace,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub host: Host,
    pub pods: [Pod; 2],
}

#[derive(Clone, Debug)]
pub struct Pod {
    pub host: Host,
    /// Its veth's end in the node.
    pub device: String,
}

impl Standard {
    pub fn build(name: &str) -> Result<Self, LabError> {
        let lab = Lab::new(name)?;
        let switch = lab.namespace("switch")?;
        switch.bridge(BRIDGE)?;
        let nodes = [node(&lab, &switch, 1)?, node(&lab, &switch, 2)?];
        let clients = [client(&lab, &switch, 1)?, client(&lab, &switch, 2)?];
        for (from, to) in [(0, 1), (1, 0)] {
            pod_routes(&nodes[from].host.namespace, &nodes[to].host, to + 1)?;
        }
        for client in &clients {
            for (index, node) in nodes.iter().enumerate() {
                pod_routes(&client.namespace, &node.host, index + 1)?;
            }
        }
        Ok(Self { switch, clients, nodes, lab })
    }

    /// pod1 to pod4, the first two on node1.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.nodes.iter().flat_map(|node| &node.pods)
    }

    /// Every device of the lab, with the namespace that holds it.
    pub fn devices(&self) -> Vec<(&Namespace, &str)> {
        let mut devices = Vec::new();
        for host in self.on_switch() {
            devices.push((&host.namespace, UPLINK));
            devices.push((&self.switch, host.namespace.label()));
        }
        for node in &self.nodes {
            for pod in &node.pods {
                devices.push((&pod.host.namespace, UPLINK));
                devices.push((&node.host.namespace, pod.device.as_str()));
            }
        }
        devices
    }

    fn on_switch(&self) -> impl Iterator<Item = &Host> {
        self.clients.iter().chain(self.nodes.iter().map(|node| &node.host))
    }

    /// Checksum and segmentation offloads of every device, all on or all off.
    pub fn offload(&self, on: bool) -> Result<(), LabError> {
        self.devices().into_iter().try_for_each(|(namespace, device)| namespace.offload(device, on))
    }
}

impl Host {
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

impl Node {
    /// The name in EndpointSlices and of `--node-name`.
    pub fn name(&self) -> &str {
        self.host.namespace.label()
    }
}

impl Pod {
    pub fn name(&self) -> &str {
        self.host.namespace.label()
    }
}

fn client(lab: &Lab, switch: &Namespace, number: u8) -> Result<Host, LabError> {
    on_switch(lab, switch, &format!("client{number}"), 10 + number)
}

fn node(lab: &Lab, switch: &Namespace, number: u8) -> Result<Node, LabError> {
    let host = on_switch(lab, switch, &format!("node{number}"), number)?;
    for (name, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        // As hardened distributions set it: the strictest that forwarding has to live with.
        ("net.ipv4.conf.all.rp_filter", "1"),
    ] {
        host.namespace.sysctl(name, value)?;
    }
    let first = 2 * number - 1;
    let pods =
        [pod(lab, &host.namespace, number, first, 11)?, pod(lab, &host.namespace, number, first + 1, 12)?];
    Ok(Node { host, pods })
}

fn on_switch(lab: &Lab, switch: &Namespace, label: &str, number: u8) -> Result<Host, LabError> {
    let namespace = lab.namespace(label)?;
    link(&namespace, UPLINK, switch, label)?;
    switch.bridge_port(BRIDGE, label)?;
    let v4 = Ipv4Addr::new(10, 0, 0, number);
    let v6 = format!("fd00::{number}").parse().map_err(|e| LabError::Unexpected(format!("{e}")))?;
    namespace.address(UPLINK, &format!("{v4}/24"))?;
    namespace.address(UPLINK, &format!("{v6}/64"))?;
    Ok(Host { namespace, v4, v6 })
}

fn pod(lab: &Lab, node: &Namespace, node_number: u8, number: u8, last: u8) -> Result<Pod, LabError> {
    let label = format!("pod{number}");
    let namespace = lab.namespace(&label)?;
    let device = format!("veth-{label}");
    link(&namespace, UPLINK, node, &device)?;
    let v4 = Ipv4Addr::new(10, 244, node_number, last);
    let v6: Ipv6Addr = format!("fd00:244:{node_number}::{last}")
        .parse()
        .map_err(|e| LabError::Unexpected(format!("{e}")))?;
    // The same gateway address on each of the node's veths.
    let (via4, via6) = (format!("10.244.{node_number}.1"), format!("fd00:244:{node_number}::1"));
    node.ip(&format!(
        "address add {via4}/32 dev {device}\n\
         address add {via6}/128 dev {device} nodad\n\
         route add {v4}/32 dev {device} src {via4}\n\
         route add {v6}/128 dev {device}\n"
    ))?;
    namespace.ip(&format!(
        "address add {v4}/32 dev {UPLINK}\n\
         address add {v6}/128 dev {UPLINK} nodad\n\
         route add {via4}/32 dev {UPLINK}\n\
         route add default via {via4} dev {UPLINK} src {v4}\n\
         route add {via6}/128 dev {UPLINK}\n\
         route add default via {via6} dev {UPLINK}\n"
    ))?;
    Ok(Pod { host: Host { namespace, v4, v6 }, device })
}

/// Routes to the pods of node `number` by that node.
fn pod_routes(namespace: &Namespace, node: &Host, number: usize) -> Result<(), LabError> {
    namespace.route(&format!("10.244.{number}.0/24 via {}", node.v4))?;
    namespace.route(&format!("fd00:244:{number}::/64 via {}", node.v6))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::traffic::{PATIENCE, Server, Steady, Volley, download, tcp, udp, upload};
    use crate::wait_until;

    const PORT: u16 = 7000;

    #[test]
    fn every_client_and_node_reaches_every_pod_by_routing() {
        let lab = Standard::build("routing").expect("a lab");
        let servers: Vec<Server> = lab
            .pods()
            .map(|pod| Server::start(&pod.host.namespace, pod.name(), PORT).expect("a server"))
            .collect();
        for offload in [true, false] {
            lab.offload(offload).expect("veths have offloads");
            for from in lab.on_switch() {
                for pod in lab.pods() {
                    for address in pod.host.addresses() {
                        let target = SocketAddr::new(address, PORT);
                        for tally in [
                            tcp(&from.namespace, target, Volley::of(10)),
                            udp(&from.namespace, target, Volley::of(10)),
                        ] {
                            assert_eq!(tally.of(pod.name()), 10, "{target}: {tally:?}");
                        }
                    }
                }
            }
        }
        drop(servers);
    }

    #[test]
    fn streams_and_long_connections_are_watched() {
        let lab = Standard::build("streams").expect("a lab");
        let pod = lab.pods().next().expect("four pods");
        let client = &lab.clients[0].namespace;
        let server = Server::start(&pod.host.namespace, "pod1", PORT).expect("a server");
        let target = SocketAddr::new(pod.host.v6.into(), PORT);
        assert_eq!(download(client, target, 10_000_000).expect("intact").server, "pod1");
        assert_eq!(upload(client, target, 10_000_000).expect("intact").bytes, 10_000_000);
        let steady = Steady::start(client, target, 4).expect("four connections");
        steady.wait_round_trips(5).expect("round trips");
        drop(server);
        wait_until("the end of every connection", PATIENCE, || steady.ended() == 4).expect("all end");
        let report = steady.finish();
        assert_eq!(report.broken().count(), 4, "{report:?}");
    }
}
