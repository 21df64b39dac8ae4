//! Every reason that the Gateway API defines occurs in a golden case, or there is a word on why it can't.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gateway_agent_api::conditions;
use serde_json::Value;

const KNOWN: &str = "an outcome always knows";
const OBSOLETE: &str = "deprecated, or reserved for the future";
const MESH: &str = "no data plane is a mesh";
const ROUTABILITY: &str = "only for routability, which is not served";
const PORTS: &str = "the schema refuses such ports; what ports a node can't give is for the node to report";
const EXACT: &str = "there is always a more exact reason";

/// Kind, condition type and reason as the API's sources have them, and why no status of ours ever has it.
const EXEMPT: &[(&str, &str, &str, &str)] = &[
    ("Gateway", "Accepted", "NotReconciled", OBSOLETE),
    ("Gateway", "Accepted", "Pending", KNOWN),
    ("Gateway", "AddressesAssigned", "AddressesAssigned", ROUTABILITY),
    ("Gateway", "AddressesAssigned", "NotAssigned", ROUTABILITY),
    ("Gateway", "AddressesAssigned", "PartiallyAssigned", ROUTABILITY),
    ("Gateway", "Programmed", "NoResources", "nothing is provisioned for a Gateway"),
    ("Gateway", "Ready", "ListenersNotReady", OBSOLETE),
    ("Gateway", "Ready", "Ready", OBSOLETE),
    ("Gateway", "Scheduled", "NotReconciled", OBSOLETE),
    ("Gateway", "Scheduled", "Scheduled", OBSOLETE),
    ("GatewayClass", "Accepted", "Pending", KNOWN),
    ("GatewayClass", "Accepted", "Unsupported", "every class of ours is served"),
    (
        "GatewayClass",
        "Accepted",
        "UnsupportedVersion",
        "what works goes on working: SupportedVersion says it",
    ),
    ("GatewayClass", "Accepted", "Waiting", OBSOLETE),
    ("GatewayClass", "SupportedVersion", "UnsupportedVersion", "the controller says it, who sees the CRDs"),
    ("Listener", "Accepted", "Pending", KNOWN),
    ("Listener", "Detached", "Attached", OBSOLETE),
    ("Listener", "Ready", "Invalid", OBSOLETE),
    ("Listener", "Ready", "Pending", OBSOLETE),
    ("Listener", "Ready", "Ready", OBSOLETE),
    ("ListenerEntry", "Accepted", "Invalid", EXACT),
    ("ListenerEntry", "Accepted", "Pending", KNOWN),
    ("ListenerEntry", "Accepted", "PortUnavailable", PORTS),
    ("ListenerEntry", "Accepted", "TooManyListeners", "a Gateway may have any number"),
    ("ListenerEntry", "Programmed", "PortUnavailable", PORTS),
    ("ListenerEntry", "Ready", "Ready", OBSOLETE),
    ("ListenerSet", "Accepted", "Invalid", EXACT),
    ("ListenerSet", "Accepted", "Pending", KNOWN),
    ("ListenerSet", "Programmed", "Pending", KNOWN),
    ("ListenerSet", "Programmed", "PortUnavailable", PORTS),
    ("Mesh", "Accepted", "Accepted", MESH),
    ("Mesh", "Accepted", "InvalidParameters", MESH),
    ("Mesh", "Accepted", "Pending", MESH),
    ("Route", "Accepted", "Pending", KNOWN),
];

#[test]
fn every_reason_has_a_golden_case_or_an_exemption() {
    let found = reasons_in_golden_files();
    assert!(found.len() > 50, "only {} reasons found", found.len());
    let is_exempt = |(kind, condition, reason): &&(&str, &str, &str)| {
        EXEMPT.iter().any(|(k, c, r, _)| (k, c, r) == (kind, condition, reason))
    };
    let has_case = |(kind, condition, reason): &&(&str, &str, &str)| {
        found.contains(&((*kind).to_owned(), (*condition).to_owned(), (*reason).to_owned()))
    };
    let missing: Vec<_> = conditions::ALL.iter().filter(|it| !is_exempt(it) && !has_case(it)).collect();
    assert!(missing.is_empty(), "without a golden case and without an exemption: {missing:#?}");
    let idle: Vec<_> = EXEMPT
        .iter()
        .filter(|(kind, condition, reason, _)| {
            let constant = &(*kind, *condition, *reason);
            !conditions::ALL.contains(constant) || has_case(&constant)
        })
        .collect();
    assert!(idle.is_empty(), "exempt without need: {idle:#?}");
}

fn reasons_in_golden_files() -> BTreeSet<(String, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the folder of golden files") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a readable golden file");
        let (_, expected) = text.split_once("\n---\n").expect("an expectation");
        let expected: Value = serde_saphyr::from_str(expected).expect("YAML");
        for (object, status) in expected["statuses"].as_object().into_iter().flatten() {
            let kind = object.split(' ').next().expect("a kind");
            collect(kinds(kind), kind, status, &mut found);
        }
    }
    found
}

/// What the API's sources call the kinds that a status is of.
fn kinds(kind: &str) -> &[&str] {
    match kind {
        "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" | "UDPRoute" => &["Route"],
        "BackendTLSPolicy" => &["BackendTLSPolicy", "Policy"],
        "XBackend" => &["Backend"],
        "XBackendTrafficPolicy" => &["Policy"],
        "XMesh" => &["Mesh"],
        "XTelemetryPolicy" => &["Policy", "TelemetryPolicy"],
        "GatewayClass" => &["GatewayClass"],
        "ListenerSet" => &["ListenerSet"],
        _ => &["Gateway"],
    }
}

fn collect(kinds: &[&str], object: &str, status: &Value, found: &mut BTreeSet<(String, String, String)>) {
    let listener: &[&str] = if object == "ListenerSet" { &["ListenerEntry"] } else { &["Listener"] };
    for (field, value) in status.as_object().into_iter().flatten() {
        for item in value.as_array().into_iter().flatten() {
            match field.as_str() {
                "conditions" => {
                    let mut words = item.as_str().expect("a condition").split([' ', ':', '@']);
                    let (condition, _, reason) = (words.next(), words.next(), words.next());
                    for kind in kinds {
                        found.insert((
                            (*kind).to_owned(),
                            condition.unwrap_or_default().to_owned(),
                            reason.unwrap_or_default().to_owned(),
                        ));
                    }
                }
                "listeners" => collect(listener, object, item, found),
                "parents" | "ancestors" => collect(kinds, object, item, found),
                _ => {}
            }
        }
    }
}
