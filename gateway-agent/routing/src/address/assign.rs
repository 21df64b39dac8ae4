//! Who gets which address. A pure function of what was assigned before: what is still right stays, so that a change to one
//! Gateway moves no other.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use gateway_agent_api::Service;
use gateway_agent_api::own::gateway_config::AddressMode;
use gateway_agent_tables::Family;

use super::wish::{Wish, Wishes};
use super::{Address, Addresses, Asking, Origin, nodes};
use crate::{Snapshot, infrastructure};

/// Gives Gateways, which are in order of precedence, their addresses: first each keeps what it has of pools and still
/// wants, then each gets what it names, and then the rest is shared out.
pub(super) fn assign(gateways: &[&Asking], snapshot: &Snapshot) -> Vec<Addresses> {
    let mut holders = Holders::new(snapshot);
    for (index, gateway) in gateways.iter().enumerate() {
        keep(index, gateway, &mut holders);
    }
    for (index, gateway) in gateways.iter().enumerate() {
        for ip in gateway.wishes.named().filter_map(Address::ip) {
            if gateway.pools.contains(ip) && !holders.is_of_a_node(ip) {
                holders.of_pools.entry(ip).or_insert(index);
            }
        }
    }
    let assigned = gateways.iter().enumerate().map(|(index, gateway)| match &gateway.wishes {
        Wishes::Default => default(index, gateway, &mut holders),
        Wishes::Entries(entries) => by_entry(index, entries, gateways, &mut holders),
    });
    assigned.collect()
}

/// Who has which address.
struct Holders<'s> {
    snapshot: &'s Snapshot,
    /// Looked for only when a pool has an address to give.
    of_nodes: OnceCell<BTreeMap<IpAddr, &'s str>>,
    /// By index of the Gateway.
    of_pools: BTreeMap<IpAddr, usize>,
    of_services: OnceCell<BTreeSet<IpAddr>>,
}

/// An address that a Gateway has of a pool and still wants is its own, unless an older one has it too.
fn keep(index: usize, gateway: &Asking, holders: &mut Holders<'_>) {
    let (mut default, mut any) = (BTreeSet::new(), 0);
    for ip in holders.before(gateway).filter_map(Address::ip) {
        if !gateway.pools.contains(ip) || holders.is_of_a_node(ip) {
            continue;
        }
        let is_wanted = gateway.wishes.named().any(|named| *named == Address::Ip(ip))
            || wants_of_pools(gateway)
                && gateway.pools.is_automatic(ip)
                && match gateway.wishes {
                    Wishes::Default => default.insert(Family::of(ip)),
                    Wishes::Entries(_) => {
                        any < gateway.wishes.any() && {
                            any += 1;
                            true
                        }
                    }
                };
        if is_wanted {
            holders.of_pools.entry(ip).or_insert(index);
        }
    }
}

fn wants_of_pools(gateway: &Asking) -> bool {
    gateway.mode() == AddressMode::Pool
}

/// What a Gateway without spec.addresses gets.
fn default(index: usize, gateway: &Asking, holders: &mut Holders<'_>) -> Addresses {
    let mut addresses = Addresses::default();
    match gateway.mode() {
        AddressMode::Node => {
            for ip in holders.offered(gateway) {
                addresses.add(Address::Ip(ip), Origin::Node);
            }
            if addresses.assigned.is_empty() {
                addresses.miss(NOT_ASSIGNED, no_node_address(gateway, holders.snapshot));
            }
        }
        AddressMode::Pool => {
            for family in gateway.pools.families() {
                match holders.of_pool(index, gateway, Some(family), &addresses) {
                    Some(ip) => addresses.add(Address::Ip(ip), Origin::Pool),
                    None => addresses.miss(NOT_ASSIGNED, no_pool_address(gateway, Some(family))),
                }
            }
            if gateway.pools.families().next().is_none() {
                addresses.miss(NOT_ASSIGNED, no_pool_address(gateway, None));
            }
        }
        AddressMode::LoadBalancer => {
            for address in holders.balanced(gateway) {
                addresses.add(address, Origin::LoadBalancer);
            }
            if addresses.assigned.is_empty() {
                addresses.miss(NOT_ASSIGNED, no_load_balancer(gateway));
            }
        }
    }
    addresses
}

/// One address for each entry of spec.addresses.
fn by_entry(index: usize, entries: &[Wish], gateways: &[&Asking], holders: &mut Holders<'_>) -> Addresses {
    let gateway = gateways[index];
    let mut addresses = Addresses::default();
    for entry in entries {
        match entry {
            Wish::Impossible(cause) => addresses.miss(NOT_USABLE, cause.clone()),
            Wish::This(address) => match named(address, index, gateways, holders) {
                Ok(origin) => addresses.add(address.clone(), origin),
                Err(cause) => addresses.miss(NOT_USABLE, cause),
            },
            Wish::Any => match any(index, gateway, &addresses, holders) {
                Ok((address, origin)) => addresses.add(address, origin),
                Err(cause) => addresses.miss(NOT_ASSIGNED, cause),
            },
        }
    }
    addresses
}

/// Whether a Gateway may have an address that it names.
fn named(
    address: &Address,
    index: usize,
    gateways: &[&Asking],
    holders: &Holders<'_>,
) -> Result<Origin, String> {
    let gateway = gateways[index];
    if let Some(ip) = address.ip() {
        if nodes::has(ip, &gateway.settings, holders.snapshot) {
            return Ok(Origin::Node);
        }
        if let Some(&holder) = holders.of_pools.get(&ip) {
            return if holder == index {
                Ok(Origin::Pool)
            } else {
                Err(held(address, gateway, gateways[holder]))
            };
        }
    }
    if gateway.mode() == AddressMode::LoadBalancer {
        let service = infrastructure::load_balancer_name(gateway);
        let has_it = holders.balanced(gateway).contains(address);
        return if has_it {
            Ok(Origin::LoadBalancer)
        } else {
            Err(format!(
                "the load balancer of Service {service} does not give address {address} to Gateway {}; name another one, \
                 or none",
                gateway.gateway
            ))
        };
    }
    Err(format!(
        "address {address} of Gateway {} is neither one of a node that serves nor in a pool of its settings; name one that \
         is, or add it to addresses.pools of the GatewayConfig",
        gateway.gateway
    ))
}

/// An address for an entry that leaves the choice to us, which the Gateway doesn't have yet.
fn any(
    index: usize,
    gateway: &Asking,
    has: &Addresses,
    holders: &mut Holders<'_>,
) -> Result<(Address, Origin), String> {
    let named: Vec<_> = gateway.wishes.named().collect();
    let is_free = |address: &Address| !has.has(address) && !named.contains(&address);
    match gateway.mode() {
        AddressMode::Node => {
            let mut offered = holders.offered(gateway).into_iter().map(Address::Ip);
            let free = offered.find(is_free).ok_or_else(|| no_node_address(gateway, holders.snapshot))?;
            Ok((free, Origin::Node))
        }
        AddressMode::Pool => {
            let free =
                holders.of_pool(index, gateway, None, has).ok_or_else(|| no_pool_address(gateway, None))?;
            Ok((Address::Ip(free), Origin::Pool))
        }
        AddressMode::LoadBalancer => {
            let free = holders.balanced(gateway).into_iter().find(is_free);
            Ok((free.ok_or_else(|| no_load_balancer(gateway))?, Origin::LoadBalancer))
        }
    }
}

impl<'s> Holders<'s> {
    fn new(snapshot: &'s Snapshot) -> Self {
        Self { snapshot, of_nodes: OnceCell::new(), of_pools: BTreeMap::new(), of_services: OnceCell::new() }
    }

    /// Whether any node has the address anyway.
    fn is_of_a_node(&self, ip: IpAddr) -> bool {
        self.of_nodes.get_or_init(|| nodes::of_any_node(self.snapshot)).contains_key(&ip)
    }

    /// What the Gateway had, in its order.
    fn before(&self, gateway: &Asking) -> impl Iterator<Item = &'s Address> + use<'s> {
        self.snapshot.assignments.get(&gateway.gateway).into_iter().flatten()
    }

    /// What nodes offer: first what the Gateway had already, so that nothing moves when a node comes or goes.
    fn offered(&self, gateway: &Asking) -> Vec<IpAddr> {
        let offered = nodes::offered(&gateway.settings, self.snapshot);
        let before: Vec<_> = self.before(gateway).filter_map(Address::ip).collect();
        let kept = before.iter().filter(|ip| offered.contains(ip));
        kept.chain(offered.iter().filter(|ip| !before.contains(ip))).copied().collect()
    }

    fn balanced(&self, gateway: &Asking) -> Vec<Address> {
        infrastructure::balanced_addresses(gateway, self.snapshot)
    }

    /// What the Gateway kept of the pools that give addresses by themselves, else the first free one, which it takes. Without
    /// a family: of that of which it has fewer.
    fn of_pool(
        &mut self,
        index: usize,
        gateway: &Asking,
        family: Option<Family>,
        has: &Addresses,
    ) -> Option<IpAddr> {
        let is_new = |ip: IpAddr| {
            !has.has(&Address::Ip(ip)) && !gateway.wishes.named().any(|named| *named == Address::Ip(ip))
        };
        let fits = |ip: IpAddr| family.is_none_or(|family| family == Family::of(ip));
        let mine = |ip: &IpAddr| self.of_pools.get(ip) == Some(&index);
        let mut kept = self.before(gateway).filter_map(Address::ip).filter(|ip| mine(ip) && fits(*ip));
        if let Some(ip) = kept.find(|ip| is_new(*ip)) {
            return Some(ip);
        }
        let mut families: Vec<_> =
            gateway.pools.families().filter(|it| family.is_none_or(|family| family == *it)).collect();
        families.sort_by_key(|family| has.ips().filter(|ip| Family::of(*ip) == *family).count());
        let is_taken = |ip: IpAddr| {
            self.of_pools.contains_key(&ip) || self.is_of_a_node(ip) || self.of_services().contains(&ip)
        };
        let free = families.into_iter().find_map(|family| gateway.pools.first_free(family, is_taken))?;
        self.of_pools.insert(free, index);
        Some(free)
    }

    /// Addresses that Services have from elsewhere. Asked for only when a further address is needed.
    fn of_services(&self) -> &BTreeSet<IpAddr> {
        self.of_services.get_or_init(|| {
            let services = self.snapshot.all::<Service>();
            let texts = services.flat_map(|service| {
                let external = service.spec.iter().flat_map(|spec| spec.external_ips.iter().flatten());
                let status = service.status.iter().filter_map(|status| status.load_balancer.as_ref());
                let ingress = status.flat_map(|status| status.ingress.iter().flatten());
                external.chain(ingress.filter_map(|ingress| ingress.ip.as_ref()))
            });
            texts.filter_map(|text| text.parse().ok()).collect()
        })
    }
}

/// Reasons of Programmed (Gateway API).
const NOT_ASSIGNED: &str = "AddressNotAssigned";
const NOT_USABLE: &str = "AddressNotUsable";

fn held(address: &Address, gateway: &Asking, holder: &Asking) -> String {
    let name = &gateway.gateway;
    let whose = if holder.gateway.namespace == name.namespace {
        format!("Gateway {}", holder.gateway)
    } else {
        "a Gateway of another namespace".to_owned()
    };
    format!("address {address} of Gateway {name} belongs to {whose} already; name another one")
}

fn no_node_address(gateway: &Asking, snapshot: &Snapshot) -> String {
    let name = &gateway.gateway;
    if snapshot.nodes.is_some() {
        return format!(
            "no further node serves that has an address for Gateway {name}: it must be Ready, its agent must report, \
             addresses.nodeSelector of the GatewayConfig must select it, and it must not have the label \
             node.kubernetes.io/exclude-from-external-load-balancers"
        );
    }
    format!(
        "node {} has too few Gateway addresses for Gateway {name}; start the agent with --node-address, or name an \
         address of the node in spec.addresses",
        snapshot.node.name
    )
}

fn no_pool_address(gateway: &Asking, family: Option<Family>) -> String {
    let kind = match family {
        Some(Family::V4) => "IPv4 address",
        Some(Family::V6) => "IPv6 address",
        None => "address",
    };
    format!("no {kind} is left for Gateway {}: {}", gateway.gateway, gateway.pools.excuse(family))
}

fn no_load_balancer(gateway: &Asking) -> String {
    format!(
        "Service {} has no address for Gateway {} yet; the load balancer of the cluster gives it one: see its Events",
        infrastructure::load_balancer_name(gateway),
        gateway.gateway
    )
}
