//! The suite as programs and images, built from tests/go.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use cluster::go::{self, Kind, Module, Program};
use cluster::{Kubectl, Programs};

use crate::catalogue::Catalogue;
use crate::{ConformanceError, images, readiness};

/// Releases of the suite that are built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Release {
    /// The judge
    #[value(name = "1.6")]
    V1_6,
    /// What comes next
    #[value(name = "1.7")]
    V1_7,
}

const SUITE: Program = Program { name: "conformance.test", package: ".", kind: Kind::Test, variables: &[] };
const CATALOGUE: Program =
    Program { name: "catalogue", package: "./catalogue", kind: Kind::Main, variables: &[] };
/// Go ships it as source.
const TEST2JSON: Program =
    Program { name: "test2json", package: "cmd/test2json", kind: Kind::Main, variables: &[] };

/// The backend of most tests; its package moved.
const fn echo_basic(package: &'static str) -> Program {
    Program { name: "echo-basic", package, kind: Kind::Main, variables: &[] }
}

const V1_6: Module = Module {
    folder: "conformance",
    programs: &[SUITE, CATALOGUE, TEST2JSON, echo_basic("sigs.k8s.io/gateway-api/conformance/echo-basic")],
};

const V1_7: Module = Module {
    folder: "conformance-1.7",
    programs: &[
        SUITE,
        CATALOGUE,
        TEST2JSON,
        echo_basic("sigs.k8s.io/gateway-api-conformance-images/echo-basic"),
    ],
};

const ECHO_ADVANCED: Module = Module {
    folder: "echo-advanced",
    programs: &[
        Program {
            name: "client",
            package: "istio.io/istio/pkg/test/echo/cmd/client",
            kind: Kind::Main,
            variables: &[],
        },
        Program {
            name: "server",
            package: "istio.io/istio/pkg/test/echo/cmd/server",
            kind: Kind::Main,
            variables: &[],
        },
    ],
};

/// Everything that a run needs and a cluster does not have by itself.
#[derive(Debug)]
pub struct Suite {
    pub catalogue: Catalogue,
    /// Archives of the images that the suite's manifests ask for.
    pub images: Vec<PathBuf>,
    /// Of the release that it judges, as kustomizations.
    crds: PathBuf,
    programs: PathBuf,
}

/// Which CRDs of a release, as their annotation has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Channel {
    Standard,
    Experimental,
}

impl Suite {
    /// Builds what is not there yet: some minutes the first time, no time later.
    pub fn prepare(release: Release, go: &Path, cluster: &Programs) -> Result<Self, ConformanceError> {
        let module = match release {
            Release::V1_6 => V1_6,
            Release::V1_7 => V1_7,
        };
        let programs = module.build(go)?;
        let catalogue = Catalogue::parse(&printed(&programs.join("catalogue"))?)?;
        let parts = images::Parts {
            echo_basic: programs.clone(),
            echo_advanced: ECHO_ADVANCED.build(go)?,
            coredns: cluster.coredns().parent().map_or_else(PathBuf::new, Path::to_owned),
        };
        let images = images::write(&catalogue.images, &parts, &programs)?;
        let source = go::download(go, &format!("sigs.k8s.io/gateway-api@{}", catalogue.version))?;
        Ok(Self { catalogue, images, crds: source.join("config/crd"), programs })
    }

    /// Gives a cluster without CRDs of the Gateway API those that the suite judges; an error if it has others.
    pub fn install_crds(&self, kubectl: &Kubectl, channel: Channel) -> Result<(), ConformanceError> {
        if !readiness::has_crds(kubectl) {
            let folder = match channel {
                Channel::Standard => self.crds.clone(),
                Channel::Experimental => self.crds.join("experimental"),
            };
            // Server-side: an annotation of client-side apply would be longer than annotations may be.
            kubectl.run(&["apply", "--server-side", &format!("--kustomize={}", folder.display())])?;
            kubectl.run(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=300s"])?;
        }
        readiness::check_crds(kubectl, &self.catalogue, channel.name())
    }

    /// The suite itself.
    pub(crate) fn program(&self) -> PathBuf {
        self.programs.join("conformance.test")
    }

    /// Turns what it prints into events.
    pub(crate) fn test2json(&self) -> PathBuf {
        self.programs.join("test2json")
    }
}

impl Channel {
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Experimental => "experimental",
        }
    }
}

fn printed(program: &Path) -> Result<String, ConformanceError> {
    let failed = || ConformanceError::system(format!("run {}", program.display()));
    let output = Command::new(program).output().map_err(failed())?;
    // A failure prints no catalogue, which parsing then says.
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
