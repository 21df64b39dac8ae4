//! Counters by name: per-CPU values summed, ids resolved by `labels`.

use std::net::IpAddr;

use serde::Serialize;

/// Everything that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    pub frontends: Vec<FrontendStats>,
    /// Sums over the backends of each route.
    pub routes: Vec<RouteStats>,
    pub backends: Vec<BackendStats>,
    /// All reasons, also those never met.
    pub reasons: Vec<ReasonStats>,
    pub tables: Vec<TableFill>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

/// What went through a backend or a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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
pub struct RouteStats {
    /// `TCPRoute namespace/name`
    pub route: String,
    #[serde(flatten)]
    pub traffic: Traffic,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
pub struct ReasonStats {
    pub name: &'static str,
    pub description: &'static str,
    pub packets: u64,
}

/// How full a table is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableFill {
    pub name: &'static str,
    pub used: u64,
    pub capacity: u64,
}
