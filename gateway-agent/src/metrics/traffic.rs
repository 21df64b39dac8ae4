//! What the kernel counts.

use std::net::SocketAddr;

use gateway_agent_kernel::{BackendStats, FrontendStats, Stats, Traffic};

use super::{Family, Labels, float};

/// A family's name and help, and what it shows.
type Counted = (&'static str, &'static str, fn(&Traffic) -> u64);

/// Families of all counters, those first that have few series.
pub fn traffic(stats: &Stats) -> Vec<Family> {
    let reasons = stats.reasons.iter();
    let tables = || stats.tables.iter().map(|table| vec![("table", table.name.to_owned())]);
    let mut families = vec![
        Family::counter(
            "packets_refused",
            "Packets that were dropped or refused, by reason",
            reasons.map(|reason| (vec![("reason", reason.name.to_owned())], float(reason.packets))).collect(),
        ),
        Family::gauge(
            "table_entries",
            "Entries in use of a kernel table",
            tables().zip(stats.tables.iter().map(|table| float(table.used))).collect(),
        ),
        Family::gauge(
            "table_capacity",
            "Entries that a kernel table has room for",
            tables().zip(stats.tables.iter().map(|table| float(table.capacity))).collect(),
        ),
        of_frontends(stats, "frontend_flows", "Newcomers that were given an endpoint", |it| it.flows),
        of_frontends(stats, "frontend_refused", "Newcomers that were refused", |it| it.refused),
    ];
    let of_backends: [Counted; 6] = [
        ("backend_flows", "Newcomers that were given an endpoint of the backend", |it| it.flows),
        ("backend_refused", "Newcomers that fell to the backend and were refused", |it| it.refused),
        ("backend_bytes_in", "Bytes from clients to endpoints", |it| it.bytes_in),
        ("backend_bytes_out", "Bytes from endpoints to clients", |it| it.bytes_out),
        ("backend_packets_in", "Packets from clients to endpoints", |it| it.packets_in),
        ("backend_packets_out", "Packets from endpoints to clients", |it| it.packets_out),
    ];
    families.extend(of_backends.map(|(name, help, value)| {
        let series = stats.backends.iter().map(|it| (backend(stats, it), float(value(&it.traffic))));
        Family::counter(name, help, series.collect())
    }));
    families
}

fn of_frontends(
    stats: &Stats,
    name: &'static str,
    help: &'static str,
    value: fn(&FrontendStats) -> u64,
) -> Family {
    let labels = |it: &FrontendStats| {
        vec![
            ("frontend", address(it)),
            ("protocol", it.protocol.clone()),
            ("gateway", it.gateway.clone()),
            ("listener", it.listener.clone()),
        ]
    };
    Family::counter(name, help, stats.frontends.iter().map(|it| (labels(it), float(value(it)))).collect())
}

fn backend(stats: &Stats, backend: &BackendStats) -> Labels {
    let frontend = stats.frontends.iter().find(|frontend| frontend.id == backend.frontend);
    vec![
        ("frontend", frontend.map(address).unwrap_or_default()),
        ("protocol", frontend.map(|it| it.protocol.clone()).unwrap_or_default()),
        ("gateway", frontend.map(|it| it.gateway.clone()).unwrap_or_default()),
        ("listener", frontend.map(|it| it.listener.clone()).unwrap_or_default()),
        ("route", backend.route.clone()),
        ("backend", backend.backend.clone()),
    ]
}

fn address(frontend: &FrontendStats) -> String {
    SocketAddr::new(frontend.address, frontend.port).to_string()
}
