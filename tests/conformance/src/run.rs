//! One run of the suite, as a client outside of the cluster.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use cluster::{Cluster, Programs, Spec};

use crate::catalogue::Catalogue;
use crate::events::{Event, Outcome, Record, TestRecord};
use crate::report::Report;
use crate::suite::Suite;
use crate::verdict::Scope;
use crate::{ConformanceError, readiness};

/// All tests take some 15 minutes; where many fail, each waits for its time-outs first. Go's own limit of 10 minutes
/// would leave no report.
const LIMIT: &str = "-test.timeout=2h";

/// What the report says of the implementation; the suite demands all five.
const IMPLEMENTATION: [&str; 5] = [
    "-organization=gateway-agent",
    "-project=gateway-agent",
    "-url=https://gateway-agent.io",
    "-contact=https://gateway-agent.io",
    concat!("-version=v", env!("CARGO_PKG_VERSION")),
];

/// What to run, against which class, and where to leave what came of it.
#[derive(Debug)]
pub struct Run<'a> {
    pub suite: &'a Suite,
    pub cluster: &'a Cluster,
    pub programs: &'a Programs,
    pub scope: Scope,
    /// The GatewayClass of the implementation.
    pub class: &'a str,
    /// Those to claim; none means those that the class claims.
    pub features: &'a [String],
    /// `Name:seconds`, separated by semicolons; empty for the suite's own.
    pub timeouts: &'a str,
    /// Whether what all tests share stays in the cluster afterwards.
    pub keep_base: bool,
    /// Output of the suite, and a folder per failed test. What an earlier run left there is removed.
    pub folder: PathBuf,
    pub report: PathBuf,
}

/// What a run left.
#[derive(Debug)]
pub struct Finished {
    pub record: Record,
    /// None if the suite wrote none.
    pub report: Option<Report>,
}

/// Addresses on the nodes' link that are for Gateways.
#[derive(Debug)]
pub struct Addresses {
    /// 48: the suite has up to 44 Gateways at once.
    pub pool: Vec<String>,
    /// For the test that asks for one by name.
    pub usable: String,
    /// Of nobody, and not on the link (TEST-NET-1, RFC 5737).
    pub unusable: String,
}

impl Addresses {
    pub fn of(spec: &Spec) -> Self {
        let on_link = |host| spec.on_link(host).v4.to_string();
        Self { pool: (100..148).map(on_link).collect(), usable: on_link(148), unusable: "192.0.2.1".into() }
    }
}

impl Run<'_> {
    /// Runs the suite to its end. `ended` hears of each test that ran when it ends. An error if it could not be run;
    /// failed tests are in the record.
    pub fn run(&self, mut ended: impl FnMut(&str, &TestRecord)) -> Result<Finished, ConformanceError> {
        let arguments = self.arguments()?;
        self.clear()?;
        if self.needs_class() {
            let inferred = self.features.is_empty() && matches!(self.scope, Scope::Profiles(_));
            readiness::check_class(&self.cluster.kubectl(), self.class, inferred)?;
        }
        let mut child = self.start(&arguments)?;
        let record = self.follow(&mut child, &mut ended)?;
        child.wait().map_err(ConformanceError::system("wait for the suite"))?;
        let report = fs::read_to_string(&self.report).ok();
        Ok(Finished { record, report: report.map(|yaml| Report::parse(&yaml)).transpose()? })
    }

    fn arguments(&self) -> Result<Vec<String>, ConformanceError> {
        let addresses = Addresses::of(self.cluster.spec());
        let mut arguments = vec![
            "-test.v=test2json".into(),
            "-test.run=^TestConformance$".into(),
            LIMIT.into(),
            format!("-gateway-class={}", self.class),
            format!("-report-output={}", self.report.display()),
            format!("-usable-address={}", addresses.usable),
            format!("-unusable-address={}", addresses.unusable),
            format!("-cleanup-base-resources={}", !self.keep_base),
        ];
        arguments.extend(IMPLEMENTATION.map(str::to_owned));
        let catalogue = &self.suite.catalogue;
        let (profiles, features) = match &self.scope {
            Scope::Profiles(profiles) => (profiles.clone(), self.features.to_owned()),
            Scope::Test(test) => {
                arguments.push(format!("-run-test={test}"));
                of_one_test(catalogue, test, self.features)?
            }
        };
        for profile in &profiles {
            catalogue.profile(profile)?;
        }
        arguments.push(format!("-conformance-profiles={}", profiles.join(",")));
        if !features.is_empty() {
            arguments.push(format!("-supported-features={}", features.join(",")));
        }
        if !self.timeouts.is_empty() {
            arguments.push(format!("-timeout-config-overrides={}", self.timeouts));
        }
        Ok(arguments)
    }

    /// Tests of a mesh alone need none.
    fn needs_class(&self) -> bool {
        let catalogue = &self.suite.catalogue;
        let is_mesh =
            |name: &String| catalogue.profile(name).is_ok_and(|profile| profile.core.contains("Mesh"));
        match &self.scope {
            Scope::Profiles(profiles) => !profiles.iter().all(is_mesh),
            Scope::Test(test) => catalogue.test(test).is_ok_and(|test| test.features.contains("Gateway")),
        }
    }

    fn clear(&self) -> Result<(), ConformanceError> {
        let failed = || ConformanceError::system(format!("clear {}", self.folder.display()));
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).map_err(failed())?;
        }
        fs::create_dir_all(&self.folder).map_err(failed())?;
        // Elsewhere, perhaps; an old one must not be taken for the new.
        match fs::remove_file(&self.report) {
            Err(error) if self.report.exists() => Err(failed()(error)),
            _ => Ok(()),
        }
    }

    fn start(&self, arguments: &[String]) -> Result<Child, ConformanceError> {
        let mut command = Command::new(self.suite.test2json());
        command.arg("-t").arg(self.suite.program()).args(arguments).current_dir(&self.folder);
        command.env("KUBECONFIG", self.cluster.kubectl().kubeconfig());
        command.env("KUBECTL", self.programs.kube("kubectl")).env("EVIDENCE", &self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // In this process's group: what interrupts us interrupts the suite.
        self.cluster.client().run(|| command.spawn()).map_err(ConformanceError::system("start the suite"))
    }

    /// Keeps the whole output as it comes, so that it is there after an interruption too.
    fn follow(
        &self,
        child: &mut Child,
        ended: &mut impl FnMut(&str, &TestRecord),
    ) -> Result<Record, ConformanceError> {
        let kept = self.folder.join("output.txt");
        let failed = || ConformanceError::system(format!("write {}", kept.display()));
        let mut file = File::create(&kept).map_err(failed())?;
        let mut record = Record::default();
        let stdout = child.stdout.take().into_iter();
        for line in stdout.flat_map(|stdout| BufReader::new(stdout).split(b'\n')) {
            let line = line.map_err(ConformanceError::system("read the suite's output"))?;
            let event = Event::parse(&String::from_utf8_lossy(&line));
            file.write_all(event.output.as_bytes()).map_err(failed())?;
            let Some((name, test)) = record.add(&event) else { continue };
            if test.outcome == Some(Outcome::Failed) {
                self.keep_failure(name, test)?;
            }
            if test.outcome != Some(Outcome::Skipped) {
                ended(name, test);
            }
        }
        Ok(record)
    }

    /// Puts a failed test's own output beside its objects.
    fn keep_failure(&self, name: &str, test: &TestRecord) -> Result<(), ConformanceError> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join("output.txt"), &test.output))
            .map_err(ConformanceError::system(format!("write {}", folder.display())))
    }
}

/// The profiles that the test counts in, and the features that make it run.
fn of_one_test(
    catalogue: &Catalogue,
    name: &str,
    features: &[String],
) -> Result<(Vec<String>, Vec<String>), ConformanceError> {
    let test = catalogue.test(name)?;
    let profiles = catalogue.profiles_of(test).map(|profile| profile.name.clone()).collect();
    Ok((profiles, test.features.iter().chain(features).cloned().collect()))
}
