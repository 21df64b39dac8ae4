//! `gateway-agent check` as a user runs it.
//!
//! `UPDATE_GOLDEN=1` writes what it says now into the expectations; the run then fails if that changed any of them.

#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check")
}

fn check(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway-agent"))
        .args(["check", "--node-name", "node1", "--node-address", "10.0.0.1"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A copy of `tests/check/bad`, and in it a file of 50 MiB, which take no room on the disk.
fn bad_files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    for entry in fs::read_dir(here().join("bad")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, files.join(path.file_name().unwrap())).unwrap();
    }
    File::create(files.join("7-huge.yaml")).unwrap().set_len(50 << 20).unwrap();
    folder
}

#[track_caller]
fn assert_golden(name: &str, actual: &str) {
    let path = here().join(name);
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual).unwrap();
    }
    assert!(actual == expected, "{} differs; it is now:\n{actual}", path.display());
}

#[test]
fn bad_files_are_told_apart_and_the_rest_goes_on() {
    let folder = bad_files();
    let output = check(folder.path(), &["-f", "files", "--tables"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "");
    assert_golden("bad.txt", text(&output.stdout));
}

#[test]
fn a_list_holds_what_counts_with_its_status() {
    let folder = bad_files();
    let output = check(folder.path(), &["-f", "files", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&list["apiVersion"], &list["kind"]), (&"v1".into(), &"List".into()));
    let names: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            format!("{} {}", item["kind"].as_str().unwrap(), item["metadata"]["name"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        names,
        [
            "GatewayClass gateway-agent",
            "Gateway edge",
            "TCPRoute orders",
            "TCPRoute unbacked",
            "Service orders",
            "EndpointSlice orders"
        ]
    );
    let condition = &list["items"][3]["status"]["parents"][0]["conditions"][0];
    assert!(condition["lastTransitionTime"].as_str().unwrap().ends_with('Z'), "{condition}");
    assert!(text(&output.stderr).contains("files/7-huge.yaml: has 50.0 MiB"), "{}", text(&output.stderr));
}

#[test]
fn a_list_can_be_checked_again() {
    let folder = bad_files();
    let output =
        check(folder.path(), &["-f", "files/1-gateway.yaml", "-f", "files/3-services.yaml", "-o", "yaml"]);
    fs::write(folder.path().join("list.yaml"), &output.stdout).unwrap();
    let again = check(folder.path(), &["-f", "list.yaml"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stdout));
    assert!(text(&again.stdout).ends_with("\n4 objects, no problems\n"), "{}", text(&again.stdout));
}

/// What `kubectl get ... -A -o yaml` prints, with statuses, managed fields and kinds that are not read: the route's grant
/// is missing.
#[test]
fn what_kubectl_prints_is_judged_as_the_cluster_would() {
    let output = piped(&here().join("cluster.yaml"), &["-f", "-"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_golden("cluster.txt", text(&output.stdout));

    let grant = "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: shop, namespace: data}\n\
                 spec: {from: [{group: gateway.networking.k8s.io, kind: TCPRoute, namespace: shop}], to: [{group: \"\", kind: Service}]}\n";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("grant.yaml"), grant).unwrap();
    let output = piped(&here().join("cluster.yaml"), &["-f", "-", "-f", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

/// `check` as in a pipeline: no node is named.
fn piped(input: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway-agent"))
        .arg("check")
        .args(arguments)
        .stdin(File::open(input).unwrap())
        .output()
        .unwrap()
}

#[test]
fn a_missing_path_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let output = check(folder.path(), &["-f", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "nowhere: no such file or directory; create it, or correct the path after -f\n";
    assert!(text(&output.stdout).starts_with(expected), "{}", text(&output.stdout));
}

#[test]
fn the_documentations_examples_have_no_problem() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let entries = |folder: &Path| -> Vec<_> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let folders = entries(&root.join("docs/examples"));
    assert!(!folders.is_empty());
    let installed = root.join("deploy/install.yaml");
    for folder in folders {
        let mut arguments = vec!["-f", ".", "--node-address", "fd00::1"];
        // In a cluster the class comes with the installation.
        let has_class = |file| fs::read_to_string(file).unwrap().contains("kind: GatewayClass\n");
        if !entries(&folder).into_iter().any(has_class) {
            arguments.extend(["-f", installed.to_str().unwrap()]);
        }
        let output = check(&folder, &arguments);
        assert_eq!(output.status.code(), Some(0), "{}: {}", folder.display(), text(&output.stdout));
    }
}

/// Blocks of YAML in the documentation that are objects, each page by itself.
#[test]
fn the_documentations_pages_have_no_problem() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages: Vec<_> = pages.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    assert!(!pages.is_empty());
    for page in pages.into_iter().chain([root.join("README.md")]) {
        let content = fs::read_to_string(&page).unwrap();
        let blocks = content.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let objects: Vec<_> = blocks.filter(|block| block.contains("apiVersion:")).collect();
        if objects.is_empty() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("page.yaml"), objects.join("---\n")).unwrap();
        let output = check(folder.path(), &["-f", "page.yaml", "--node-address", "fd00::1"]);
        assert_eq!(output.status.code(), Some(0), "{}: {}", page.display(), text(&output.stdout));
    }
}
