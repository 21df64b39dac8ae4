//! What joins pods to the node and to other nodes, as far as the node's devices tell.

use std::collections::BTreeSet;
use std::fmt;

use gateway_agent_api::own::gateway_node::LocalDelivery;
use gateway_agent_kernel::DeviceKind;
use rtnetlink::packet_route::link::InfoKind;

use super::select::{Address, Link, kind_in};

/// The network plugin's work on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// None: it left no mark that is known.
    plugin: Option<&'static str>,
    pods: BTreeSet<Pods>,
    /// Devices that lead to other nodes' pods inside of other packets, with their kinds.
    tunnels: BTreeSet<String>,
}

/// What pods are behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pods {
    /// Veths, each with routes of its own.
    Veths,
    /// Ports of a bridge of this name.
    Bridge(String),
    Netkit,
}

/// Which device a plugin is known by.
enum Mark {
    /// One whose name begins like this.
    Device(&'static str),
    /// A pod's veth whose name begins like this: devices of other kinds may have such names, too.
    Veth(&'static str),
}

/// As the plugins name devices by default. The first that is there decides: Calico's eBPF mode has its other devices, too,
/// and Calico works with flannel's tunnels.
const MARKS: [(Mark, &str); 13] = [
    (Mark::Device("cilium_"), "cilium"),
    (Mark::Device("bpfin.cali"), "calico with eBPF"),
    (Mark::Device("vxlan.calico"), "calico"),
    (Mark::Veth("cali"), "calico"),
    (Mark::Device("antrea-gw"), "antrea"),
    (Mark::Device("ovn-k8s-mp"), "ovn-kubernetes"),
    (Mark::Device("ovn0"), "kube-ovn"),
    (Mark::Device("kube-bridge"), "kube-router"),
    (Mark::Device("flannel"), "flannel"),
    (Mark::Device("cbr0"), "kubenet"),
    (Mark::Veth("eni"), "amazon-vpc"),
    (Mark::Veth("azv"), "azure"),
    (Mark::Veth("gke"), "gke"),
];

impl Network {
    pub(super) fn of(links: &[Link], addresses: &[Address]) -> Self {
        let is_there = |mark: &Mark| match mark {
            Mark::Device(name) => links.iter().any(|link| link.name.starts_with(name)),
            Mark::Veth(name) => {
                links.iter().any(|link| link.is_veth_elsewhere() && link.name.starts_with(name))
            }
        };
        Self {
            plugin: MARKS.iter().find(|(mark, _)| is_there(mark)).map(|(_, plugin)| *plugin),
            pods: links.iter().filter_map(|link| pods(link, links, addresses)).collect(),
            tunnels: links.iter().filter_map(tunnel).collect(),
        }
    }

    /// None: there is no pod.
    pub fn local_delivery(&self) -> Option<LocalDelivery> {
        let ways = self.pods.iter().map(|pods| match pods {
            Pods::Veths => LocalDelivery::RedirectPeer,
            Pods::Bridge(_) => LocalDelivery::Bridge,
            Pods::Netkit => LocalDelivery::RedirectNeigh,
        });
        ways.reduce(|one, other| if one == other { one } else { LocalDelivery::Mixed })
    }
}

/// Such as `flannel (bridge cni0, vxlan flannel.1)`.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plugin.unwrap_or("unknown"))?;
        let pods = self.pods.iter().map(|pods| match pods {
            Pods::Veths => "routed veths".to_owned(),
            Pods::Bridge(name) => format!("bridge {name}"),
            Pods::Netkit => "netkit".to_owned(),
        });
        let marks: Vec<_> = pods.chain(self.tunnels.iter().cloned()).collect();
        if marks.is_empty() { Ok(()) } else { write!(f, " ({})", marks.join(", ")) }
    }
}

/// If it leads to a pod.
fn pods(link: &Link, links: &[Link], addresses: &[Address]) -> Option<Pods> {
    if link.kind == Some(InfoKind::Netkit) && link.peer_elsewhere {
        return Some(Pods::Netkit);
    }
    if kind_in(link, links, addresses) == DeviceKind::Pod {
        return Some(Pods::Veths);
    }
    let master = links.iter().find(|master| link.master == Some(master.index))?;
    let is_pod = link.is_veth_elsewhere() && master.kind == Some(InfoKind::Bridge);
    is_pod.then(|| Pods::Bridge(master.name.clone()))
}

/// Modules leave devices of such kinds in every namespace, which nobody has set up.
fn tunnel(link: &Link) -> Option<String> {
    let kind = link.kind.as_ref()?;
    let leads_on = matches!(kind, InfoKind::Vxlan | InfoKind::Geneve | InfoKind::IpIp | InfoKind::Wireguard);
    (link.up && leads_on).then(|| format!("{kind} {}", link.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Devices as `NAME KIND` with `up`, `pod` (a veth's other end) and `in BRIDGE`.
    fn network(devices: &[&str]) -> Network {
        let names: Vec<&str> = devices.iter().filter_map(|device| device.split(' ').next()).collect();
        let link = |(place, device): (usize, &&str)| {
            let words: Vec<&str> = device.split(' ').collect();
            let index = |name: &str| u32::try_from(names.iter().position(|it| *it == name)? + 1).ok();
            let kind = match words[1] {
                "veth" => Some(InfoKind::Veth),
                "bridge" => Some(InfoKind::Bridge),
                "vxlan" => Some(InfoKind::Vxlan),
                "ipip" => Some(InfoKind::IpIp),
                "wireguard" => Some(InfoKind::Wireguard),
                "netkit" => Some(InfoKind::Netkit),
                "dummy" => Some(InfoKind::Dummy),
                "nic" => None,
                other => panic!("no kind {other}"),
            };
            Link {
                index: u32::try_from(place + 1).unwrap(),
                name: names[place].to_owned(),
                kind,
                up: words.contains(&"up"),
                peer_elsewhere: words.contains(&"pod"),
                master: words.iter().position(|word| *word == "in").and_then(|at| index(words[at + 1])),
                ..Link::default()
            }
        };
        let links: Vec<Link> = devices.iter().enumerate().map(link).collect();
        // The first is the node's uplink.
        Network::of(&links, &[Address::of_subnet(1, "10.0.0.1".parse().unwrap())])
    }

    #[test]
    fn networks_are_known_by_their_devices() {
        use LocalDelivery::{Bridge, Mixed, RedirectNeigh, RedirectPeer};
        for (devices, shown, delivery) in [
            (&["eth0 nic up", "tunl0 ipip"][..], "unknown", None),
            // A node in a container, whose uplink is a veth.
            (&["eth0 veth pod up"], "unknown", None),
            (&["eth0 nic", "veth1 veth pod", "veth2 veth pod"], "unknown (routed veths)", Some(RedirectPeer)),
            (&["eth0 nic", "cni0 bridge", "veth1 veth pod in cni0"], "unknown (bridge cni0)", Some(Bridge)),
            (
                &["eth0 nic", "cni0 bridge", "veth1 veth pod in cni0", "flannel.1 vxlan up"],
                "flannel (bridge cni0, vxlan flannel.1)",
                Some(Bridge),
            ),
            (
                &["eth0 nic", "cali1 veth pod", "flannel.1 vxlan up"],
                "calico (routed veths, vxlan flannel.1)",
                Some(RedirectPeer),
            ),
            (
                &["eth0 nic", "cali1 veth pod", "tunl0 ipip up"],
                "calico (routed veths, ipip tunl0)",
                Some(RedirectPeer),
            ),
            (
                &["eth0 nic", "bpfin.cali veth", "cali1 veth pod"],
                "calico with eBPF (routed veths)",
                Some(RedirectPeer),
            ),
            (
                &["eth0 nic", "cilium_host veth", "cilium_vxlan vxlan up", "lxc1 veth pod"],
                "cilium (routed veths, vxlan cilium_vxlan)",
                Some(RedirectPeer),
            ),
            (&["eth0 nic", "cilium_host veth", "lxc1 netkit pod"], "cilium (netkit)", Some(RedirectNeigh)),
            (&["eni0 nic", "veth1 veth pod"], "unknown (routed veths)", Some(RedirectPeer)),
            (&["eth0 nic", "eni1 veth pod"], "amazon-vpc (routed veths)", Some(RedirectPeer)),
            (
                &["eth0 nic", "docker0 bridge", "veth1 veth pod in docker0", "gke1 veth pod"],
                "gke (routed veths, bridge docker0)",
                Some(Mixed),
            ),
            (&["eth0 nic", "cni0 bridge", "wg0 wireguard up"], "unknown (wireguard wg0)", None),
            (&["eth0 nic", "kube-bridge bridge"], "kube-router", None),
            (&["eth0 nic", "kube-ipvs0 dummy"], "unknown", None),
        ] {
            let network = network(devices);
            assert_eq!(
                (network.to_string().as_str(), network.local_delivery()),
                (shown, delivery),
                "{devices:?}"
            );
        }
    }
}
