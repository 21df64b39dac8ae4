//! `gateway-agent status`

use std::fmt::Write;

use serde_json::Value;

use super::table::{NONE, Table};
use super::{print, print_json};
use crate::admin;
use crate::cli::{Form, Probe, Status};
use crate::failure::Failure;
use crate::statuses::summary;

#[derive(Debug, thiserror::Error)]
#[error(
    "not ready: no tables are applied yet, or no proxy accepts connections; `gateway-agent status` and the log say what it waits for"
)]
struct NotReady;

pub fn execute(arguments: &Status) -> Result<(), Failure> {
    let report = admin::ask(&arguments.socket.path, admin::STATUS)?;
    match arguments.probe {
        Some(Probe::Alive) => return Ok(()),
        Some(Probe::Ready) if report["ready"] == true => return Ok(()),
        Some(Probe::Ready) => return Err(NotReady.into()),
        None => {}
    }
    match arguments.output {
        Form::Json => print_json(&report),
        Form::Text => print(&as_text(&report)),
    }
}

fn as_text(report: &Value) -> String {
    let text = |pointer: &str| report.pointer(pointer).map_or_else(|| NONE.to_owned(), cell);
    let mut lines = String::new();
    // Writing to a String can't fail; nor below.
    let _ = write!(
        lines,
        "node        {} ({})\nnetwork     {}; to endpoints here: {}, elsewhere: {}\nversion     {}\nplace       {}\npins        {}\ngeneration  {}, applied {}\n",
        text("/node/name"),
        text("/node/addresses"),
        text("/node/cni"),
        text("/node/delivery/local"),
        text("/node/delivery/remote"),
        text("/version"),
        text("/place"),
        text("/pin"),
        text("/generation"),
        text("/appliedAt"),
    );
    if let Some(seconds) = report["drainingSeconds"].as_u64() {
        let _ =
            writeln!(lines, "draining    flows of an earlier agent with other maps, for {seconds} s more");
    }
    let objects = report["objects"].as_object().into_iter().flatten();
    let objects: Vec<_> = objects.map(|(kind, number)| format!("{number} {kind}")).collect();
    let _ = writeln!(lines, "objects     {}", objects.join(", "));
    let sections =
        [("Devices", devices(report)), ("Statuses", statuses(report)), ("Problems", problems(report))];
    for (title, table) in sections {
        let _ = if table.is_empty() {
            writeln!(lines, "\n{title}: none")
        } else {
            write!(lines, "\n{title}\n{}", table.render())
        };
    }
    lines
}

fn devices(report: &Value) -> Table {
    const COLUMNS: [&str; 7] = ["name", "ifindex", "l3Ifindex", "mac", "sourceV4", "sourceV6", "hook"];
    let mut table = Table::new(&COLUMNS);
    for device in items(report, "devices") {
        table.row(COLUMNS.map(|column| cell(&device[column])).to_vec());
    }
    table
}

fn statuses(report: &Value) -> Table {
    let mut table = Table::new(&["kind", "namespace", "name", "conditions"]);
    for object in items(report, "statuses") {
        let head = ["kind", "namespace", "name"].map(|field| cell(&object[field]));
        table.row([head.to_vec(), vec![summary(&object["status"])]].concat());
    }
    table
}

fn problems(report: &Value) -> Table {
    let mut table = Table::new(&["origin", "problem"]);
    for problem in items(report, "problems") {
        table.row(["origin", "message"].map(|field| cell(&problem[field])).to_vec());
    }
    table
}

fn items<'a>(report: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    report[field].as_array().into_iter().flatten()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => NONE.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
