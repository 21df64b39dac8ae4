//! The suite as programs and images, built from tests/go.

use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::Programs;
use cluster::go::{Kind, Module, Program};

use crate::catalogue::Catalogue;
use crate::{ConformanceError, images};

const CONFORMANCE: Module = Module {
    folder: "conformance",
    programs: &[
        Program { name: "conformance.test", package: ".", kind: Kind::Test, variables: &[] },
        Program { name: "catalogue", package: "./catalogue", kind: Kind::Main, variables: &[] },
        Program {
            name: "echo-basic",
            package: "sigs.k8s.io/gateway-api/conformance/echo-basic",
            kind: Kind::Main,
            variables: &[],
        },
        // Go ships it as source.
        Program { name: "test2json", package: "cmd/test2json", kind: Kind::Main, variables: &[] },
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
    programs: PathBuf,
}

impl Suite {
    /// Builds what is not there yet: some minutes the first time, no time later.
    pub fn prepare(go: &Path, cluster: &Programs) -> Result<Self, ConformanceError> {
        let programs = CONFORMANCE.build(go)?;
        let catalogue = Catalogue::parse(&printed(&programs.join("catalogue"))?)?;
        let parts = images::Parts {
            echo_basic: programs.join("echo-basic"),
            echo_advanced: ECHO_ADVANCED.build(go)?,
            coredns: cluster.coredns(),
        };
        let images = images::write(&catalogue.images, &parts, &programs)?;
        Ok(Self { catalogue, images, programs })
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

fn printed(program: &Path) -> Result<String, ConformanceError> {
    let failed = || ConformanceError::system(format!("run {}", program.display()));
    let output = Command::new(program).output().map_err(failed())?;
    // A failure prints no catalogue, which parsing then says.
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
