//! The agent leaves the machine's own devices alone unless it is told otherwise.

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
    // As root, this enters the initial namespaces, if this test doesn't run in a container.
    let initial = run(&["nsenter", "--net=/proc/1/ns/net"], folder.path());
    let own = run(&["unshare", "--net"], folder.path());
    for (output, expected) in [
        (
            initial,
            "error: device patterns (`no-such-device`) are given in the machine's initial network namespace",
        ),
        (own, "error: pin is on no BPF file system"),
    ] {
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.starts_with(expected), "{message}");
    }
}
