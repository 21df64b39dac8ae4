//! Which other nodes share a link with this one: the kernel's neighbour table has their link addresses. It never lacks
//! one that is reached without a router, since agents send to each other all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::TryStreamExt;
use gateway_agent_kernel::PeerLink;
use rtnetlink::Handle;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};

/// An entry that has a link address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Neighbour {
    address: IpAddr,
    ifindex: u32,
    mac: [u8; 6],
}

/// How peers are reached. One that is not in the table, because it is dead, keeps the link that it had.
pub async fn links(
    handle: &Handle,
    peers: &BTreeMap<String, IpAddr>,
    uplinks: &BTreeSet<(u32, [u8; 6])>,
    former: &BTreeMap<String, PeerLink>,
) -> Result<BTreeMap<String, PeerLink>, rtnetlink::Error> {
    let table: Vec<NeighbourMessage> = handle.neighbours().get().execute().try_collect().await?;
    let table: Vec<Neighbour> = table.into_iter().filter_map(neighbour).collect();
    Ok(of_peers(&table, peers, uplinks, former))
}

fn of_peers(
    table: &[Neighbour],
    peers: &BTreeMap<String, IpAddr>,
    uplinks: &BTreeSet<(u32, [u8; 6])>,
    former: &BTreeMap<String, PeerLink>,
) -> BTreeMap<String, PeerLink> {
    let link = |address: &IpAddr| {
        let found = table.iter().find(|neighbour| neighbour.address == *address)?;
        let (ifindex, own_mac) = *uplinks.iter().find(|(ifindex, _)| *ifindex == found.ifindex)?;
        Some(PeerLink { ifindex, mac: found.mac, own_mac })
    };
    let mut links = BTreeMap::new();
    for (name, address) in peers {
        if let Some(link) = link(address).or_else(|| former.get(name).copied()) {
            links.insert(name.clone(), link);
        }
    }
    // A router that answers for several nodes (proxy ARP) is none of them.
    let shared = |mac: [u8; 6]| links.values().filter(|link| link.mac == mac).count() > 1;
    let routers: BTreeSet<[u8; 6]> = links.values().map(|link| link.mac).filter(|mac| shared(*mac)).collect();
    links.retain(|_, link| !routers.contains(&link.mac));
    links
}

fn neighbour(message: NeighbourMessage) -> Option<Neighbour> {
    let (mut address, mut mac) = (None, None);
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(v4.into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(v6.into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok(),
            _ => {}
        }
    }
    let mac = mac.filter(|mac| *mac != [0; 6])?;
    Some(Neighbour { address: address?, ifindex: message.header.ifindex, mac })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_of_an_uplink_are_found_and_routers_are_not() {
        let entry = |address: &str, ifindex, last| Neighbour {
            address: address.parse().unwrap(),
            ifindex,
            mac: [2, 0, 0, 0, 0, last],
        };
        let link = |last| PeerLink { ifindex: 2, mac: [2, 0, 0, 0, 0, last], own_mac: [9; 6] };
        let table = [
            entry("10.0.0.2", 2, 2),
            entry("fd00::3", 2, 3),
            // On a device that is no uplink.
            entry("10.0.0.4", 7, 4),
            // Both behind a router.
            entry("10.0.0.5", 2, 1),
            entry("10.0.0.6", 2, 1),
        ];
        let peers =
            [("b", "10.0.0.2"), ("c", "fd00::3"), ("d", "10.0.0.4"), ("e", "10.0.0.5"), ("f", "10.0.0.6")];
        let peers = [&peers[..], &[("dead", "10.0.0.7"), ("far", "10.9.0.8")]].concat();
        let peers = peers.into_iter().map(|(name, address)| (name.to_owned(), address.parse().unwrap()));
        let former = BTreeMap::from([("dead".to_owned(), link(7)), ("gone".to_owned(), link(8))]);
        let found = of_peers(&table, &peers.collect(), &BTreeSet::from([(2, [9; 6])]), &former);
        let expected = [("b", link(2)), ("c", link(3)), ("dead", link(7))];
        assert_eq!(found, expected.map(|(name, link)| (name.to_owned(), link)).into());
    }
}
