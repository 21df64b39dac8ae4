//! Golden tests: each file in tests/golden has objects, and the statuses, tables and problems that must follow.
//!
//! `UPDATE_GOLDEN=1` writes what follows now into the files; the run then fails if that changed any of them.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_routing::{copy, translate};
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
        let actual = without_features(show(&case, &translate(&case.snapshot)));
        let expected: Value = if expected_text.is_empty() {
            Value::Null
        } else {
            serde_saphyr::from_str(expected_text).expect("YAML")
        };
        if actual == without_features(expected) {
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

/// Which features are claimed follows from what is served, whatever the case: it has its own test.
fn without_features(mut shown: Value) -> Value {
    let statuses = shown.get_mut("statuses").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, status) in statuses.filter(|(object, _)| object.starts_with("GatewayClass ")) {
        if let Some(status) = status.as_object_mut() {
            status.remove("supportedFeatures");
        }
    }
    shown
}

/// What agents get of objects that they may not read is all that tables need of them.
#[test]
fn copies_make_the_same_tables() {
    let mut copied = 0;
    for file in files() {
        let text = fs::read_to_string(&file).expect("a readable golden file");
        let case = case(text.split(SEPARATOR).next().unwrap_or_default()).expect("a case");
        let outcome = translate(&case.snapshot);
        let mut snapshot = case.snapshot.clone();
        let unreadable = [Kind::Secret, Kind::ConfigMap, Kind::ClusterTrustBundle];
        let all = case.snapshot.objects().filter(|(name, _)| unreadable.contains(&name.kind));
        all.for_each(|(name, _)| drop(snapshot.remove(name)));
        for (name, entries) in &outcome.copies {
            let original = case.snapshot.find(name).expect("what is copied exists");
            snapshot.insert(copy(original, entries.iter().copied()).expect("it has entries"));
            copied += 1;
        }
        let mut tables = outcome.tables;
        // That of a listener which isn't accepted is in the tables too, for nobody.
        tables.tls.certificates.retain(|name, _| {
            outcome.copies.contains_key(&ObjectRef::new(Kind::Secret, &name.namespace, &name.name))
        });
        assert_eq!(translate(&snapshot).tables, tables, "{}", file.display());
    }
    assert_ne!(copied, 0);
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
