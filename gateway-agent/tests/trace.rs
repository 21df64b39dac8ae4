//! `gateway-agent trace` as a user runs it. Each file in `tests/trace` has objects, and behind a line of `=` questions, each
//! with its answer.
//!
//! `UPDATE_GOLDEN=1` writes what it says now into the files; the run then fails if that changed any of them.

#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const SEPARATOR: &str = "\n========\n";

fn trace(objects: &str, words: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("objects.yaml"), objects).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gateway-agent"))
        .args(["trace", "-f", "objects.yaml", "--node-name", "node1", "--node-address", "10.0.0.1"])
        .args(words)
        .current_dir(folder.path())
        .output()
        .unwrap();
    [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat()
}

/// The words of a command line, where quotes hold some together.
fn words(line: &str) -> Vec<&str> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(
            |(index, part)| {
                if index % 2 == 1 { vec![part] } else { part.split_whitespace().collect::<Vec<_>>() }
            },
        )
        .collect()
}

#[test]
fn golden_files() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut different = Vec::new();
    let mut questions = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trace")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (objects, expected) = text.split_once(SEPARATOR).unwrap();
        let mut actual = String::new();
        for line in expected.lines().filter_map(|line| line.strip_prefix("$ trace ")) {
            questions += 1;
            let separator = if actual.is_empty() { "" } else { "\n" };
            write!(actual, "{separator}$ trace {line}\n{}", trace(objects, &words(line))).unwrap();
        }
        if actual != expected {
            if update {
                fs::write(&path, format!("{objects}{SEPARATOR}{actual}")).unwrap();
            }
            different.push(format!("{}: now\n{actual}", path.display()));
        }
    }
    assert!(questions >= 15, "only {questions} questions found");
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn json_has_the_same() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trace/http.txt")).unwrap();
    let (objects, _) = text.split_once(SEPARATOR).unwrap();
    let shown = trace(objects, &["--url", "http://shop.example/cart", "-o", "json"]);
    let trace: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(trace["ways"][0]["rule"], "HTTPRoute shop/cart rule 1 (all)", "{shown}");
    assert_eq!(trace["ways"][0]["outcome"]["forwarded"]["shares"][0]["backend"], "shop/cart:80", "{shown}");
}
