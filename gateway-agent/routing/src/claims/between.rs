//! Gateways that want the same places: each (address, port, protocol) goes to the oldest, and others share it where what
//! clients say tells them apart. A change asks anew only those whom it gives something, or takes something from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use gateway_agent_api::own::gateway_config::AddressSharing;
use gateway_agent_tables::{FrontendKey, HostPattern, ObjectName};

use crate::Snapshot;
use crate::gateway::Gateway;
use crate::listener::{Conflict, Listener, ListenerProtocol, Traffic};
use crate::precedence::Rank;

/// What all Gateways want, and who gets it.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    ranks: BTreeMap<ObjectName, Rank>,
    claimants: BTreeMap<Rank, Claimant>,
    /// In order. Most places are wanted by one, and there are thousands: a set of one takes ten times the memory.
    wanted: BTreeMap<FrontendKey, Vec<Rank>>,
}

/// A Gateway, as others see it that want the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claimant {
    /// It lets Gateways of other namespaces have the same addresses.
    shares: bool,
    addresses: Vec<IpAddr>,
    claims: Vec<Claim>,
}

/// What a listener wants on each address of its Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    /// Index in the Gateway's listeners.
    listener: usize,
    /// As its owner calls it, and as all others do.
    names: [String; 2],
    port: NonZeroU16,
    protocol: ListenerProtocol,
    hostname: Option<HostPattern>,
    is_of_set: bool,
    /// Why it gets nothing; only [`Claims`] says so.
    conflict: Option<Conflict>,
}

impl Claims {
    /// Takes over what Gateways want now; None: nothing. Gives the others whose listeners lose or get something by it.
    pub(crate) fn update(
        &mut self,
        changed: Vec<(&ObjectName, Option<(Rank, Claimant)>)>,
        snapshot: &Snapshot,
    ) -> BTreeSet<ObjectName> {
        // Of those that are to be asked anew: what they wanted and had.
        let (mut former, mut due) = (BTreeMap::new(), BTreeSet::new());
        for (name, claimant) in changed {
            if let Some((rank, claimant)) = &claimant
                && self.claimants.get(rank).is_some_and(|it| it.wants_as(claimant))
            {
                continue;
            }
            former.extend(self.remove(name));
            if let Some((rank, claimant)) = claimant {
                former.entry(rank.clone()).or_default();
                due.insert(rank.clone());
                self.insert(name.clone(), rank, claimant);
            }
        }
        for (rank, claimant) in former.iter().filter(|(rank, _)| !self.claimants.contains_key(*rank)) {
            due.extend(self.concerned(rank, claimant, &claimant.held().collect::<Vec<_>>(), snapshot));
        }
        let mut others = BTreeSet::new();
        while let Some(rank) = due.pop_first() {
            let Some(mut claimant) = self.claimants.remove(&rank) else { continue };
            let before = former.get(&rank).cloned().unwrap_or_else(|| claimant.clone());
            for index in 0..claimant.claims.len() {
                let conflict = self.conflict(&rank, &claimant, &claimant.claims[index], snapshot);
                claimant.claims[index].conflict = conflict;
            }
            if !former.contains_key(&rank) && claimant != before {
                others.insert(rank.gateway());
            }
            for (one, other) in [(&before, &claimant), (&claimant, &before)] {
                let news = one.held_beyond(other);
                due.extend(self.concerned(&rank, one, &news, snapshot));
            }
            self.claimants.insert(rank, claimant);
        }
        others
    }

    /// What keeps listeners of a Gateway from what they want, by their index.
    pub(crate) fn conflicts(&self, gateway: &ObjectName) -> impl Iterator<Item = (usize, &Conflict)> {
        let claimant = self.ranks.get(gateway).and_then(|rank| self.claimants.get(rank));
        let claims = claimant.into_iter().flat_map(|claimant| &claimant.claims);
        claims.filter_map(|claim| Some((claim.listener, claim.conflict.as_ref()?)))
    }

    /// The Gateways that want a place.
    pub(crate) fn wanting(&self, key: &FrontendKey) -> impl Iterator<Item = ObjectName> {
        self.wanted.get(key).into_iter().flatten().map(Rank::gateway)
    }

    fn insert(&mut self, name: ObjectName, rank: Rank, claimant: Claimant) {
        for key in claimant.keys() {
            let wanting = self.wanted.entry(key).or_default();
            if let Err(place) = wanting.binary_search(&rank) {
                wanting.reserve_exact(1);
                wanting.insert(place, rank.clone());
            }
        }
        self.ranks.insert(name, rank.clone());
        self.claimants.insert(rank, claimant);
    }

    fn remove(&mut self, name: &ObjectName) -> Option<(Rank, Claimant)> {
        let rank = self.ranks.remove(name)?;
        let claimant = self.claimants.remove(&rank)?;
        for key in claimant.keys() {
            if let Some(wanting) = self.wanted.get_mut(&key) {
                wanting.retain(|it| *it != rank);
                if wanting.is_empty() {
                    self.wanted.remove(&key);
                }
            }
        }
        Some((rank, claimant))
    }

    /// Why a listener can't have a place that it wants: those that come first have it. A listener that loses one place
    /// loses all, since it must be available on every address of its Gateway.
    fn conflict(
        &self,
        rank: &Rank,
        claimant: &Claimant,
        claim: &Claim,
        snapshot: &Snapshot,
    ) -> Option<Conflict> {
        claimant.keys_of(claim).find_map(|key| {
            let wanting = self.wanted.get(&key)?;
            let first = &wanting[..wanting.partition_point(|it| it < rank)];
            first.iter().find_map(|holder| {
                let (gateway, has) = (holder.gateway(), &self.claimants[holder]);
                has.held().filter(|it| it.wants(&key)).find_map(|it| {
                    claim.loses((&rank.gateway(), claimant), it, (&gateway, has), &key, snapshot)
                })
            })
        })
    }

    /// Those that come after a Gateway and lose something if it has these places.
    fn concerned(
        &self,
        rank: &Rank,
        claimant: &Claimant,
        claims: &[&Claim],
        snapshot: &Snapshot,
    ) -> BTreeSet<Rank> {
        let mut concerned = BTreeSet::new();
        let holder = rank.gateway();
        for (claim, key) in
            claims.iter().flat_map(|claim| claimant.keys_of(claim).map(move |key| (claim, key)))
        {
            let Some(wanting) = self.wanted.get(&key) else { continue };
            for later in &wanting[wanting.partition_point(|it| it <= rank)..] {
                let (gateway, wants) = (later.gateway(), &self.claimants[later]);
                let loses = |it: &&Claim| {
                    it.loses((&gateway, wants), claim, (&holder, claimant), &key, snapshot).is_some()
                };
                if wants.claims.iter().filter(|it| it.wants(&key)).any(|it| loses(&it)) {
                    concerned.insert(later.clone());
                }
            }
        }
        concerned
    }
}

impl Claimant {
    pub(crate) fn of(gateway: &Gateway<'_>) -> Self {
        let shares = gateway.asking.settings.address_sharing() == AddressSharing::Cluster;
        let listeners = gateway.listeners.iter().enumerate().filter(|_| gateway.fault.is_none());
        let claims = listeners.filter_map(|(index, listener)| Claim::of(listener, index)).collect();
        Self { shares, addresses: gateway.addresses.ips().collect(), claims }
    }

    /// Whether it wants the same as another one, whoever gets it.
    fn wants_as(&self, other: &Self) -> bool {
        let wish = |claim: &Claim| Claim { conflict: None, ..claim.clone() };
        self.shares == other.shares
            && self.addresses == other.addresses
            && self.claims.iter().map(wish).eq(other.claims.iter().map(wish))
    }

    fn held(&self) -> impl Iterator<Item = &Claim> {
        self.claims.iter().filter(|claim| claim.conflict.is_none())
    }

    /// What it has that another state of it doesn't have.
    fn held_beyond(&self, other: &Self) -> Vec<&Claim> {
        let is_alike = self.shares == other.shares && self.addresses == other.addresses;
        self.held().filter(|claim| !is_alike || !other.claims.contains(claim)).collect()
    }

    fn keys(&self) -> impl Iterator<Item = FrontendKey> {
        self.claims.iter().flat_map(|claim| self.keys_of(claim))
    }

    fn keys_of(&self, claim: &Claim) -> impl Iterator<Item = FrontendKey> {
        let (port, protocol) = (claim.port, claim.protocol.transport());
        self.addresses.iter().map(move |&address| FrontendKey { address, port, protocol })
    }
}

impl Claim {
    /// None: the listener may not have anything.
    fn of(listener: &Listener<'_>, index: usize) -> Option<Self> {
        let (port, _) = listener.socket()?;
        let Traffic { protocol, hostname, is_of_set } = listener.traffic()?;
        Some(Self {
            listener: index,
            names: [listener.spec.name.to_owned(), listener.name.listener.clone()],
            port,
            protocol,
            hostname: hostname.cloned(),
            is_of_set,
            conflict: None,
        })
    }

    fn wants(&self, key: &FrontendKey) -> bool {
        self.port == key.port && self.protocol.transport() == key.protocol
    }

    fn traffic(&self) -> Traffic<'_> {
        let Self { protocol, hostname, is_of_set, .. } = self;
        Traffic { protocol: *protocol, hostname: hostname.as_ref(), is_of_set: *is_of_set }
    }

    /// Why it can't have a place that another Gateway's listener has.
    fn loses(
        &self,
        (gateway, claimant): (&ObjectName, &Claimant),
        other: &Self,
        (holder, has): (&ObjectName, &Claimant),
        key: &FrontendKey,
        snapshot: &Snapshot,
    ) -> Option<Conflict> {
        if let Some(reason) = self.traffic().excludes(other.traffic(), snapshot) {
            return Some(self.lost(reason, holder, other, key));
        }
        if gateway.namespace == holder.namespace {
            return None;
        }
        self.strange(claimant.shares && has.shares, other, key)
    }

    fn lost(&self, reason: &'static str, holder: &ObjectName, other: &Self, key: &FrontendKey) -> Conflict {
        let message = format!(
            "port {} of {} belongs to listener {} of Gateway {holder}, which comes first by age and name; give listener \
             {} another port, or its Gateway another address",
            key.port, key.address, other.names[1], self.names[0]
        );
        Conflict { reason, message }
    }

    /// Host names keep Gateways of one namespace apart. One of another namespace could take names that aren't its own, so
    /// both must allow it, and even then nobody gets names of one that comes first. The messages don't name the others:
    /// they may belong to people who share nothing but the address.
    fn strange(&self, is_shared: bool, other: &Self, key: &FrontendKey) -> Option<Conflict> {
        let name = &self.names[0];
        if !is_shared {
            let message = format!(
                "port {} of {} belongs to a Gateway of another namespace; give listener {name} another port, or its \
                 Gateway another address, or let both Gateways share theirs (addresses.sharing of their GatewayConfig)",
                key.port, key.address
            );
            return Some(Conflict { reason: "PortUnavailable", message });
        }
        let wanted = self.hostname.as_ref()?;
        other.hostname.as_ref()?.covers(wanted).then(|| {
            let message = format!(
                "hostname {wanted} on port {} of {} belongs to a Gateway of another namespace, which comes first by age \
                 and name; give listener {name} another hostname or port, or its Gateway another address",
                key.port, key.address
            );
            Conflict { reason: "HostnameConflict", message }
        })
    }
}
