//! The agent leaves the machine's own devices alone unless it is told otherwise.

#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]

use std::path::Path;
use std::process::{Command, Output};

/// A command that can't get further than to the question where its pins are: the folder is on no BPF file system.
fn run(before: &[&str], folder: &Path) -> Output {
    let words = [before, &[env!("CARGO_BIN_EXE_gateway-agent"), "run", "-f", "."]].concat();
    Command::new(words[0])
        .args(&words[1..])
        .args(["--device", "no-such-device", "--pin", "pin", "--socket", "socket"])
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn the_initial_network_namespace_is_refused_without_host() {
    let folder = tempfile::tempdir().unwrap();
    assert_fails_with(&run(&["unshare", "--net"], folder.path()), "error: pin is on no BPF file system");
    // In a container this test runs in another namespace already, and can't enter the machine's own.
    if Path::new("/proc/sys/net/core/dev_weight").exists() {
        let refusal =
            "error: device patterns (`no-such-device`) are given in the machine's initial network namespace";
        assert_fails_with(&run(&[], folder.path()), refusal);
    }
}

#[track_caller]
fn assert_fails_with(output: &Output, expected: &str) {
    let message = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.starts_with(expected), "{message}");
}
