//! The judge is judged: one test of the suite, against no implementation, a wrong one, and a right one.

mod forwarder;
mod toy;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use cluster::{Cluster, Crds, Lock, Name, Programs, Spec, go};
use conformance::{
    Addresses, Channel, Complaint, ConformanceError, Expected, Finished, Release, Run, Scope, Suite, judge,
};

use crate::toy::{Backends, CLASS, Toy};

const TEST: &str = "HTTPRouteSimpleSameNamespace";

/// The route that the test makes.
const ROUTE: &str = "gateway-conformance-infra-test";

/// The suite asks again for 30 s while the wrong backend answers; a tenth of that shows it as well.
const TIMEOUTS: &str = "MaxTimeToConsistency:3";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How many tests of suite v1.6.3 count in each profile.
const COUNTS: [(&str, usize); 7] = [
    ("GATEWAY-HTTP", 94),
    ("GATEWAY-GRPC", 25),
    ("GATEWAY-TLS", 35),
    ("GATEWAY-TCP", 29),
    ("GATEWAY-UDP", 30),
    ("MESH-HTTP", 14),
    ("MESH-GRPC", 2),
];

#[test]
fn the_suite_tells_a_wrong_implementation_from_a_right_one() -> Outcome<()> {
    let stage = Stage::new()?;
    let catalogue = &stage.suite.catalogue;
    for (profile, count) in COUNTS {
        assert_eq!(
            catalogue.tests_of(catalogue.profile(profile)?, &BTreeSet::new()).count(),
            count,
            "{profile}"
        );
    }
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");

    let nothing = stage.run(&kept).expect_err("a run without an implementation").to_string();
    assert!(nothing.contains("there is no GatewayClass toy"), "{nothing}");

    let toy = Toy::start(&stage.cluster, &stage.programs, Addresses::of(stage.cluster.spec()).pool)?;
    toy.use_backends(Backends::Wrong);
    let complaints = stage.judged(&stage.run(&kept)?)?;
    let failed = |complaint: &Complaint| matches!(complaint, Complaint::Failed { test, .. } if test == TEST);
    assert!(complaints.iter().any(failed), "{complaints:#?}");
    // Taken while the test's objects were still there.
    for (file, content) in
        [("gateway.yaml", ROUTE), ("workloads.yaml", "infra-backend-v1"), ("output.txt", "FAIL")]
    {
        let text = fs::read_to_string(kept.join(TEST).join(file))?;
        assert!(text.contains(content), "{file} has nothing of {content}:\n{text}");
    }

    toy.use_backends(Backends::OfTheRoute);
    let right = stage.run(&kept)?;
    assert_eq!(stage.judged(&right)?, [], "{}", right.record.tests[TEST].output);
    assert_eq!(right.report.map(|report| report.version), Some(catalogue.version.clone()));
    Ok(())
}

/// A cluster of this test's own, without an implementation.
struct Stage {
    suite: Suite,
    programs: Programs,
    cluster: Cluster,
    /// Another checkout may run this test too.
    _lock: Lock,
}

impl Stage {
    fn new() -> Outcome<Self> {
        let go = go::find().ok_or("no Go: `cargo xtask cluster up` installs it")?;
        let programs = Programs::prepare(&go)?;
        let suite = Suite::prepare(Release::V1_6, &go, &programs)?;
        let name: Name = "judge".parse()?;
        let lock = Lock::take(&name, "test")?;
        // What a killed run left has objects in it.
        Cluster::down(&name)?;
        let spec = Spec { nodes: "1".parse()?, crds: Crds::None, ..Spec::new(name) };
        let stage = Self { suite, cluster: Cluster::up(&spec, &programs)?, programs, _lock: lock };
        stage.suite.install_crds(&stage.cluster.kubectl(), Channel::Experimental)?;
        stage.cluster.load_images(&stage.suite.images)?;
        Ok(stage)
    }

    fn run(&self, kept: &Path) -> Result<Finished, ConformanceError> {
        let run = Run {
            suite: &self.suite,
            cluster: &self.cluster,
            programs: &self.programs,
            scope: Scope::Test(TEST.into()),
            class: CLASS,
            features: &[],
            timeouts: TIMEOUTS,
            // It goes with the cluster.
            keep_base: true,
            folder: kept.to_owned(),
            report: kept.join("report.yaml"),
        };
        run.run(|_, _| ())
    }

    fn judged(&self, finished: &Finished) -> Outcome<Vec<Complaint>> {
        let (scope, expected) = (Scope::Test(TEST.into()), Expected::default());
        let report = finished.report.as_ref();
        Ok(judge(&scope, &expected, &self.suite.catalogue, &finished.record, report)?)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = Cluster::down(&self.cluster.spec().name) {
            eprintln!("the cluster stays: {error}");
        }
    }
}
