//! Who else has ports of the node: they come first, and Gateways never take theirs.

mod services;
mod sockets;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Instant;

use gateway_agent_api::{Gateway, Kind, ListenerSet, ObjectRef};
use gateway_agent_routing::Snapshot;
use gateway_agent_tables::{FrontendKey, Protocol};

use crate::own_node::OwnNode;
use services::Services;

/// A port, of TCP or UDP.
type Port = (NonZeroU16, Protocol);

/// A port of the node that somebody has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    at: At,
    port: Port,
    /// Who, for people.
    by: String,
}

/// Which of the node's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    All,
    AllV4,
    AllV6,
    One(IpAddr),
}

/// What is known from one look to the next.
#[derive(Debug, Default)]
pub struct Holders {
    /// The ports of all listeners, whoever serves them.
    wanted: BTreeSet<Port>,
    addresses: BTreeSet<IpAddr>,
    sockets: sockets::Sockets,
    pods: Vec<Held>,
    services: Services,
    /// Why the last look at sockets failed; what was known stays.
    pub fault: Option<io::Error>,
}

/// Where holders are looked for.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    pub snapshot: &'a Snapshot,
    /// The objects that may be others than at the last look.
    pub changed: &'a BTreeSet<ObjectRef>,
    pub own_node: Option<&'a OwnNode>,
}

impl Holders {
    /// The places on the node's addresses that listeners want and others have, each with who has it; None: the same as at
    /// the last look. The node's sockets, which no event tells of, are listed if `anew` or if a listener wants another
    /// port than before.
    pub fn look(&mut self, around: Around<'_>, anew: bool) -> Option<BTreeMap<FrontendKey, String>> {
        let Around { snapshot, changed, own_node } = around;
        let mut differs = self.services.look(snapshot, changed);
        let node = &snapshot.node;
        let addresses = node.addresses.iter().chain(&node.gateway_addresses).copied().collect();
        differs |= replace(&mut self.addresses, addresses);
        differs |= replace(&mut self.pods, own_node.map(of_pods).unwrap_or_default());
        let mut wants_more = false;
        if changed.iter().any(|object| matches!(object.kind, Kind::Gateway | Kind::ListenerSet)) {
            let wanted = wanted_ports(snapshot);
            wants_more = !wanted.is_subset(&self.wanted);
            differs |= replace(&mut self.wanted, wanted);
        }
        if wants_more || anew && !self.wanted.is_empty() {
            self.fault = self.sockets.look(Instant::now()).err();
            differs = true;
        }
        differs.then(|| self.places())
    }

    fn places(&self) -> BTreeMap<FrontendKey, String> {
        let held = self.sockets.held().chain(self.pods.iter().cloned()).chain(self.services.held().cloned());
        places(held.filter(|held| self.wanted.contains(&held.port)), &self.addresses)
    }
}

/// True if the new value is another.
fn replace<T: PartialEq>(place: &mut T, value: T) -> bool {
    let differs = *place != value;
    *place = value;
    differs
}

fn of_pods(own_node: &OwnNode) -> Vec<Held> {
    let held = own_node.host_ports().map(|(pod, it)| Held {
        at: it.address.map_or(At::All, At::One),
        port: (it.port, it.protocol),
        by: format!("a hostPort of Pod {pod}"),
    });
    held.collect()
}

fn wanted_ports(snapshot: &Snapshot) -> BTreeSet<Port> {
    let port = |port: i32, protocol: &str| {
        let protocol = if protocol == "UDP" { Protocol::Udp } else { Protocol::Tcp };
        Some((u16::try_from(port).ok().and_then(NonZeroU16::new)?, protocol))
    };
    let gateways = snapshot.all::<Gateway>().flat_map(|gateway| &gateway.spec.listeners);
    let sets = snapshot.all::<ListenerSet>().flat_map(|set| &set.spec.listeners);
    let of_gateways = gateways.filter_map(|it| port(it.port, &it.protocol));
    of_gateways.chain(sets.filter_map(|it| port(it.port, &it.protocol))).collect()
}

/// Of several holders of a place, the first is named.
fn places(held: impl Iterator<Item = Held>, addresses: &BTreeSet<IpAddr>) -> BTreeMap<FrontendKey, String> {
    let mut places = BTreeMap::new();
    for Held { at, port: (port, protocol), by } in held {
        for &address in addresses.iter().filter(|address| at.is(**address)) {
            places.entry(FrontendKey { address, port, protocol }).or_insert_with(|| by.clone());
        }
    }
    places
}

impl At {
    fn is(self, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::AllV4 => address.is_ipv4(),
            Self::AllV6 => address.is_ipv6(),
            Self::One(one) => one == address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_has_the_addresses_that_it_is_bound_to() {
        let port = |number| (NonZeroU16::new(number).unwrap(), Protocol::Tcp);
        let held = |at, number, by: &str| Held { at, port: port(number), by: by.into() };
        let (v4, v6): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
        let all = [
            held(At::All, 22, "first"),
            held(At::AllV4, 22, "second"),
            held(At::AllV4, 53, "dns"),
            held(At::AllV6, 54, "dns6"),
            held(At::One(v4), 80, "one"),
            held(At::One("127.0.0.1".parse().unwrap()), 80, "local"),
        ];
        let places = places(all.into_iter(), &BTreeSet::from([v4, v6]));
        let shown: Vec<_> = places.iter().map(|(key, by)| format!("{key} {by}")).collect();
        assert_eq!(
            shown,
            [
                "10.0.0.1:22/tcp first",
                "10.0.0.1:53/tcp dns",
                "10.0.0.1:80/tcp one",
                "[fd00::1]:22/tcp first",
                "[fd00::1]:54/tcp dns6",
            ]
        );
    }
}
