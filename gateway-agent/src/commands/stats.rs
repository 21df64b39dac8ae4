//! `gateway-agent stats`

use std::thread::sleep;
use std::time::Duration;

use gateway_agent_kernel::{Pins, Stats, SteeredStats, Traffic};

use super::table::{NONE, Table};
use super::{print, print_json};
use crate::cli::{self, Form};
use crate::failure::Failure;

/// Between two pictures of `--watch`; rates are per second.
const INTERVAL: Duration = Duration::from_secs(1);

/// Puts the cursor in the upper left corner and clears the screen (ECMA-48 CUP and ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

pub fn execute(arguments: &cli::Stats) -> Result<(), Failure> {
    let pins = Pins::open(&arguments.pin.path)?;
    let mut stats = pins.stats()?;
    show(&stats, None, arguments)?;
    if !arguments.watch {
        return Ok(());
    }
    loop {
        sleep(INTERVAL);
        // Opened anew: another agent may have replaced the tables.
        let now = Pins::open(&arguments.pin.path)?.stats()?;
        show(&now, Some(&stats), arguments)?;
        stats = now;
    }
}

fn show(stats: &Stats, before: Option<&Stats>, arguments: &cli::Stats) -> Result<(), Failure> {
    match arguments.output {
        Form::Json if arguments.watch => print(&format!("{}\n", serde_json::to_string(stats)?)),
        Form::Json => print_json(stats),
        Form::Text if arguments.watch => print(&format!("{CLEAR}{}", as_text(stats, before))),
        Form::Text => print(&as_text(stats, before)),
    }
}

fn as_text(stats: &Stats, before: Option<&Stats>) -> String {
    let sections = [
        ("Frontends", frontends(stats, before)),
        ("Connections steered to the proxy", steered(stats, before)),
        ("Routes", routes(stats, before)),
        ("Backends", backends(stats, before)),
        ("Packets refused or dropped, by reason", reasons(stats, before)),
        ("Pool addresses", pool(stats, before)),
        ("Tables", tables(stats)),
    ];
    let text = sections.map(|(title, table)| {
        if table.is_empty() { format!("{title}: none\n") } else { format!("{title}\n{}", table.render()) }
    });
    text.join("\n")
}

fn frontends(stats: &Stats, before: Option<&Stats>) -> Table {
    let mut table =
        Table::new(&["address", "gateway", "listener", "flows", "flows/s", "refused", "refused/s"]);
    for frontend in &stats.frontends {
        let address = std::net::SocketAddr::new(frontend.address, frontend.port);
        let old = before.and_then(|b| b.frontends.iter().find(|old| old.id == frontend.id));
        table.row(vec![
            format!("{address}/{}", frontend.protocol),
            frontend.gateway.clone(),
            frontend.listener.clone(),
            frontend.flows.to_string(),
            rate(frontend.flows, old.map(|old| old.flows)),
            frontend.refused.to_string(),
            rate(frontend.refused, old.map(|old| old.refused)),
        ]);
    }
    table
}

fn steered(stats: &Stats, before: Option<&Stats>) -> Table {
    let mut table = Table::new(&["address", "connections", "connections/s", "refused"]);
    for steered in &stats.steered {
        let address = |of: &SteeredStats| std::net::SocketAddr::new(of.address, of.port);
        let old = before.and_then(|b| b.steered.iter().find(|old| address(old) == address(steered)));
        table.row(vec![
            address(steered).to_string(),
            steered.connections.to_string(),
            rate(steered.connections, old.map(|old| old.connections)),
            steered.refused.to_string(),
        ]);
    }
    table
}

const TRAFFIC: [&str; 8] =
    ["flows", "flows/s", "refused", "packets in", "bytes in", "packets out", "bytes out", "bytes/s"];

fn routes(stats: &Stats, before: Option<&Stats>) -> Table {
    let mut table = Table::new(&[&["route"], TRAFFIC.as_slice()].concat());
    for route in &stats.routes {
        let old = before.and_then(|b| b.routes.iter().find(|old| old.route == route.route));
        let mut cells = vec![route.route.clone()];
        cells.extend(traffic(route.traffic, old.map(|old| old.traffic)));
        table.row(cells);
    }
    table
}

fn backends(stats: &Stats, before: Option<&Stats>) -> Table {
    let mut table = Table::new(&[&["route", "backend", "weight", "frontend"], TRAFFIC.as_slice()].concat());
    for backend in &stats.backends {
        let old = before.and_then(|b| b.backends.iter().find(|old| old.id == backend.id));
        let frontend = stats.frontends.iter().find(|frontend| frontend.id == backend.frontend);
        let mut cells = vec![
            backend.route.clone(),
            backend.backend.clone(),
            backend.weight.to_string(),
            frontend.map_or(NONE.to_owned(), |f| std::net::SocketAddr::new(f.address, f.port).to_string()),
        ];
        cells.extend(traffic(backend.traffic, old.map(|old| old.traffic)));
        table.row(cells);
    }
    table
}

fn traffic(now: Traffic, before: Option<Traffic>) -> [String; 8] {
    [
        now.flows.to_string(),
        rate(now.flows, before.map(|b| b.flows)),
        now.refused.to_string(),
        now.packets_in.to_string(),
        now.bytes_in.to_string(),
        now.packets_out.to_string(),
        now.bytes_out.to_string(),
        rate(now.bytes_in + now.bytes_out, before.map(|b| b.bytes_in + b.bytes_out)),
    ]
}

fn reasons(stats: &Stats, before: Option<&Stats>) -> Table {
    let mut table = Table::new(&["reason", "packets", "packets/s", "meaning"]);
    for reason in stats.reasons.iter().filter(|reason| reason.packets > 0) {
        let old = before.and_then(|b| b.reasons.iter().find(|old| old.name == reason.name));
        table.row(vec![
            reason.name.to_owned(),
            reason.packets.to_string(),
            rate(reason.packets, old.map(|old| old.packets)),
            reason.description.trim().to_owned(),
        ]);
    }
    table
}

fn pool(stats: &Stats, before: Option<&Stats>) -> Table {
    let mut table = Table::new(&["for pool addresses", "number", "number/s"]);
    let old = before.map(|before| before.pool);
    for (what, now, old) in [
        ("neighbours' questions answered", stats.pool.answered, old.map(|old| old.answered)),
        ("packets handed on to other nodes", stats.pool.handed_on, old.map(|old| old.handed_on)),
    ] {
        if now > 0 {
            table.row(vec![what.to_owned(), now.to_string(), rate(now, old)]);
        }
    }
    table
}

fn tables(stats: &Stats) -> Table {
    let mut table = Table::new(&["table", "used", "capacity"]);
    for fill in &stats.tables {
        table.row(vec![fill.name.to_owned(), fill.used.to_string(), fill.capacity.to_string()]);
    }
    table
}

/// Counters of a replaced entry begin at 0 again.
fn rate(now: u64, before: Option<u64>) -> String {
    before.map_or_else(|| NONE.to_owned(), |before| now.saturating_sub(before).to_string())
}
