//! Pools: addresses that belong to Gateways alone.

use std::net::IpAddr;

use gateway_agent_api::own::gateway_config::GatewayConfigSpec;
use gateway_agent_api::{GatewayConfig, Kind, ObjectRef};
use gateway_agent_tables::Family;

use super::nodes::of_any_node;
use super::range::Range;
use crate::{Problem, Snapshot};

/// The pools of a `GatewayConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pools {
    pools: Vec<Pool>,
    /// Ranges that can't be read, with the reason; the others count.
    faults: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pool {
    name: String,
    ranges: Vec<Range>,
    /// Gateways get its addresses without asking for one by name.
    automatic: bool,
}

impl Pools {
    pub(crate) fn of(settings: &GatewayConfigSpec) -> Self {
        let mut pools = Self::default();
        for pool in settings.addresses.iter().flat_map(|addresses| addresses.pools.iter().flatten()) {
            let mut ranges = Vec::new();
            for text in &pool.ranges {
                match Range::parse(text) {
                    Ok(range) => ranges.push(range),
                    Err(cause) => pools.faults.push(format!("range {text} of pool {}: {cause}", pool.name)),
                }
            }
            let automatic = pool.auto_assign.unwrap_or(true);
            pools.pools.push(Pool { name: pool.name.clone(), ranges, automatic });
        }
        pools
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.pools.iter().any(|pool| pool.has(address).is_some())
    }

    /// Whether a Gateway may have the address without asking for it by name: all pools that hold it must say so.
    pub(super) fn is_automatic(&self, address: IpAddr) -> bool {
        self.contains(address) && self.by_name(address).is_none()
    }

    /// The families of which Gateways get addresses without asking for one by name.
    pub(super) fn families(&self) -> impl Iterator<Item = Family> {
        [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| self.automatic().any(|(_, it)| it.family == *family))
    }

    /// The first address that Gateways get without asking and that nobody has.
    pub(super) fn first_free(&self, family: Family, is_taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let taken = |address: IpAddr| {
            self.by_name(address).or_else(|| is_taken(address).then(|| Range::from(address)))
        };
        let ranges = self.automatic().filter(|(_, range)| range.family == family);
        ranges.into_iter().find_map(|(_, range)| range.first_free(taken))
    }

    /// Why there is no free address of a family (None: of any), and what to do: the end of a sentence that says so.
    pub(super) fn excuse(&self, family: Option<Family>) -> String {
        let fits = |range: &Range| family.is_none_or(|family| range.family == family);
        let mut names: Vec<_> =
            self.automatic().filter(|(_, range)| fits(range)).map(|(name, _)| name).collect();
        names.dedup();
        let faults = [&[String::new()], self.faults.as_slice()].concat().join("; ");
        match names.as_slice() {
            [] => format!(
                "no pool of its settings gives addresses by itself; add one to addresses.pools of its GatewayConfig, or \
                 name an address in spec.addresses{faults}"
            ),
            [name] => format!(
                "all addresses of pool {name} are in use; add a range to it, or delete a Gateway{faults}"
            ),
            names => format!(
                "all addresses of pools {} are in use; add a range to one, or delete a Gateway{faults}",
                names.join(", ")
            ),
        }
    }

    fn automatic(&self) -> impl Iterator<Item = (&str, &Range)> {
        let pools = self.pools.iter().filter(|pool| pool.automatic);
        pools.flat_map(|pool| pool.ranges.iter().map(|range| (pool.name.as_str(), range)))
    }

    /// The range that holds the address for those who ask for it by name.
    fn by_name(&self, address: IpAddr) -> Option<Range> {
        self.pools.iter().filter(|pool| !pool.automatic).find_map(|pool| pool.has(address))
    }

    fn ranges(&self) -> impl Iterator<Item = (&str, &Range)> {
        self.pools.iter().flat_map(|pool| pool.ranges.iter().map(|range| (pool.name.as_str(), range)))
    }

    /// Each pair of ranges that have an address in common.
    fn overlaps(&self) -> impl Iterator<Item = String> {
        let ranges: Vec<_> = self.ranges().collect();
        let pairs = (0..ranges.len()).flat_map(|last| (0..last).map(move |first| (first, last)));
        let overlaps = pairs.filter_map(move |(first, last)| {
            let ((name, range), (other, others)) = (ranges[first], ranges[last]);
            let common = range.first_common(others)?;
            Some(format!(
                "{range} of pool {name} and {others} of pool {other} both hold {common}; take it out of one of them"
            ))
        });
        overlaps.collect::<Vec<_>>().into_iter()
    }
}

impl Pool {
    fn has(&self, address: IpAddr) -> Option<Range> {
        self.ranges.iter().find(|range| range.contains(address)).copied()
    }
}

/// What is wrong with the pools of all settings, whoever uses them. What is right of them counts.
pub(super) fn problems(snapshot: &Snapshot) -> Vec<Problem> {
    let mut problems = Vec::new();
    for config in snapshot.all::<GatewayConfig>() {
        let pools = Pools::of(&config.spec);
        let faults = pools.faults.iter().map(|fault| format!("{fault}; it counts as missing"));
        let of_nodes = of_any_node(snapshot).into_iter().filter_map(|(address, node)| {
            let (pool, range) = pools.ranges().find(|(_, range)| range.contains(address))?;
            Some(format!(
                "{range} of pool {pool} holds {address}, which node {node} has; no Gateway gets that from the pool; take \
                 it out"
            ))
        });
        let (namespace, name) = (&config.metadata.namespace, &config.metadata.name);
        let name = name.as_deref().unwrap_or_default();
        let object = ObjectRef::new(Kind::GatewayConfig, namespace.as_deref().unwrap_or_default(), name);
        problems.extend(faults.chain(pools.overlaps()).chain(of_nodes).map(|message| Problem {
            object: object.clone(),
            part: Some("addresses.pools".to_owned()),
            condition: None,
            reason: "Invalid",
            message,
        }));
    }
    problems
}
