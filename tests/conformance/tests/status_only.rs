//! The list in docs/CONFORMANCE.md of tests that look at statuses alone is what the suite's source says.
//! `UPDATE_DOCS=1 cargo test -p conformance --test status_only` writes it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use cluster::go;

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
    let tests = declarations.iter().filter_map(|(name, it)| Some((it.test.as_deref()?, name.as_str())));
    let sends = |name| sends(name, &declarations, &mut BTreeSet::new());
    let (senders, silent): (Vec<_>, Vec<_>) = tests.partition(|(_, name)| sends(name));
    assert!(senders.len() > 90 && silent.len() > 30, "{} and {}", senders.len(), silent.len());
    let mut names: Vec<_> = silent.into_iter().map(|(test, _)| test).collect();
    names.sort_unstable();
    let mut list =
        format!("{} of the suite's {} tests send nothing:\n\n", names.len(), names.len() + senders.len());
    for (index, name) in names.iter().enumerate() {
        let end = if index + 1 == names.len() { ".\n" } else { ",\n" };
        write!(list, "{name}{end}").unwrap();
    }

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
        let words: Vec<_> = line.split(|it: char| !it.is_alphanumeric() && it != '_').collect();
        declaration.sends |= words.iter().any(|word| senders.contains(word));
        declaration.words.extend(words.into_iter().map(str::to_owned));
        if line == "}" || line == ")" {
            current = None;
        }
    }
    found
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
