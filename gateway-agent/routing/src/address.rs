//! The addresses of Gateways: what they ask for (`wish`), where addresses come from (`pools`, `nodes`), and who gets which
//! (`assign`).

mod assign;
mod nodes;
mod pools;
mod range;
mod stakes;
mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use gateway_agent_api::own::gateway_config::{AddressMode, GatewayConfigSpec};
use gateway_agent_tables::ObjectName;
use serde_json::{Value, json};

use crate::snapshot::Assigner;
use crate::{Problem, Snapshot, infrastructure};

pub(crate) use nodes::published as published_nodes;
pub(crate) use pools::Pools;
pub(crate) use stakes::Stakes;
pub(crate) use wish::Wishes;

/// An address that a Gateway has, as its status shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    Ip(IpAddr),
    /// Only load balancers have these.
    Hostname(String),
}

/// What of a Gateway decides which addresses it gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asking {
    pub(crate) gateway: ObjectName,
    /// As the Gateway names it.
    pub(crate) class: String,
    /// What holds for the Gateway.
    pub(crate) settings: Arc<GatewayConfigSpec>,
    pub(crate) pools: Pools,
    pub(crate) wishes: Wishes,
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

/// What is wrong with pools, for whoever assigns their addresses.
pub(crate) fn problems(snapshot: &Snapshot) -> Vec<Problem> {
    match snapshot.assigner {
        Assigner::Here => pools::problems(snapshot),
        Assigner::Controller => Vec::new(),
    }
}

impl Asking {
    pub(crate) fn mode(&self) -> AddressMode {
        self.settings.address_mode()
    }

    /// The addresses that it gets whatever others ask for.
    pub(crate) fn settle(&self, snapshot: &Snapshot) -> Addresses {
        match snapshot.assigner {
            Assigner::Here => assign::assign(&[self], snapshot).pop().unwrap_or_default(),
            Assigner::Controller => self.follow(snapshot),
        }
    }

    /// Takes over what the controller has assigned.
    fn follow(&self, snapshot: &Snapshot) -> Addresses {
        let given = snapshot.assignments.get(&self.gateway).into_iter().flatten();
        let assigned = given
            .map(|address| Assigned { origin: self.origin(address, snapshot), address: address.clone() });
        Addresses { assigned: assigned.take(MOST_ADDRESSES).collect(), missing: None }
    }

    fn origin(&self, address: &Address, snapshot: &Snapshot) -> Origin {
        if address.ip().is_some_and(|ip| self.pools.contains(ip)) {
            Origin::Pool
        } else if self.mode() == AddressMode::LoadBalancer
            && infrastructure::balanced_addresses(self, snapshot).contains(address)
        {
            Origin::LoadBalancer
        } else {
            Origin::Node
        }
    }

    /// It may get an address that nobody else may have then, or want one that somebody else has.
    fn has_rivals(&self) -> bool {
        self.mode() == AddressMode::Pool || self.wishes.named().any(|address| address.ip().is_some())
    }
}

impl Addresses {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Address> {
        self.assigned.iter().map(|it| &it.address)
    }

    pub(crate) fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.all().filter_map(Address::ip)
    }

    /// Those that are the Gateway's alone.
    pub(crate) fn of_pools(&self) -> BTreeSet<IpAddr> {
        let of_pools = self.assigned.iter().filter(|it| it.origin == Origin::Pool);
        of_pools.filter_map(|it| it.address.ip()).collect()
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
