//! What is around the objects: which Gateways it concerns when it changes.

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_tables::{FrontendKey, ListenerName, ObjectName};

use super::Framing;
use crate::snapshot::OfferingNode;
use crate::{Address, Outcome, Snapshot};

/// What another change of the surroundings calls for.
#[derive(Debug)]
pub(super) struct Concerned {
    /// Every Gateway.
    pub(super) all: bool,
    /// Where addresses are given away, that may come out otherwise.
    pub(super) addresses: bool,
    pub(super) gateways: BTreeSet<ObjectName>,
}

impl Framing {
    /// Looks at what is around the objects now, and what that concerns.
    pub(super) fn surround(&mut self, snapshot: &Snapshot, outcome: &Outcome) -> Concerned {
        let Some(former) = self.former.take() else {
            self.former = Some(snapshot.surroundings());
            return Concerned { all: true, addresses: true, gateways: BTreeSet::new() };
        };
        if snapshot.is_surrounded_alike(&former) {
            self.former = Some(former);
            return Concerned { all: false, addresses: false, gateways: BTreeSet::new() };
        }
        let mut concerned = Concerned {
            all: snapshot.differs_for_all(&former),
            addresses: snapshot.assignments != former.assignments,
            gateways: BTreeSet::new(),
        };
        concerned.addresses |= concerned.all;
        if concerned.addresses {
            concerned.gateways.extend(differences(&snapshot.assignments, &former.assignments).cloned());
        }
        if snapshot.holders != former.holders {
            let places = differences::<FrontendKey, _>(&snapshot.holders, &former.holders);
            concerned.gateways.extend(places.flat_map(|key| self.claims.wanting(key)));
        }
        if snapshot.nodes != former.nodes {
            concerned.gateways.extend(refused_otherwise(snapshot, &former));
        }
        if snapshot.node.addresses != former.node.addresses {
            concerned.gateways.extend(at_other_addresses(snapshot, &former, outcome));
        }
        let now = snapshot.now.into_iter();
        let expired = now.flat_map(|now| self.rechecks.iter().take_while(move |(at, _)| *at <= now));
        concerned.gateways.extend(expired.map(|(_, gateway)| gateway.clone()));
        self.former = Some(snapshot.surroundings());
        concerned
    }
}

/// The Gateways with listeners of which nodes say something else than before.
fn refused_otherwise(snapshot: &Snapshot, former: &Snapshot) -> BTreeSet<ObjectName> {
    let refusals = |snapshot: &Snapshot| {
        let nodes: Vec<OfferingNode> = snapshot.nodes.clone().unwrap_or_default();
        let each = nodes.into_iter().flat_map(|node| {
            node.refusals.into_iter().map(move |(listener, cause)| ((listener, node.name.clone()), cause))
        });
        each.collect::<BTreeMap<(ListenerName, String), String>>()
    };
    let (present, former) = (refusals(snapshot), refusals(former));
    differences(&present, &former).map(|(listener, _)| listener.gateway.clone()).collect()
}

/// The Gateways that have an address which the node has no longer, or not before.
fn at_other_addresses(snapshot: &Snapshot, former: &Snapshot, outcome: &Outcome) -> BTreeSet<ObjectName> {
    let (present, former) = (&snapshot.node.addresses, &former.node.addresses);
    let differs =
        |address: &Address| address.ip().is_some_and(|ip| present.contains(&ip) != former.contains(&ip));
    let gateways = outcome.assignments.iter().filter(|(_, addresses)| addresses.iter().any(differs));
    gateways.map(|(gateway, _)| gateway.clone()).collect()
}

fn differences<'m, K: Ord, V: PartialEq>(
    one: &'m BTreeMap<K, V>,
    other: &'m BTreeMap<K, V>,
) -> impl Iterator<Item = &'m K> {
    one.keys().chain(other.keys()).filter(|key| one.get(*key) != other.get(*key))
}
