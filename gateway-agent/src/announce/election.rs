//! Who announces an address: rendezvous hashing (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit
//! Rates", 1998). All who know the same nodes agree without a word, and a node that comes or goes moves no address but
//! its own.

use std::net::IpAddr;

use aws_lc_rs::digest;

/// The node with the highest score for the address; None: there are no nodes.
pub fn announcer<'a>(address: IpAddr, nodes: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nodes.max_by_key(|node| (score(address, node), *node))
}

fn score(address: IpAddr, node: &str) -> [u8; 8] {
    let octets = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&octets);
    hash.update(node.as_bytes());
    let mut score = [0; 8];
    score.copy_from_slice(&hash.finish().as_ref()[..8]);
    score
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use super::*;

    fn addresses() -> impl Iterator<Item = IpAddr> {
        (0..1000u32).map(|n| Ipv4Addr::from(0xc000_0200 + n).into())
    }

    #[test]
    fn each_node_gets_its_share_and_keeps_it() {
        let nodes = ["node1", "node2", "node3", "node4"];
        let mut shares = BTreeMap::new();
        for address in addresses() {
            let all = announcer(address, nodes.into_iter()).unwrap();
            *shares.entry(all).or_insert(0) += 1;
            for gone in nodes {
                let left = announcer(address, nodes.into_iter().filter(|node| *node != gone)).unwrap();
                assert!(all == gone || left == all, "{address} moves from {all} to {left} without {gone}");
            }
            let reversed = announcer(address, nodes.into_iter().rev());
            assert_eq!(reversed, Some(all), "the order of names is of no account");
        }
        assert!(shares.values().all(|share| (200..300).contains(share)), "{shares:?}");
    }

    #[test]
    fn nobody_announces_without_nodes() {
        assert_eq!(announcer(Ipv4Addr::LOCALHOST.into(), [].into_iter()), None);
    }
}
