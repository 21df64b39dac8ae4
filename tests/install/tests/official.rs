//! The official suite judges what the chart installs. Needs root.

use std::error::Error;
use std::fs;
use std::path::Path;

use cluster::Spec;
use conformance::{Addresses, Expected, Run, Scope, Stage, judge, summary};
use install::{Chart, checkout, for_suite, image, install};

/// Those of which all is served but what wants TLS, which expected.yaml lists.
const PROFILES: [&str; 4] = ["GATEWAY-GRPC", "GATEWAY-HTTP", "GATEWAY-TCP", "GATEWAY-UDP"];

#[test]
fn profiles_pass() -> Result<(), Box<dyn Error>> {
    let stage = stage()?;
    let Stage { cluster, suite, programs, .. } = &stage;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("official");
    let profiles = PROFILES.map(str::to_owned);
    let expected = fs::read_to_string(checkout("tests/conformance/expected.yaml"))?;
    let expected = Expected::parse(&expected, &suite.catalogue)?;
    let scope = Scope::Profiles(profiles.to_vec());
    let run = Run {
        suite,
        cluster,
        programs,
        scope: scope.clone(),
        class: "gateway-agent",
        features: &expected.claims(&profiles, &suite.catalogue)?,
        timeouts: "",
        // It goes with the cluster.
        keep_base: true,
        report: folder.join("report.yaml"),
        folder,
    };
    let finished = run.run(|_, _| ())?;
    let complaints = judge(&scope, &expected, &suite.catalogue, &finished.record, finished.report.as_ref())?;
    println!("{}", summary(&scope, &suite.catalogue, &finished, &complaints));
    assert!(complaints.is_empty(), "see above, and {}", run.folder.display());
    Ok(())
}

/// A cluster with gateway-agent in it.
fn stage() -> Result<Stage, Box<dyn Error>> {
    let stage = Stage::set(Spec::new("official".parse()?))?;
    let folder = tempfile::tempdir()?;
    let agent = image::of_agent(folder.path())?;
    install(&stage.cluster, &Chart::open()?, &agent, &for_suite(&Addresses::of(stage.cluster.spec())))?;
    Ok(stage)
}
