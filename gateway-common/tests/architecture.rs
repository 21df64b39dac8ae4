//! The tables of docs/ARCHITECTURE.md are what the code says. `UPDATE_DOCS=1 cargo test -p gateway-common` writes them.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::path::Path;

use gateway_common::reason::Reason;

const MAPS: &str = include_str!("../src/maps.rs");

#[test]
fn tables_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ARCHITECTURE.md");
    let written = std::fs::read_to_string(&path).unwrap();
    let mut text = written.clone();
    for (name, table) in [("maps", maps()), ("counters", counters()), ("reasons", reasons())] {
        text = replace(&text, name, &table);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(
        text == written,
        "docs/ARCHITECTURE.md is out of date: run UPDATE_DOCS=1 cargo test -p gateway-common"
    );
}

/// What stands between `<!-- name -->` and `<!-- end -->`.
fn replace(text: &str, name: &str, table: &str) -> String {
    let (before, rest) =
        text.split_once(&format!("<!-- {name} -->\n")).unwrap_or_else(|| panic!("no {name} table"));
    let (_, after) = rest.split_once("<!-- end -->").unwrap_or_else(|| panic!("the {name} table has no end"));
    format!("{before}<!-- {name} -->\n{table}<!-- end -->{after}")
}

/// The table in the documentation of the module, without its links.
fn maps() -> String {
    let rows = MAPS.lines().filter_map(|line| line.strip_prefix("//! |"));
    rows.fold(String::new(), |table, row| {
        table + "|" + &row.replace("[`crate::reason::", "`").replace("[`", "`").replace("`]", "`") + "\n"
    })
}

fn reasons() -> String {
    let mut table = "| reason | what it means and what to do |\n|---|---|\n".to_owned();
    for reason in Reason::ALL {
        writeln!(table, "| `{}` | {} |", reason.name(), reason.description().trim()).unwrap();
    }
    table
}

/// Fields of the counters' structs, with their comments.
fn counters() -> String {
    let mut table = "| map | field | counts |\n|---|---|---|\n".to_owned();
    for (map, name) in [
        ("frontend_stats", "FrontendCounters"),
        ("backend_stats", "BackendCounters"),
        ("steered", "SteeredCounters"),
        ("pool_stats", "PoolCounters"),
    ] {
        let body = MAPS.split_once(&format!("pub struct {name} {{")).unwrap().1.split_once("\n}").unwrap().0;
        let mut comment = Vec::new();
        for line in body.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("/// ") {
                comment.push(text);
            } else if let Some(field) = line.strip_prefix("pub ") {
                let field = field.split_once(':').unwrap().0;
                writeln!(table, "| `{map}` | `{field}` | {} |", comment.join(" ")).unwrap();
                comment.clear();
            }
        }
    }
    table
}
