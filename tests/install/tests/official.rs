//! The official suite judges what the chart installs. Needs root.

use std::error::Error;
use std::fs;
use std::path::Path;

use cluster::{Cluster, Crds, Lock, Name, Programs, Spec, go};
use conformance::{Addresses, Channel, Expected, Release, Run, Scope, Suite, judge, summary};
use install::{Chart, checkout, for_suite, image, install};

/// Those of which all is served but what needs TLS.
const PROFILES: [&str; 3] = ["GATEWAY-GRPC", "GATEWAY-TCP", "GATEWAY-UDP"];

#[test]
fn profiles_pass() -> Result<(), Box<dyn Error>> {
    let stage = Stage::set("official")?;
    let Stage { cluster, suite, programs, .. } = &stage;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("official");
    let scope = Scope::Profiles(PROFILES.map(str::to_owned).into());
    let run = Run {
        suite,
        cluster,
        programs,
        scope: scope.clone(),
        class: "gateway-agent",
        features: &[],
        timeouts: "",
        // It goes with the cluster.
        keep_base: true,
        report: folder.join("report.yaml"),
        folder,
    };
    let finished = run.run(|_, _| ())?;
    let expected = fs::read_to_string(checkout("tests/conformance/expected.yaml"))?;
    let expected = Expected::parse(&expected, &suite.catalogue)?;
    let complaints = judge(&scope, &expected, &suite.catalogue, &finished.record, finished.report.as_ref())?;
    println!("{}", summary(&scope, &suite.catalogue, &finished, &complaints));
    assert!(complaints.is_empty(), "see above, and {}", run.folder.display());
    Ok(())
}

/// A cluster of this test's own, with gateway-agent in it.
struct Stage {
    suite: Suite,
    programs: Programs,
    cluster: Cluster,
    /// Another checkout may run this test too.
    _lock: Lock,
}

impl Stage {
    fn set(name: &str) -> Result<Self, Box<dyn Error>> {
        let go = go::find().ok_or("no Go: `cargo xtask cluster up` installs it")?;
        let programs = Programs::prepare(&go)?;
        let suite = Suite::prepare(Release::V1_6, &go, &programs)?;
        let chart = Chart::open()?;
        let name: Name = name.parse()?;
        let lock = Lock::take(&name, "test")?;
        // What a killed run left has objects in it.
        Cluster::down(&name)?;
        let spec = Spec { crds: Crds::None, ..Spec::new(name) };
        let stage = Self { suite, cluster: Cluster::up(&spec, &programs)?, programs, _lock: lock };
        stage.suite.install_crds(&stage.cluster.kubectl(), Channel::Experimental)?;
        stage.cluster.load_images(&stage.suite.images)?;
        let folder = tempfile::tempdir()?;
        let agent = image::of_agent(folder.path())?;
        install(&stage.cluster, &chart, &agent, &for_suite(&Addresses::of(stage.cluster.spec())))?;
        Ok(stage)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = Cluster::down(&self.cluster.spec().name) {
            eprintln!("the cluster stays: {error}");
        }
    }
}
