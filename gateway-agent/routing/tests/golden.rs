//! Golden tests: each file in tests/golden has objects, and the statuses, tables and problems that must follow.
//!
//! `UPDATE_GOLDEN=1` writes what follows now into the files; the run then fails if that changed any of them.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use gateway_agent_routing::translate;
use serde_json::Value;
use support::{case, show};

/// The case stands before this line, what is expected after it.
const SEPARATOR: &str = "\n---\n";

#[test]
fn golden_files() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut different = Vec::new();
    let files = files();
    assert!(files.len() >= 60, "only {} golden files found", files.len());
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable golden file");
        let (case_text, expected_text) = text.split_once(SEPARATOR).unwrap_or((text.trim_end(), ""));
        let case = case(case_text).unwrap_or_else(|cause| panic!("{}: {cause}", file.display()));
        let actual = show(&case, &translate(&case.snapshot));
        let expected: Value = if expected_text.is_empty() {
            Value::Null
        } else {
            serde_saphyr::from_str(expected_text).expect("YAML")
        };
        if actual == expected {
            continue;
        }
        let shown = serde_saphyr::to_string(&actual).expect("YAML");
        if update {
            fs::write(&file, format!("{case_text}{SEPARATOR}{shown}")).expect("a writable golden file");
        }
        different.push(format!("{}: now\n{shown}", file.display()));
    }
    assert!(different.is_empty(), "{} golden files differ:\n{}", different.len(), different.join("\n"));
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder of golden files")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}
