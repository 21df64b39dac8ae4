//! Compiled tables, for people and programs.

use gateway_agent_tables::{L4Tables, Split, Tables, Target};
use serde_json::{Value, json};

use super::table::{NONE, Table};

pub fn as_text(tables: &Tables) -> String {
    let L4Tables { frontends, services, alive, pool } = &tables.l4;
    let mut newcomers = Table::new(&["frontend", "listener", "route", "backend", "weight", "leads to"]);
    for (key, frontend) in frontends {
        let head = || vec![key.to_string(), frontend.listener.to_string()];
        let Some(split) = &frontend.split else {
            newcomers
                .row([head(), [NONE, NONE, NONE, "refused: no route"].map(str::to_owned).to_vec()].concat());
            continue;
        };
        for backend in split.backends() {
            let row = vec![
                split.route().to_string(),
                backend.name.clone(),
                backend.weight.to_string(),
                target(&backend.target),
            ];
            newcomers.row([head(), row].concat());
        }
    }
    let mut endpoints = Table::new(&["service port", "ready endpoint", "node"]);
    for (port, set) in services {
        if set.ready.is_empty() {
            endpoints.row(vec![port.to_string(), "none".into(), NONE.into()]);
        }
        for endpoint in &set.ready {
            let node = endpoint.node.clone().unwrap_or_else(|| NONE.into());
            endpoints.row(vec![port.to_string(), endpoint.address.to_string(), node]);
        }
    }
    let mut listed = Table::new(&["protocol", "listed endpoint"]);
    for (protocol, address) in alive {
        listed.row(vec![protocol.to_string(), address.to_string()]);
    }
    let mut text = [newcomers, endpoints, listed].map(|table| table.render()).join("\n");
    if !pool.is_empty() {
        let mut held = Table::new(&["pool address"]);
        for address in pool {
            held.row(vec![address.to_string()]);
        }
        text = format!("{text}\n{}", held.render());
    }
    text
}

pub fn as_json(tables: &Tables) -> Value {
    let L4Tables { frontends, services, alive, pool } = &tables.l4;
    let frontends: Vec<_> = frontends
        .iter()
        .map(|(key, frontend)| {
            json!({
                "address": key.address,
                "port": key.port,
                "protocol": key.protocol.to_string(),
                "listener": frontend.listener.to_string(),
                "split": frontend.split.as_ref().map(split_json),
            })
        })
        .collect();
    let services: Vec<_> = services
        .iter()
        .map(|(port, set)| {
            let ready: Vec<_> =
                set.ready.iter().map(|e| json!({"address": e.address, "node": e.node})).collect();
            json!({
                "service": port.service.to_string(),
                "port": port.port,
                "protocol": port.protocol.to_string(),
                "family": port.family.to_string(),
                "ready": ready,
            })
        })
        .collect();
    let alive: Vec<_> =
        alive.iter().map(|(p, address)| json!({"protocol": p.to_string(), "address": address})).collect();
    json!({"frontends": frontends, "services": services, "alive": alive, "pool": pool})
}

fn split_json(split: &Split) -> Value {
    let backends: Vec<_> = split
        .backends()
        .iter()
        .map(|b| json!({"name": b.name, "weight": b.weight, "target": target(&b.target)}))
        .collect();
    json!({"route": split.route().to_string(), "backends": backends})
}

fn target(target: &Target) -> String {
    match target {
        Target::Service(port) => port.to_string(),
        Target::Refuse(refusal) => format!("refused: {refusal:?}"),
    }
}
