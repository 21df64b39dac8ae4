//! The addresses of Gateways: what they ask for (`wish`), where addresses come from (`pools`, `nodes`), and who gets which
//! (`assign`).

mod assign;
mod nodes;
mod pools;
mod range;
mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use gateway_agent_api::own::gateway_config::AddressMode;
use gateway_agent_tables::ObjectName;
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::infrastructure;
use crate::snapshot::Assigner;
use crate::{Outcome, Snapshot};

pub(crate) use nodes::published as published_nodes;
pub(crate) use pools::Pools;
pub(crate) use wish::Wishes;

/// An address that a Gateway has, as its status shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    Ip(IpAddr),
    /// Only load balancers have these.
    Hostname(String),
}

/// What a Gateway gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// At most [`MOST_ADDRESSES`].
    pub(crate) assigned: Vec<Assigned>,
    /// Reason and message for Programmed when not all that was asked for could be assigned.
    pub(crate) missing: Option<(&'static str, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) address: Address,
    pub(crate) origin: Origin,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Shared with the node, and with other Gateways.
    Node,
    /// The Gateway's alone.
    Pool,
    /// Of the Service that stands before the Gateway.
    LoadBalancer,
}

/// As many as the status of a Gateway takes.
pub(crate) const MOST_ADDRESSES: usize = 16;

/// Gives each Gateway its addresses, which are in order of precedence.
pub(crate) fn settle(gateways: &mut [Gateway<'_>], snapshot: &Snapshot, outcome: &mut Outcome) {
    match snapshot.assigner {
        Assigner::Here => {
            outcome.problems.extend(pools::problems(snapshot));
            assign::assign(gateways, snapshot);
        }
        Assigner::Controller => follow(gateways, snapshot),
    }
    outcome.assignments = gateways
        .iter()
        .filter(|gateway| !gateway.addresses.assigned.is_empty())
        .map(|gateway| (gateway.name.clone(), gateway.addresses.all().cloned().collect()))
        .collect();
}

/// The addresses of pools that Gateways hold.
pub(crate) fn of_pools<'g>(gateways: impl IntoIterator<Item = &'g Gateway<'g>>) -> BTreeSet<IpAddr> {
    let assigned = gateways.into_iter().flat_map(|gateway| &gateway.addresses.assigned);
    assigned.filter(|it| it.origin == Origin::Pool).filter_map(|it| it.address.ip()).collect()
}

/// Takes over what the controller has assigned.
fn follow(gateways: &mut [Gateway<'_>], snapshot: &Snapshot) {
    for gateway in gateways.iter_mut().filter(|gateway| gateway.fault.is_none()) {
        let given = snapshot.assignments.get(&gateway.name).into_iter().flatten();
        let assigned = given
            .map(|address| Assigned { origin: origin(address, gateway, snapshot), address: address.clone() });
        gateway.addresses.assigned = assigned.take(MOST_ADDRESSES).collect();
    }
}

fn origin(address: &Address, gateway: &Gateway<'_>, snapshot: &Snapshot) -> Origin {
    if address.ip().is_some_and(|ip| gateway.pools.contains(ip)) {
        Origin::Pool
    } else if gateway.settings.address_mode() == AddressMode::LoadBalancer
        && infrastructure::balanced_addresses(gateway, snapshot).contains(address)
    {
        Origin::LoadBalancer
    } else {
        Origin::Node
    }
}

impl Addresses {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Address> {
        self.assigned.iter().map(|it| &it.address)
    }

    pub(crate) fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.all().filter_map(Address::ip)
    }

    /// As the Gateway's status has them.
    pub(crate) fn as_status(&self) -> Vec<Value> {
        let show = |address: &Address| json!({ "type": address.kind(), "value": address.to_string() });
        self.all().map(show).collect()
    }

    /// Why not all that was asked for could be assigned; the first reason is told.
    fn miss(&mut self, reason: &'static str, message: String) {
        self.missing.get_or_insert((reason, message));
    }

    fn add(&mut self, address: Address, origin: Origin) {
        if self.assigned.len() < MOST_ADDRESSES {
            self.assigned.push(Assigned { address, origin });
        }
    }

    fn has(&self, address: &Address) -> bool {
        self.all().any(|it| it == address)
    }
}

impl Address {
    /// As a Gateway's spec and status write it: type and value. None: not an address of its type.
    pub fn parse(kind: &str, value: &str) -> Option<Self> {
        match kind {
            "IPAddress" => value.parse().ok().map(Self::Ip),
            "Hostname" if !value.is_empty() => Some(Self::Hostname(value.to_owned())),
            _ => None,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ip(_) => "IPAddress",
            Self::Hostname(_) => "Hostname",
        }
    }

    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Hostname(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Hostname(name) => name.fmt(f),
        }
    }
}

/// The addresses of each Gateway that has any.
pub type Assignments = BTreeMap<ObjectName, Vec<Address>>;
