//! Reads golden cases and shows outcomes as short YAML.

mod http;
mod requests;
mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use gateway_agent_api::admission::{Refusal, admit};
use gateway_agent_api::{Kind, Object, Time};
use gateway_agent_routing::{Address, Assigner, Minutes, Node, OfferingNode, Outcome, Service, Snapshot};
use gateway_agent_tables::{
    Endpoint, Frontend, FrontendKey, L4Tables, ListenerName, ObjectName, Protocol, Split, Target,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// One case: the snapshot that its objects make, and what admission said about them.
pub(crate) struct Case {
    pub(crate) snapshot: Snapshot,
    refusals: Vec<Refusal>,
    warnings: Vec<String>,
    requests: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CaseFile {
    /// For readers: what the case shows.
    #[serde(rename = "about")]
    _about: String,
    #[serde(default)]
    node: NodeFile,
    /// The nodes of a cluster, for a case of its controller.
    nodes: Option<Vec<OfferingFile>>,
    /// Who else has places of this node, as `192.0.2.1:80/tcp`.
    #[serde(default)]
    holders: BTreeMap<String, String>,
    /// What Gateways had before, by namespace/name.
    #[serde(default)]
    assignments: BTreeMap<String, Vec<String>>,
    /// The controller assigns, and this is an agent.
    #[serde(default)]
    follows: bool,
    /// When the case takes place.
    now: Option<Time>,
    /// What data planes can do, as `HTTP` or `TlsPassthrough`; without it what is built.
    served: Option<Vec<String>>,
    /// What they accept connections for; without it what is built.
    accepted: Option<Vec<String>>,
    objects: Vec<Value>,
    /// Objects that an API server let in, whatever our schemas say: it may know values that we don't.
    #[serde(default)]
    received: Vec<Value>,
    /// Requests to the HTTP tables, see [`requests`].
    #[serde(default)]
    requests: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct NodeFile {
    name: String,
    addresses: Vec<std::net::IpAddr>,
    gateway_addresses: Vec<std::net::IpAddr>,
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferingFile {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    addresses: Vec<std::net::IpAddr>,
    #[serde(default)]
    unpublished: bool,
    /// Listeners, as namespace/gateway/listener, that it can't serve.
    #[serde(default)]
    refusals: BTreeMap<String, String>,
}

impl Default for NodeFile {
    fn default() -> Self {
        let addresses = vec!["192.0.2.1".parse().expect("an address")];
        Self {
            name: "node-a".to_owned(),
            gateway_addresses: addresses.clone(),
            addresses,
            labels: BTreeMap::new(),
        }
    }
}

/// Parses the first part of a golden file and admits its objects.
pub(crate) fn case(text: &str) -> Result<Case, String> {
    let mut file: CaseFile = serde_saphyr::from_str(text).map_err(|cause| cause.to_string())?;
    file.objects.iter_mut().for_each(insert_certificates);
    let NodeFile { name, addresses, gateway_addresses, labels } = file.node;
    let mut case = Case {
        snapshot: Snapshot::new(Node { name, addresses, gateway_addresses, labels }),
        refusals: Vec::new(),
        warnings: Vec::new(),
        requests: file.requests,
    };
    if let Some(now) = file.now {
        let seconds = u64::try_from(now.0.as_second()).expect("a time after 1970");
        case.snapshot.now = Some(Minutes(seconds / 60));
    }
    if let Some(served) = file.served {
        case.snapshot.served = served.iter().map(|name| service(name)).collect();
    }
    if let Some(accepted) = file.accepted {
        case.snapshot.accepted = accepted.iter().map(|name| service(name)).collect();
    }
    case.snapshot.nodes = file.nodes.map(|nodes| nodes.into_iter().map(OfferingNode::from).collect());
    case.snapshot.holders = file.holders.into_iter().map(holder).collect();
    case.snapshot.assignments = file.assignments.iter().map(assignment).collect();
    if file.follows {
        case.snapshot.assigner = Assigner::Controller;
    }
    for object in file.received {
        case.snapshot.insert(received(object)?);
    }
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

impl From<OfferingFile> for OfferingNode {
    fn from(file: OfferingFile) -> Self {
        let OfferingFile { name, labels, addresses, unpublished, refusals } = file;
        let refusals = refusals.into_iter().map(|(listener, cause)| (listener_name(&listener), cause));
        Self { name, labels, addresses, published: !unpublished, refusals: refusals.collect() }
    }
}

fn listener_name(text: &str) -> ListenerName {
    let (gateway, listener) = text.rsplit_once('/').expect("namespace/gateway/listener");
    let (namespace, name) = gateway.split_once('/').expect("namespace/gateway/listener");
    let gateway = ObjectName { namespace: namespace.to_owned(), name: name.to_owned() };
    ListenerName { gateway, listener: listener.to_owned() }
}

fn holder((place, holder): (String, String)) -> (FrontendKey, String) {
    let (socket, protocol) = place.split_once('/').expect("ADDRESS:PORT/PROTOCOL");
    let socket: SocketAddr = socket.parse().expect("ADDRESS:PORT/PROTOCOL");
    let key = FrontendKey {
        address: socket.ip(),
        port: socket.port().try_into().expect("a port"),
        protocol: if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp },
    };
    (key, holder)
}

fn assignment((gateway, addresses): (&String, &Vec<String>)) -> (ObjectName, Vec<Address>) {
    let (namespace, name) = gateway.split_once('/').expect("namespace/name");
    let address = |text: &String| text.parse().map_or_else(|_| Address::Hostname(text.clone()), Address::Ip);
    let name = ObjectName { namespace: namespace.to_owned(), name: name.to_owned() };
    (name, addresses.iter().map(address).collect())
}

/// `pem:a.crt+b.crt` stands for the text of these files in tests/certificates.
fn insert_certificates(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(files) = text.strip_prefix("pem:") {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
                let read = |file| fs::read_to_string(folder.join(file)).expect("a certificate");
                *text = files.split('+').map(read).collect();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(insert_certificates),
        Value::Object(fields) => fields.values_mut().for_each(insert_certificates),
        _ => {}
    }
}

fn service(name: &str) -> Service {
    let named = |service: &&Service| format!("{service:?}").eq_ignore_ascii_case(name);
    *Service::ALL.iter().find(named).unwrap_or_else(|| panic!("no such service: {name}"))
}

fn received(object: Value) -> Result<Object, String> {
    let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/'));
    let name = object["kind"].as_str().unwrap_or_default();
    let kind = Kind::find(group.map_or("", |(group, _)| group), name).ok_or("an unknown kind")?;
    Object::decode(kind, object, &mut |_| ()).map_err(|cause| cause.to_string())
}

/// Everything that follows from a case; empty parts are left out.
pub(crate) fn show(case: &Case, outcome: &Outcome) -> Value {
    let statuses: Map<_, _> =
        outcome.statuses.iter().map(|(object, status)| (object.to_string(), show_status(status))).collect();
    let problems: Vec<_> = outcome.problems.iter().map(ToString::to_string).collect();
    let refusals: Vec<_> = case.refusals.iter().map(ToString::to_string).collect();
    let infrastructure: Map<_, _> =
        outcome.infrastructure.iter().map(|(object, json)| (object.to_string(), json.clone())).collect();
    let held: Map<_, _> = outcome
        .held
        .iter()
        .map(|(name, it)| (name.to_string(), json!([if it.all { "all" } else { "some" }, it.message])))
        .collect();
    let requests = case
        .requests
        .iter()
        .map(|request| (request.clone(), requests::answer(&outcome.tables.http, request).into()));
    let copies = outcome.copies.iter().map(|(object, entries)| {
        let entries: Vec<_> = entries.iter().copied().collect();
        (object.to_string(), entries.join(", ").into())
    });
    let mut shown = json!({
        "refusals": refusals,
        "warnings": case.warnings,
        "problems": problems,
        "tables": show_tables(&outcome.tables.l4),
        "tls": tls::show(&outcome.tables.tls),
        "http": http::show(&outcome.tables.http),
        "requests": requests.collect::<Map<_, _>>(),
        "copies": copies.collect::<Map<_, _>>(),
        "held": held,
        "infrastructure": infrastructure,
        "statuses": statuses,
    });
    if let Some(Minutes(minute)) = outcome.recheck_at {
        shown["recheckAtMinute"] = minute.into();
    }
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
    let mut shown =
        json!({ "frontends": frontends, "services": services, "alive": alive, "pool": tables.pool });
    if let Some(parts) = shown.as_object_mut() {
        parts.retain(|_, part| !is_empty(part));
    }
    shown
}

fn show_frontend(frontend: &Frontend) -> Value {
    let Some(split) = &frontend.split else {
        return json!({ "listener": frontend.listener.to_string() });
    };
    let mut shown = show_split(split);
    shown["listener"] = frontend.listener.to_string().into();
    shown
}

fn show_split(split: &Split) -> Value {
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
    json!({ "route": split.route().to_string(), "backends": backends })
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
