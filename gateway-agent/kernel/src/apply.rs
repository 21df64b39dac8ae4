use gateway_agent_tables::{FrontendKey, RouteName, ServicePort};
use std::net::SocketAddr;

/// What [`crate::Kernel::apply`] changed and what it could not.
#[derive(Debug, Default)]
#[must_use]
pub struct ApplyReport {
    /// Map entries written or removed; 0: the tables were in place already.
    pub changes: usize,
    /// Entries that are not in the kernel as the tables say. Everything else is.
    pub problems: Vec<ApplyProblem>,
}

/// Something that the kernel doesn't hold.
#[derive(Debug, thiserror::Error)]
pub enum ApplyProblem {
    #[error("frontend {frontend} does not fit: all {capacity} are in use; raise the number of frontends")]
    FrontendsFull { frontend: FrontendKey, capacity: u32 },
    #[error(
        "{route} at {frontend}: backend {backend} does not fit: all {capacity} are in use; raise the number of backends"
    )]
    BackendsFull { frontend: FrontendKey, route: RouteName, backend: String, capacity: u32 },
    #[error("Service port {service} does not fit: all {capacity} are in use; raise the number of services")]
    ServicesFull { service: ServicePort, capacity: u32 },
    #[error(
        "Service port {service} keeps its former endpoints: a ring of {needed} places does not fit in {capacity}; raise the number of ring places"
    )]
    RingPlacesFull { service: ServicePort, needed: u32, capacity: u32 },
    #[error(
        "endpoint {endpoint} of {service} gets no connections: all {capacity} are in use; raise the number of endpoints"
    )]
    EndpointsFull { service: ServicePort, endpoint: SocketAddr, capacity: u32 },
    #[error("{what}: the kernel refused to change map {map}: {source}; the next change tries again")]
    Map { map: &'static str, what: String, source: aya::maps::MapError },
}
