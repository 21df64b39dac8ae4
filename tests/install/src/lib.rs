//! Helm, built from its module, and what it makes of deploy/chart.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::ClusterError;
use cluster::go::{self, Kind, Module, Program};

const HELM: Module = Module {
    folder: "helm",
    programs: &[Program {
        name: "helm",
        package: "helm.sh/helm/v3/cmd/helm",
        kind: Kind::Main,
        variables: &[],
    }],
};

/// Where everything of a release is that has a namespace; deploy/rbac names it too.
pub const NAMESPACE: &str = "gateway-agent-system";

/// What plain manifests are made for: the newest that `tests/go/kube` has.
const KUBERNETES: &str = "--kube-version=1.35";

/// What Helm leaves to `--create-namespace`.
const HEAD: &str = "\
# gateway-agent, all but the CRDs of the Gateway API: what deploy/chart makes of its default values.
# Written by `cargo xtask chart`.
apiVersion: v1
kind: Namespace
metadata:
  name: gateway-agent-system
  labels:
    # Agents are on the host's network and load programs.
    pod-security.kubernetes.io/enforce: privileged
";

/// Why the chart is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    #[error("no Go to build Helm with: `cargo xtask cluster up` installs it")]
    NoGo,
    #[error(transparent)]
    Build(#[from] ClusterError),
    #[error("helm can't be run: {0}")]
    Run(#[from] io::Error),
    #[error("helm {words}: {said}")]
    Refused { words: String, said: String },
}

/// Helm and the chart of this checkout.
#[derive(Debug)]
pub struct Chart {
    helm: PathBuf,
}

impl Chart {
    /// Builds Helm if it isn't there yet: two minutes of processor time.
    pub fn open() -> Result<Self, ChartError> {
        let go = go::find().ok_or(ChartError::NoGo)?;
        Ok(Self { helm: HELM.build(&go)?.join("helm") })
    }

    /// What Helm has against the chart is an error.
    pub fn lint(&self) -> Result<String, ChartError> {
        self.helm(&["lint", "--strict", &chart()])
    }

    /// Manifests for these settings (`--set`).
    pub fn template(&self, settings: &[&str]) -> Result<String, ChartError> {
        let chart = chart();
        let words =
            ["template", "gateway-agent", &chart, "--namespace", NAMESPACE, "--include-crds", KUBERNETES];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        self.helm(&words.into_iter().chain(settings).collect::<Vec<_>>())
    }

    /// The text of deploy/install.yaml.
    pub fn manifests(&self) -> Result<String, ChartError> {
        Ok(format!("{HEAD}{}", self.template(&[])?))
    }

    fn helm(&self, words: &[&str]) -> Result<String, ChartError> {
        let output = Command::new(&self.helm).args(words).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        Err(ChartError::Refused { words: words.join(" "), said })
    }
}

/// A file of the checkout.
pub fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn chart() -> String {
    checkout("deploy/chart").display().to_string()
}
