//! The list in docs/CONFORMANCE.md of tests that look at statuses alone is what the suite's source says.
//! `UPDATE_DOCS=1 cargo test -p conformance --test status_only` writes it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use cluster::go;
use serde_json::Value;

/// The suite that judges, as a Go module.
const SUITE: &str = "sigs.k8s.io/gateway-api/conformance@v1.6.3";

/// Packages by which a test sends something and judges what comes back.
const SENDERS: [&str; 11] = [
    "conformance/utils/echo",
    "conformance/utils/grpc",
    "conformance/utils/http",
    "conformance/utils/roundtripper",
    "conformance/utils/tcp",
    "conformance/utils/tls",
    "conformance/utils/udp",
    "conformance/utils/websocket",
    "conformance/utils/weight",
    "github.com/miekg/dns",
    "golang.org/x/net/websocket",
];

/// What a function or variable of a Go file names.
#[derive(Default)]
struct Declaration {
    /// The test that it is.
    test: Option<String>,
    /// As the suite's constants name them.
    features: BTreeSet<String>,
    sends: bool,
    words: BTreeSet<String>,
}

#[test]
fn the_list_is_that_of_the_suite() {
    let folder = go::download(&go::find().unwrap(), SUITE).unwrap().join("tests");
    let mut declarations = BTreeMap::new();
    for file in files(&folder) {
        declarations.extend(parse(&fs::read_to_string(file).unwrap()));
    }
    let tests = declarations.iter().filter(|(_, it)| it.test.is_some());
    let (senders, silent): (Vec<_>, Vec<_>) =
        tests.partition(|(name, _)| sends(name, &declarations, &mut BTreeSet::new()));
    assert!(senders.len() > 90 && silent.len() > 30, "{} and {}", senders.len(), silent.len());
    let unclaimed = unclaimed();
    let (waiting, running): (Vec<_>, Vec<_>) =
        silent.iter().map(|(_, it)| *it).partition(|it| !it.features.is_disjoint(&unclaimed));
    let mut list = format!(
        "{} of the suite's {} tests send nothing. These {} run, and pass:\n\n{}",
        silent.len(),
        silent.len() + senders.len(),
        running.len(),
        names(&running)
    );
    write!(list, "\nThese {} wait, since they want features that are not claimed:\n\n", waiting.len())
        .unwrap();
    list.push_str(&names(&waiting));

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CONFORMANCE.md");
    let written = fs::read_to_string(&path).unwrap();
    let (before, rest) = written.split_once("<!-- status -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    let text = format!("{before}<!-- status -->\n{list}<!-- end -->{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(
        text == written,
        "docs/CONFORMANCE.md is out of date: run UPDATE_DOCS=1 cargo test -p conformance --test status_only"
    );
}

/// In lines of the documentation's width.
fn names(tests: &[&Declaration]) -> String {
    const WIDTH: usize = 120;
    let names: BTreeSet<_> = tests.iter().filter_map(|it| it.test.as_deref()).collect();
    let (mut text, mut used) = (String::new(), 0);
    for (index, name) in names.iter().enumerate() {
        let word = format!("{name}{}", if index + 1 == names.len() { ".\n" } else { "," });
        if used > 0 {
            let breaks = used + 1 + word.len() > WIDTH;
            text.push(if breaks { '\n' } else { ' ' });
            used = if breaks { 0 } else { used + 1 };
        }
        used += word.len();
        text.push_str(&word);
    }
    text
}

/// What expected.yaml doesn't expect, and all of a profile that it doesn't have.
fn unclaimed() -> BTreeSet<String> {
    let expected: Value = serde_saphyr::from_str(include_str!("../expected.yaml")).unwrap();
    let profiles = expected.as_object().unwrap();
    assert!(!profiles.contains_key("GATEWAY-TLS"), "TLSRoutes are claimed by now");
    let listed =
        profiles.values().flat_map(|profile| profile["unsupported"].as_array().into_iter().flatten());
    let listed = listed.filter_map(|it| it.as_str().map(str::to_owned));
    listed.chain(["TLSRoute", "TLSRouteModeMixed", "TLSRouteModeTerminate"].map(str::to_owned)).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "go") {
            found.push(entry);
        }
    }
    found
}

/// The functions and variables of a file, by name. Go's formatter begins each in the first column.
fn parse(text: &str) -> BTreeMap<String, Declaration> {
    let senders: BTreeSet<_> = text.lines().filter_map(sender).collect();
    let mut found: BTreeMap<String, Declaration> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        let begin = line.strip_prefix("func ").or_else(|| line.strip_prefix("var "));
        if let Some(begin) = begin {
            let name: String = begin.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect();
            current = (!name.is_empty() && name != "init").then_some(name);
        }
        let Some(name) = &current else { continue };
        let declaration = found.entry(name.clone()).or_default();
        if let Some((_, test)) = line.split_once("ShortName:") {
            declaration.test = test.split('"').nth(1).map(str::to_owned);
        }
        declaration.features.extend(feature(line));
        let words: Vec<_> = code(line).collect();
        declaration.sends |= words.iter().any(|word| senders.contains(word));
        declaration.words.extend(words.into_iter().map(str::to_owned));
        if line == "}" || line == ")" {
            current = None;
        }
    }
    found
}

/// The names in a line that are not in quotes, nor part of something else.
fn code(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |it: char| it.is_alphanumeric() || it == '_' || it == '.';
    let outside = line.split('"').step_by(2);
    outside.flat_map(move |part| part.split(move |it| !is_name(it))).filter_map(|path| path.split('.').next())
}

fn feature(line: &str) -> Option<String> {
    Some(line.trim().strip_prefix("features.Support")?.trim_end_matches(',').to_owned())
}

/// The name under which a line imports a package that sends.
fn sender(line: &str) -> Option<&str> {
    let (name, path) = line.strip_prefix('\t')?.strip_suffix('"')?.split_once('"')?;
    let package = SENDERS.iter().find(|package| path.ends_with(**package))?;
    let name = name.trim();
    if name.is_empty() { package.rsplit('/').next() } else { Some(name) }
}

/// Whether a declaration sends something, by itself or by what it names.
fn sends(name: &str, all: &BTreeMap<String, Declaration>, seen: &mut BTreeSet<String>) -> bool {
    let Some(declaration) = all.get(name).filter(|_| seen.insert(name.to_owned())) else { return false };
    declaration.sends || declaration.words.iter().any(|word| sends(word, all, seen))
}
