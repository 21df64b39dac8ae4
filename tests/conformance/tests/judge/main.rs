//! The judge is judged: one test of the suite, against no implementation, a wrong one, and a right one.

mod forwarder;
mod toy;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use cluster::Spec;
use conformance::{Addresses, Complaint, ConformanceError, Expected, Finished, Run, Scope, Stage, judge};

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
    let stage = Stage::set(Spec { nodes: "1".parse()?, ..Spec::new("judge".parse()?) })?;
    let catalogue = &stage.suite.catalogue;
    for (profile, count) in COUNTS {
        assert_eq!(
            catalogue.tests_of(catalogue.profile(profile)?, &BTreeSet::new()).count(),
            count,
            "{profile}"
        );
    }
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");

    let nothing = run(&stage, &kept).expect_err("a run without an implementation").to_string();
    assert!(nothing.contains("there is no GatewayClass toy"), "{nothing}");

    let toy = Toy::start(&stage.cluster, &stage.programs, Addresses::of(stage.cluster.spec()).pool)?;
    toy.use_backends(Backends::Wrong);
    let complaints = judged(&stage, &run(&stage, &kept)?)?;
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
    let right = run(&stage, &kept)?;
    assert_eq!(judged(&stage, &right)?, [], "{}", right.record.tests[TEST].output);
    assert_eq!(right.report.map(|report| report.version), Some(catalogue.version.clone()));
    Ok(())
}

fn run(stage: &Stage, kept: &Path) -> Result<Finished, ConformanceError> {
    let run = Run {
        suite: &stage.suite,
        cluster: &stage.cluster,
        programs: &stage.programs,
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

fn judged(stage: &Stage, finished: &Finished) -> Outcome<Vec<Complaint>> {
    let (scope, expected) = (Scope::Test(TEST.into()), Expected::default());
    let report = finished.report.as_ref();
    Ok(judge(&scope, &expected, &stage.suite.catalogue, &finished.record, report)?)
}
