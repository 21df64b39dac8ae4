//! h2spec, which speaks HTTP/2 in all the ways that RFC 7540 and RFC 7541 forbid, and some that they allow.

use std::path::PathBuf;
use std::process::Command;

use cluster::go::{self, Kind, Module, Program};
use tokio::task::spawn_blocking;

use crate::rig::{Act, Origin, Proxy, run_within};

const H2SPEC: Module = Module {
    folder: "h2spec",
    programs: &[Program {
        name: "h2spec",
        package: "github.com/summerwind/h2spec/cmd/h2spec",
        kind: Kind::Main,
        variables: &[],
    }],
};

/// What h2spec v2.2.1 has, its strict cases included.
const CASES: &str = "146 tests, 146 passed, 0 skipped, 0 failed";

fn h2spec() -> PathBuf {
    let go = go::find().expect("Go, which `cargo xtask cluster up` installs");
    H2SPEC.build(&go).expect("h2spec").join("h2spec")
}

#[test]
fn every_case_of_h2spec_passes() {
    let program = h2spec();
    // Each case that waits for an answer in vain takes two seconds.
    run_within(std::time::Duration::from_mins(5), async move {
        let origin = Origin::start(vec![Act::text("long enough to be split")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let port = proxy.address.port().to_string();
        let output =
            spawn_blocking(move || Command::new(program).args(["--strict", "--port", &port]).output());
        let output = output.await.expect("no panic").expect("h2spec runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(CASES), "{text}");
    });
}
