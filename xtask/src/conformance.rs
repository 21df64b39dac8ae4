//! `cargo xtask conformance`: the Gateway API project's own suite against the implementation in a cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use cluster::{Cluster, Crds, Name, Programs, Spec, go};
use conformance::{
    Addresses, Catalogue, Channel, Expected, Outcome, Release, Run, Scope, Suite, TestRecord, judge, summary,
};
use rustix::process::geteuid;

use crate::cluster::prepare as prepare_cluster;
use crate::process::step;
use crate::{build, chart, checkout, image, setup};

/// The GatewayClass of the chart, which is installed for it.
const CLASS: &str = "gateway-agent";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Profiles to judge, such as GATEWAY-HTTP [default: all that start with GATEWAY-]
    #[arg(long, value_name = "PROFILES", value_delimiter = ',')]
    profiles: Vec<String>,
    /// Features to claim; `all`: those of the profiles that `--expect` has not as unsupported [default: those that the
    /// class claims]
    #[arg(long, value_name = "FEATURES", value_delimiter = ',')]
    features: Vec<String>,
    /// Only this test
    #[arg(long, value_name = "TEST", conflicts_with_all = ["profiles", "expect"])]
    run: Option<String>,
    /// A YAML file with the extended features that must be unsupported and the tests that must fail, by profile
    /// [default: none]
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Where to write the official report [default: report.yaml in target/conformance]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// The GatewayClass of the implementation; this checkout is built and installed for its own
    #[arg(long, value_name = "NAME", default_value = CLASS)]
    class: String,
    /// Which channel's CRDs the cluster must have
    #[arg(long, value_enum, default_value_t = Channel::Experimental)]
    channel: Channel,
    /// Which release of the suite, and of the CRDs
    #[arg(long, value_enum, default_value_t = Release::V1_6)]
    suite: Release,
    /// The cluster to use, or to start if there is none
    #[arg(long, value_name = "NAME", default_value = "main")]
    name: Name,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !geteuid().is_root() {
        bail!("the suite runs in a cluster of namespaces, so it needs root: run this with sudo");
    }
    let (programs, suite) = prepare_release(options.suite)?;
    let (scope, expected) = (options.scope(&suite.catalogue)?, options.expected(&suite.catalogue)?);
    let cluster = options.cluster(&programs)?;
    suite.install_crds(&cluster.kubectl(), options.channel)?;
    step("images to all nodes", || Ok(cluster.load_images(&suite.images)?))?;
    let addresses = Addresses::of(cluster.spec());
    if options.class == CLASS {
        install_agent(&cluster, &addresses)?;
    } else {
        print_addresses(&addresses);
    }

    let folder = checkout::target().join("conformance");
    let run = Run {
        suite: &suite,
        cluster: &cluster,
        programs: &programs,
        scope: scope.clone(),
        class: &options.class,
        features: &options.claims(&scope, &expected, &suite.catalogue)?,
        timeouts: "",
        keep_base: false,
        report: options.report_file(&folder)?,
        folder,
    };
    let finished = step(&format!("suite {}", suite.catalogue.version), || Ok(run.run(print_test)?))?;
    let complaints = judge(&scope, &expected, &suite.catalogue, &finished.record, finished.report.as_ref())?;
    println!("\n{}", summary(&scope, &suite.catalogue, &finished, &complaints));
    println!("report: {}", run.report.display());
    if complaints.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("what was seen when tests failed: {}", run.folder.display());
    Ok(ExitCode::FAILURE)
}

/// Builds and installs what a cluster and the suite need and this machine lacks: some minutes the first time.
pub(crate) fn prepare() -> Result<()> {
    prepare_release(Release::V1_6).map(drop)
}

fn prepare_release(release: Release) -> Result<(Programs, Suite)> {
    let programs = prepare_cluster()?;
    let go = go::find().context("Go, which has just built Kubernetes, is gone")?;
    let suite = step("conformance suite and its images (the first time: 5 minutes)", || {
        Ok(Suite::prepare(release, &go, &programs)?)
    })?;
    Ok((programs, suite))
}

impl Options {
    fn scope(&self, catalogue: &Catalogue) -> Result<Scope> {
        if let Some(test) = &self.run {
            return Ok(Scope::Test(catalogue.test(test)?.name.clone()));
        }
        for profile in &self.profiles {
            catalogue.profile(profile)?;
        }
        let all = catalogue.profiles.iter().map(|profile| profile.name.clone());
        let gateways = all.filter(|name| name.starts_with("GATEWAY-")).collect();
        Ok(Scope::Profiles(if self.profiles.is_empty() { gateways } else { self.profiles.clone() }))
    }

    fn expected(&self, catalogue: &Catalogue) -> Result<Expected> {
        let Some(file) = &self.expect else { return Ok(Expected::default()) };
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        Expected::parse(&text, catalogue).with_context(|| format!("reading {}", file.display()))
    }

    /// What the suite is told; nothing makes it ask the class.
    fn claims(&self, scope: &Scope, expected: &Expected, catalogue: &Catalogue) -> Result<Vec<String>> {
        match (&self.features[..], scope) {
            ([all], Scope::Profiles(profiles)) if all == "all" => Ok(expected.claims(profiles, catalogue)?),
            _ => Ok(self.features.clone()),
        }
    }

    /// Absolute, since the suite runs in a folder of its own.
    fn report_file(&self, folder: &Path) -> Result<PathBuf> {
        let file = self.report.clone().unwrap_or_else(|| folder.join("report.yaml"));
        std::path::absolute(&file).with_context(|| format!("finding {}", file.display()))
    }

    fn cluster(&self, programs: &Programs) -> Result<Cluster> {
        if let Some(running) = Cluster::find(&self.name) {
            return Ok(running);
        }
        // They come with the suite, which judges one release of them.
        let spec = Spec { crds: Crds::None, ..Spec::new(self.name.clone()) };
        step(&spec.to_string(), || Ok(Cluster::up(&spec, programs)?))
    }
}

/// What this checkout is, by its chart.
fn install_agent(cluster: &Cluster, addresses: &Addresses) -> Result<()> {
    build::kernel_programs(&setup::run()?)?;
    let image = image::run(&image::Options::default())?;
    let chart = chart::open()?;
    step("gateway-agent to the cluster", || {
        Ok(install::install(cluster, &chart, &image, &install::for_suite(addresses))?)
    })
}

/// What another implementation must be set up with.
fn print_addresses(addresses: &Addresses) {
    if let (Some(first), Some(last)) = (addresses.pool.first(), addresses.pool.last()) {
        println!(
            "    Gateways' addresses: {first} to {last}, on request {}; never {}",
            addresses.usable, addresses.unusable
        );
    }
}

fn print_test(name: &str, test: &TestRecord) {
    let Some(outcome) = test.outcome else { return };
    println!("    {outcome} {name} ({:.1?})", test.took);
    if outcome == Outcome::Failed {
        println!("           {}", test.first_error());
    }
}
