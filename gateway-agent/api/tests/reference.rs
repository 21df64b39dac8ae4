//! docs/CONFIGURATION.md lists every field of GatewayConfig, as its schema describes it; with `UPDATE_CRDS=1` the test
//! writes it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use gateway_agent_api::own;
use serde_json::{Number, Value};

const HEAD: &str = "# GatewayConfig

Written by `cargo xtask codegen` from gateway-agent/api/src/own; `kubectl explain gatewayconfig.spec` says the same.

";

#[test]
fn the_page_lists_every_field() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CONFIGURATION.md");
    let actual = page();
    if std::env::var_os("UPDATE_CRDS").is_some() {
        fs::write(&path, &actual).expect("docs is writable");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(actual == expected, "{} is not current: run `cargo xtask codegen`", path.display());
}

fn page() -> String {
    let crds = own::crds();
    let config = crds.iter().find(|crd| crd.spec.names.kind == "GatewayConfig").expect("our own kind");
    let schema =
        config.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    let schema = serde_json::to_value(schema).expect("a schema is JSON");
    let spec = &schema["properties"]["spec"];
    let mut page = format!("{HEAD}{}\n", text(spec));
    for (name, section) in properties(spec) {
        let _ = write!(page, "\n## {name}\n\n");
        if section["properties"].is_null() {
            let _ = write!(page, "{HEADER}{}", row(name, section, ""));
        } else {
            let (what, _) = described(section);
            let _ = write!(page, "{what}\n\n{HEADER}{}", rows(&format!("{name}."), section));
        }
    }
    page
}

const HEADER: &str = "| field | holds | default | what it does |\n|---|---|---|---|\n";

/// The leaves below an object.
fn rows(path: &str, object: &Value) -> String {
    let row = |(name, property): (&String, &Value)| {
        let required =
            object["required"].as_array().is_some_and(|names| names.contains(&name.as_str().into()));
        let (path, default) = (format!("{path}{name}"), if required { "required" } else { "" });
        let (below, separator) = match &property["items"] {
            Value::Null => (property, "."),
            items => (items, "[]."),
        };
        if below["properties"].is_null() {
            return row(&path, property, default);
        }
        let own = if separator == "." { String::new() } else { row(&path, property, default) };
        own + &rows(&format!("{path}{separator}"), below)
    };
    properties(object).map(row).collect()
}

/// `instead` of a default that the description does not tell.
fn row(path: &str, leaf: &Value, instead: &str) -> String {
    let (what, default) = described(leaf);
    let default = if default.is_empty() { instead.to_owned() } else { default };
    // A line of a table has no other bars.
    let cells = [format!("`{path}`"), holds(leaf), default, what].map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

/// The description without its default, and the default.
fn described(property: &Value) -> (String, String) {
    let description = text(property);
    let Some((what, default)) = description.split_once("Default: ") else {
        return (description, String::new());
    };
    (what.trim_end().to_owned(), default.trim_end_matches('.').to_owned())
}

fn text(property: &Value) -> String {
    property["description"].as_str().unwrap_or_default().replace('\n', " ")
}

fn holds(leaf: &Value) -> String {
    if let Some(choices) = leaf["enum"].as_array() {
        // None stands for a field that is null, which is one that is absent.
        let choices: Vec<_> =
            choices.iter().filter_map(Value::as_str).map(|one| format!("`{one}`")).collect();
        return choices.join(", ");
    }
    let holds = match leaf["type"].as_str().unwrap_or("any") {
        "array" if leaf["items"]["properties"].is_null() => format!("list of {}", holds(&leaf["items"])),
        "array" => "list".into(),
        "object" => "map".into(),
        simple => simple.to_owned(),
    };
    match (&leaf["minimum"], &leaf["maximum"]) {
        (Value::Number(least), Value::Number(most)) => {
            format!("{holds}, {} to {}", whole(least), whole(most))
        }
        (Value::Number(least), _) => format!("{holds}, from {}", whole(least)),
        _ => holds,
    }
}

/// A CRD's limits are floating-point numbers.
fn whole(limit: &Number) -> String {
    limit.to_string().trim_end_matches(".0").to_owned()
}

fn properties(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object["properties"].as_object().into_iter().flatten()
}
