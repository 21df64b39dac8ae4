//! Which devices to attach to, and what the programs need to know of each.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gateway_agent_kernel::{Device, DeviceKind};
use glob::Pattern;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};

/// A device as the kernel lists it.
#[derive(Clone, Debug, Default)]
pub struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: [u8; 6],
    /// The bridge, bond or VRF that it is a port of.
    pub(super) master: Option<u32>,
    pub(super) kind: Option<InfoKind>,
    pub(super) up: bool,
    pub(super) loopback: bool,
    /// The other end is in another network namespace.
    pub(super) peer_elsewhere: bool,
}

/// An address as the kernel lists it; only those that packets may carry beyond their link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    link: u32,
    ip: IpAddr,
    /// Others are on the link: the prefix is not the address alone.
    subnet: bool,
    /// Good as the source of packets: primary, and for IPv6 neither tentative, temporary nor deprecated.
    preferred: bool,
}

/// A device to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachable {
    pub device: Device,
    /// Name of the device with [`Device::l3_ifindex`].
    pub l3_name: String,
    /// Whether the node has addresses of this family, here or elsewhere.
    pub has_v4: bool,
    pub has_v6: bool,
}

/// Devices that match a pattern, in order of their index. The loopback device and bridges themselves never do: a
/// bridge's packets are seen at its ports.
pub fn attachable(links: &[Link], addresses: &[Address], patterns: &[Pattern]) -> Vec<Attachable> {
    let by_index = by_index(links);
    let matching = |link: &&Link| {
        !link.loopback
            && link.kind != Some(InfoKind::Bridge)
            && patterns.iter().any(|pattern| pattern.matches(&link.name))
    };
    by_index.values().copied().filter(matching).map(|link| describe(link, &by_index, addresses)).collect()
}

/// Addresses that a Gateway could have here.
pub fn node_addresses(addresses: &[Address]) -> Vec<IpAddr> {
    let mut all: Vec<_> = addresses.iter().map(|a| a.ip).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn describe(link: &Link, by_index: &BTreeMap<u32, &Link>, addresses: &[Address]) -> Attachable {
    let l3 = routed_device(link, by_index);
    Attachable {
        device: Device {
            ifindex: link.index,
            name: link.name.clone(),
            l3_ifindex: l3.index,
            mac: l3.mac,
            kind: kind(link, l3, addresses),
            source_v4: source(l3.index, addresses, |address| match address {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            }),
            source_v6: source(l3.index, addresses, |address| match address {
                IpAddr::V4(_) => None,
                IpAddr::V6(v6) => Some(v6),
            }),
        },
        l3_name: l3.name.clone(),
        has_v4: addresses.iter().any(|a| a.ip.is_ipv4()),
        has_v6: addresses.iter().any(|a| a.ip.is_ipv6()),
    }
}

/// What a device among these is.
pub(super) fn kind_in(link: &Link, links: &[Link], addresses: &[Address]) -> DeviceKind {
    kind(link, routed_device(link, &by_index(links)), addresses)
}

fn by_index(links: &[Link]) -> BTreeMap<u32, &Link> {
    links.iter().map(|link| (link.index, link)).collect()
}

/// A pod is behind a veth without a subnet of its own, or behind one that is a bridge's port. An uplink may be a veth,
/// too: a node in a container.
fn kind(link: &Link, l3: &Link, addresses: &[Address]) -> DeviceKind {
    let is_veth = link.is_veth_elsewhere();
    let has_subnet = addresses.iter().any(|address| address.link == l3.index && address.subnet);
    match (is_veth, link.master.is_some(), has_subnet) {
        (true, true, _) | (false, _, false) => DeviceKind::Ordinary,
        (true, false, false) => DeviceKind::Pod,
        (true, false, true) | (false, _, true) => DeviceKind::Uplink,
    }
}

/// Ports of bridges and bonds have no routes of their own; ports of a VRF have.
fn routed_device<'a>(link: &'a Link, by_index: &BTreeMap<u32, &'a Link>) -> &'a Link {
    let mut l3 = link;
    // A bond can be a bridge's port; the kernel nests no deeper than MAX_NEST_DEV, 8.
    for _ in 0..8 {
        let master = l3.master.and_then(|index| by_index.get(&index));
        match master {
            Some(master) if master.kind != Some(InfoKind::Vrf) => l3 = master,
            _ => break,
        }
    }
    l3
}

/// The device's own first address; a device without one borrows another's, as the kernel does (`inet_select_addr`).
fn source<A>(link: u32, addresses: &[Address], of_family: impl Fn(IpAddr) -> Option<A>) -> Option<A> {
    let preferred = || addresses.iter().filter(|a| a.preferred);
    let own = preferred().filter(|a| a.link == link).find_map(|a| of_family(a.ip));
    own.or_else(|| preferred().find_map(|a| of_family(a.ip)))
}

impl Link {
    /// Such as a pod's, or the uplink of a node in a container.
    pub(super) fn is_veth_elsewhere(&self) -> bool {
        self.kind == Some(InfoKind::Veth) && self.peer_elsewhere
    }
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            loopback: message.header.flags.contains(LinkFlags::Loopback),
            ..Self::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(mac) => link.mac = mac.try_into().unwrap_or_default(),
                LinkAttribute::Controller(master) => link.master = Some(master),
                LinkAttribute::LinkNetNsId(_) => link.peer_elsewhere = true,
                LinkAttribute::LinkInfo(infos) => {
                    link.kind = infos.into_iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link
    }
}

impl Address {
    #[cfg(test)]
    pub(super) fn of_subnet(link: u32, ip: IpAddr) -> Self {
        Self { link, ip, subnet: true, preferred: true }
    }

    /// None for addresses of the host, of a link, and unusable ones.
    pub fn parse(message: AddressMessage) -> Option<Self> {
        if message.header.scope != AddressScope::Universe {
            return None;
        }
        let (mut address, mut local) = (None, None);
        let mut flags = AddressFlags::from_bits_retain(
            message.header.flags.intersection(AddressHeaderFlags::all()).bits().into(),
        );
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Address(a) => address = Some(a),
                // On point-to-point links, `Address` is the peer's.
                AddressAttribute::Local(a) => local = Some(a),
                AddressAttribute::Flags(f) => flags = f,
                _ => {}
            }
        }
        let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed;
        // For IPv6, the bit of `Secondary` means a temporary address (IFA_F_TEMPORARY).
        let not_preferred = AddressFlags::Secondary | AddressFlags::Deprecated;
        Some(Self {
            link: message.header.index,
            ip: local.or(address).filter(|_| !flags.intersects(unusable))?,
            subnet: message.header.prefix_len < if local.or(address)?.is_ipv4() { 32 } else { 128 },
            preferred: !flags.intersects(not_preferred),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn link(index: u32, name: &str, kind: Option<InfoKind>, master: Option<u32>) -> Link {
        let last = u8::try_from(index).unwrap();
        Link { index, name: name.into(), mac: [2, 0, 0, 0, 0, last], master, kind, ..Link::default() }
    }

    fn address(link: u32, address: &str, preferred: bool) -> Address {
        let subnet = link != 5;
        Address { link, ip: address.parse().unwrap(), subnet, preferred }
    }

    fn node() -> (Vec<Link>, Vec<Address>) {
        let links = vec![
            Link { loopback: true, ..link(1, "lo", None, None) },
            link(2, "eth0", None, None),
            link(3, "br0", Some(InfoKind::Bridge), None),
            Link { peer_elsewhere: true, ..link(4, "veth1", Some(InfoKind::Veth), Some(3)) },
            Link { peer_elsewhere: true, ..link(5, "veth2", Some(InfoKind::Veth), None) },
        ];
        let addresses = vec![
            address(2, "10.0.0.2", false),
            address(2, "10.0.0.3", true),
            address(2, "fd00::2", true),
            address(3, "10.1.0.1", true),
        ];
        (links, addresses)
    }

    fn select(patterns: &[&str]) -> Vec<Attachable> {
        let patterns: Vec<_> = patterns.iter().map(|p| Pattern::new(p).unwrap()).collect();
        let (links, addresses) = node();
        attachable(&links, &addresses, &patterns)
    }

    #[test]
    fn neither_loopback_nor_bridges_nor_what_nobody_named() {
        let names =
            |patterns: &[&str]| -> Vec<_> { select(patterns).into_iter().map(|a| a.device.name).collect() };
        assert_eq!(names(&["*"]), ["eth0", "veth1", "veth2"]);
        assert_eq!(names(&["eth?", "veth2"]), ["eth0", "veth2"]);
        assert_eq!(names(&[]), [""; 0]);
    }

    #[test]
    fn a_device_uses_its_first_preferred_addresses() {
        let device = &select(&["eth0"])[0].device;
        assert_eq!(device.source_v4, Some(Ipv4Addr::new(10, 0, 0, 3)));
        assert_eq!(device.source_v6, Some("fd00::2".parse::<Ipv6Addr>().unwrap()));
        assert_eq!((device.l3_ifindex, device.mac[5], device.kind), (2, 2, DeviceKind::Uplink));
    }

    #[test]
    fn a_bridge_port_is_routed_at_its_bridge() {
        let port = &select(&["veth1"])[0];
        assert_eq!((port.device.l3_ifindex, port.device.mac[5], port.l3_name.as_str()), (3, 3, "br0"));
        assert_eq!(port.device.kind, DeviceKind::Ordinary);
        assert_eq!(port.device.source_v4, Some(Ipv4Addr::new(10, 1, 0, 1)));
    }

    #[test]
    fn a_device_without_addresses_borrows_one() {
        let pod = &select(&["veth2"])[0].device;
        assert_eq!((pod.l3_ifindex, pod.kind), (5, DeviceKind::Pod));
        assert_eq!(pod.source_v4, Some(Ipv4Addr::new(10, 0, 0, 3)));
    }
}
