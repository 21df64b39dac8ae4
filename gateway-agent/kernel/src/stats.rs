//! Counters by name: per-CPU values summed, ids resolved by `labels`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Add;

use aya::maps::MapError;
use gateway_agent_tables::Protocol;
use gateway_common::maps::{BackendCounters, EndpointState, LabelKind};
use gateway_common::reason::Reason;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::address::parse_key;
use crate::labels::{self, BackendLabel, FrontendLabel, RingLabel};
use crate::pins::PinsError;
use crate::rings::region_of;
use crate::store::Store;
use crate::{flows, sys};

/// Everything that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    pub frontends: Vec<FrontendStats>,
    /// By address and port.
    pub steered: Vec<SteeredStats>,
    /// Sums over the backends of each route.
    pub routes: Vec<RouteStats>,
    pub backends: Vec<BackendStats>,
    /// All reasons, also those never met.
    pub reasons: Vec<ReasonStats>,
    pub pool: PoolStats,
    pub tables: Vec<TableFill>,
}

/// What was done for pool addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolStats {
    /// ARP requests and neighbour solicitations that this node answered.
    pub answered: u64,
    /// Packets that were handed on to their endpoint's node, which counts them by their backend.
    pub handed_on: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendStats {
    pub id: u32,
    pub address: IpAddr,
    pub port: u16,
    /// `tcp` or `udp`
    pub protocol: String,
    /// `namespace/name` of the Gateway.
    pub gateway: String,
    pub listener: String,
    /// Newcomers that were given an endpoint.
    pub flows: u64,
    /// Newcomers that were refused, for any reason.
    pub refused: u64,
}

/// Connections that the proxy takes, of one address and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SteeredStats {
    pub address: IpAddr,
    pub port: u16,
    /// Connections that began.
    pub connections: u64,
    /// SYNs that were reset, because no proxy had a socket.
    pub refused: u64,
}

/// What went through a backend or a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    pub flows: u64,
    pub refused: u64,
    /// Client to endpoint.
    pub packets_in: u64,
    pub bytes_in: u64,
    /// Endpoint to client.
    pub packets_out: u64,
    pub bytes_out: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteStats {
    /// `TCPRoute namespace/name`
    pub route: String,
    #[serde(flatten)]
    pub traffic: Traffic,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStats {
    pub id: u32,
    /// Id of the frontend whose newcomers it takes.
    pub frontend: u32,
    /// `TCPRoute namespace/name rule 0`
    pub route: String,
    /// `namespace/service:port`
    pub backend: String,
    pub weight: u32,
    #[serde(flatten)]
    pub traffic: Traffic,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReasonStats {
    pub name: &'static str,
    pub description: &'static str,
    pub packets: u64,
}

/// How full a table is; the names are those of [`crate::Sizes::NAMES`], and `flows`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableFill {
    pub name: &'static str,
    pub used: u64,
    pub capacity: u64,
}

pub(crate) fn read(store: &Store) -> Result<Stats, PinsError> {
    let frontends = frontends(store)?;
    let backends = backends(store)?;
    Ok(Stats {
        routes: routes(&backends),
        reasons: reasons(store)?,
        pool: pool(store)?,
        tables: tables(store, frontends.len(), backends.len())?,
        frontends,
        steered: steered(store)?,
        backends,
    })
}

fn pool(store: &Store) -> Result<PoolStats, PinsError> {
    let counters = store.pool_stats.get(&0, 0).map_err(|e| map_error("pool_stats", e))?;
    Ok(PoolStats {
        answered: counters.iter().map(|c| c.answered).sum(),
        handed_on: counters.iter().map(|c| c.handed_on).sum(),
    })
}

fn frontends(store: &Store) -> Result<Vec<FrontendStats>, PinsError> {
    let mut frontends = Vec::new();
    for (id, label) in labels_of::<FrontendLabel>(store, LabelKind::Frontend)? {
        let counters = store.frontend_stats.get(&id, 0).map_err(|e| map_error("frontend_stats", e))?;
        frontends.push(FrontendStats {
            id,
            address: label.address,
            port: label.port.get(),
            protocol: Protocol::from(label.protocol).to_string(),
            gateway: label.gateway,
            listener: label.listener,
            flows: counters.iter().map(|c| c.flows).sum(),
            refused: counters.iter().map(|c| c.refused).sum(),
        });
    }
    Ok(frontends)
}

fn steered(store: &Store) -> Result<Vec<SteeredStats>, PinsError> {
    let mut steered = Vec::new();
    for entry in &store.steered {
        let (key, counters) = entry.map_err(|e| map_error("steered", e))?;
        steered.extend(parse_key(&key).map(|key| SteeredStats {
            address: key.address,
            port: key.port.get(),
            connections: counters.iter().map(|c| c.connections).sum(),
            refused: counters.iter().map(|c| c.refused).sum(),
        }));
    }
    steered.sort();
    Ok(steered)
}

fn backends(store: &Store) -> Result<Vec<BackendStats>, PinsError> {
    let mut backends = Vec::new();
    for (id, label) in labels_of::<BackendLabel>(store, LabelKind::Backend)? {
        let counters = store.backend_stats.get(&id, 0).map_err(|e| map_error("backend_stats", e))?;
        backends.push(BackendStats {
            id,
            frontend: label.frontend,
            route: label.route().to_string(),
            backend: label.backend,
            weight: label.weight,
            traffic: counters.iter().fold(Traffic::default(), |sum, c| sum + Traffic::from(c)),
        });
    }
    Ok(backends)
}

/// By name, over all rules and frontends.
fn routes(backends: &[BackendStats]) -> Vec<RouteStats> {
    let mut sums = BTreeMap::<&str, Traffic>::new();
    for backend in backends {
        let name = backend.route.rsplit_once(" rule ").map_or(backend.route.as_str(), |(name, _)| name);
        let sum = sums.entry(name).or_default();
        *sum = *sum + backend.traffic;
    }
    sums.into_iter().map(|(route, traffic)| RouteStats { route: route.to_owned(), traffic }).collect()
}

fn reasons(store: &Store) -> Result<Vec<ReasonStats>, PinsError> {
    let counters = store.reasons.get(&0, 0).map_err(|e| map_error("reasons", e))?;
    let of = |reason: &Reason| ReasonStats {
        name: reason.name(),
        description: reason.description().trim(),
        packets: counters.iter().map(|c| c.of(*reason)).sum(),
    };
    Ok(Reason::ALL.iter().map(of).collect())
}

fn tables(store: &Store, frontends: usize, backends: usize) -> Result<Vec<TableFill>, PinsError> {
    let rings = labels_of::<RingLabel>(store, LabelKind::Ring)?;
    let mut places = 0;
    for (id, _) in &rings {
        places += store.rings.get(*id as usize).map_or(0, |ring| u64::from(region_of(ring).len));
    }
    let mut endpoints = 0;
    for endpoint in store.endpoints.iter() {
        let endpoint = endpoint.map_err(|e| map_error("endpoints", e))?;
        endpoints += u64::from(endpoint.state != EndpointState::Gone as u8);
    }
    let fill = |name, used, capacity: u32| TableFill { name, used, capacity: capacity.into() };
    Ok(vec![
        TableFill {
            name: "flows",
            used: flows::count(&store.forward, sys::tick()),
            capacity: store.forward.len() as u64,
        },
        fill("frontends", frontends as u64, store.frontend_stats.len()),
        fill("backends", backends as u64, store.backend_stats.len()),
        TableFill { name: "services", used: rings.len() as u64, capacity: store.rings.len() as u64 },
        fill("endpoints", endpoints, store.endpoints.len()),
        TableFill { name: "ring-places", used: places, capacity: store.maglev.len() as u64 },
    ])
}

/// Labels that can be read, by id.
fn labels_of<T: DeserializeOwned>(store: &Store, kind: LabelKind) -> Result<Vec<(u32, T)>, PinsError> {
    let labels = labels::read(&store.labels, kind).map_err(|e| map_error("labels", e))?;
    Ok(labels.into_iter().filter_map(|(id, label)| Some((id, label?))).collect())
}

fn map_error(map: &'static str, cause: MapError) -> PinsError {
    PinsError::Map { map, cause }
}

impl From<&BackendCounters> for Traffic {
    fn from(counters: &BackendCounters) -> Self {
        let BackendCounters { flows, refused, packets_in, bytes_in, packets_out, bytes_out } = *counters;
        Self { flows, refused, packets_in, bytes_in, packets_out, bytes_out }
    }
}

impl Add for Traffic {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            flows: self.flows + other.flows,
            refused: self.refused + other.refused,
            packets_in: self.packets_in + other.packets_in,
            bytes_in: self.bytes_in + other.bytes_in,
            packets_out: self.packets_out + other.packets_out,
            bytes_out: self.bytes_out + other.bytes_out,
        }
    }
}
