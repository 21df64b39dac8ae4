//! Reads golden cases and shows outcomes as short YAML.

use gateway_agent_api::admission::{Refusal, admit};
use gateway_agent_routing::{Node, Outcome, Snapshot};
use gateway_agent_tables::{Endpoint, Frontend, L4Tables, Target};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// One case: the snapshot that its objects make, and what admission said about them.
pub(crate) struct Case {
    pub(crate) snapshot: Snapshot,
    refusals: Vec<Refusal>,
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CaseFile {
    /// For readers: what the case shows.
    #[serde(rename = "about")]
    _about: String,
    #[serde(default)]
    node: NodeFile,
    objects: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct NodeFile {
    name: String,
    addresses: Vec<std::net::IpAddr>,
    gateway_addresses: Vec<std::net::IpAddr>,
}

impl Default for NodeFile {
    fn default() -> Self {
        let addresses = vec!["192.0.2.1".parse().expect("an address")];
        Self { name: "node-a".to_owned(), gateway_addresses: addresses.clone(), addresses }
    }
}

/// Parses the first part of a golden file and admits its objects.
pub(crate) fn case(text: &str) -> Result<Case, String> {
    let file: CaseFile = serde_saphyr::from_str(text).map_err(|cause| cause.to_string())?;
    let NodeFile { name, addresses, gateway_addresses } = file.node;
    let mut case = Case {
        snapshot: Snapshot::new(Node { name, addresses, gateway_addresses }),
        refusals: Vec::new(),
        warnings: Vec::new(),
    };
    for object in file.objects {
        match admit(object) {
            Ok(admitted) => {
                let name = admitted.object.object_ref();
                case.warnings.extend(admitted.warnings.iter().map(|warning| format!("{name}: {warning}")));
                case.snapshot.insert(admitted.object);
            }
            Err(refusal) => case.refusals.push(refusal),
        }
    }
    Ok(case)
}

/// Everything that follows from a case; empty parts are left out.
pub(crate) fn show(case: &Case, outcome: &Outcome) -> Value {
    let statuses: Map<_, _> =
        outcome.statuses.iter().map(|(object, status)| (object.to_string(), show_status(status))).collect();
    let problems: Vec<_> = outcome.problems.iter().map(ToString::to_string).collect();
    let refusals: Vec<_> = case.refusals.iter().map(ToString::to_string).collect();
    let mut shown = json!({
        "refusals": refusals,
        "warnings": case.warnings,
        "problems": problems,
        "tables": show_tables(&outcome.tables.l4),
        "statuses": statuses,
    });
    if let Some(parts) = shown.as_object_mut() {
        parts.retain(|_, part| !is_empty(part));
    }
    shown
}

/// A status with its conditions as one line each: `Accepted True Accepted @generation: message`.
fn show_status(status: &Value) -> Value {
    match status {
        Value::Array(items) => items.iter().map(show_status).collect(),
        Value::Object(fields) if fields.contains_key("reason") => show_condition(fields).into(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), show_status(field)))
            .collect::<Map<_, _>>()
            .into(),
        _ => status.clone(),
    }
}

fn show_condition(fields: &Map<String, Value>) -> String {
    let text = |name: &str| fields[name].as_str().expect("a string");
    let generation =
        fields.get("observedGeneration").map(|generation| format!(" @{generation}")).unwrap_or_default();
    format!("{} {} {}{generation}: {}", text("type"), text("status"), text("reason"), text("message"))
}

fn show_tables(tables: &L4Tables) -> Value {
    let frontends: Map<_, _> =
        tables.frontends.iter().map(|(key, frontend)| (key.to_string(), show_frontend(frontend))).collect();
    let services: Map<_, _> = tables
        .services
        .iter()
        .map(|(port, endpoints)| {
            (port.to_string(), endpoints.ready.iter().map(show_endpoint).collect::<Vec<_>>().into())
        })
        .collect();
    let alive: Vec<_> =
        tables.alive.iter().map(|(protocol, address)| format!("{address}/{protocol}")).collect();
    let mut shown = json!({ "frontends": frontends, "services": services, "alive": alive });
    if let Some(parts) = shown.as_object_mut() {
        parts.retain(|_, part| !is_empty(part));
    }
    shown
}

fn show_frontend(frontend: &Frontend) -> Value {
    let Some(split) = &frontend.split else {
        return json!({ "listener": frontend.listener.to_string() });
    };
    let backends: Vec<_> = split
        .backends()
        .iter()
        .map(|backend| {
            let target = match &backend.target {
                Target::Service(port) => port.to_string(),
                Target::Refuse(refusal) => format!("{refusal:?}"),
            };
            format!("{} of {}: {} -> {target}", backend.weight, split.total_weight(), backend.name)
        })
        .collect();
    json!({
        "listener": frontend.listener.to_string(),
        "route": split.route().to_string(),
        "backends": backends,
    })
}

fn show_endpoint(endpoint: &Endpoint) -> Value {
    match &endpoint.node {
        Some(node) => format!("{} on {node}", endpoint.address).into(),
        None => endpoint.address.to_string().into(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
