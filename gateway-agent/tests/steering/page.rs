//! A page of metrics as Prometheus reads it (`OpenMetrics` 1.0), judged as `promtool check metrics` does, and compared with
//! docs/METRICS.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What is said of all series of a name.
#[derive(Debug)]
pub(crate) struct Family {
    kind: String,
    help: String,
}

/// The families of a page. Fails where Prometheus would, or where a name breaks its conventions.
pub(crate) fn families(page: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut last = String::new();
    // Buckets of a histogram so far: their number is the last one's.
    let mut below = 0.0;
    assert!(page.ends_with("# EOF\n"), "the page ends early");
    for line in page.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(!help.is_empty() && !help.ends_with('.'), "{line}");
            let family = Family { kind: String::new(), help: help.to_owned() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} is there twice");
            name.clone_into(&mut last);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert_eq!(name, last, "TYPE follows HELP");
            kind.clone_into(&mut families.get_mut(name).expect(line).kind);
        } else {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let value: f64 = value.parse().expect(line);
            assert!(seen.insert(series.to_owned()), "{series} is there twice");
            let name = series.split('{').next().unwrap_or_default();
            let suffix = name.strip_prefix(last.as_str()).expect(line);
            let allowed: &[&str] = match families[&last].kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                other => panic!("{last} is a {other}"),
            };
            assert!(allowed.contains(&suffix), "{line}");
            if suffix == "_bucket" {
                below = if series.contains("le=\"0.0001\"") { 0.0 } else { below };
                assert!(value >= below, "{line} has less than the bucket before");
                below = value;
            }
            labels(series);
        }
    }
    for name in families.keys() {
        conventions(name);
    }
    families
}

/// Of a series: names are names, and values are closed.
fn labels(series: &str) {
    let Some((_, labels)) = series.split_once('{') else { return };
    let mut rest = labels.strip_suffix('}').expect(series);
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").expect(series);
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(!name.is_empty() && name.bytes().all(is_name), "{name} in {series}");
        let mut escaped = false;
        let end = value.find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        rest = &value[end.expect(series) + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// promtool's: base units by their whole names, no type in a name, one spelling.
fn conventions(name: &str) {
    assert!(name.starts_with("gateway_agent_"), "{name}");
    assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
    for part in name.split('_') {
        let wrong = ["total", "counter", "gauge", "histogram", "ms", "milliseconds", "sec", "kb", "minutes"];
        assert!(!wrong.contains(&part), "{part} in {name}");
    }
}

/// That docs/METRICS.md has exactly these; with `UPDATE_DOCS=1` it is written.
pub(crate) fn documented(families: &BTreeMap<String, Family>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let text = fs::read_to_string(&path).expect("docs/METRICS.md");
    let (before, rest) = text.split_once("<!-- agent -->\n").expect("the agent's table begins");
    let (_, after) = rest.split_once("<!-- end -->\n").expect("it ends");
    let mut table = "| metric | kind | what it says |\n|---|---|---|\n".to_owned();
    for (name, Family { kind, help }) in families {
        let suffix = if kind == "counter" { "_total" } else { "" };
        writeln!(table, "| `{name}{suffix}` | {kind} | {help}. |").expect("text");
    }
    let wanted = format!("{before}<!-- agent -->\n{table}<!-- end -->\n{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &wanted).expect("docs/METRICS.md is writable");
    }
    assert!(text == wanted, "docs/METRICS.md is not current: run UPDATE_DOCS=1 cargo test --test steering");
}
