//! Helm, built from its module, what it makes of deploy/chart, and that in a cluster of this machine.
#![forbid(unsafe_code)]

pub mod image;
mod release;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::ClusterError;
use cluster::go::{self, Kind, Module, Program};

pub use release::{apply, for_suite, install};

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

/// Why there is no chart, no image, or nothing that runs.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("no Go to build Helm with: `cargo xtask cluster up` installs it")]
    NoGo,
    #[error("there is no {}: `cargo build --workspace` builds it", .0.display())]
    NotBuilt(PathBuf),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("{program} can't be run: {cause}")]
    Run { program: String, cause: io::Error },
    #[error("{words}: {said}")]
    Refused { words: String, said: String },
}

/// Helm and the chart of this checkout.
#[derive(Debug)]
pub struct Chart {
    helm: PathBuf,
}

impl Chart {
    /// Builds Helm if it isn't there yet: two minutes of processor time.
    pub fn open() -> Result<Self, InstallError> {
        let go = go::find().ok_or(InstallError::NoGo)?;
        Ok(Self { helm: HELM.build(&go)?.join("helm") })
    }

    /// Where Helm is.
    pub fn helm_program(&self) -> &Path {
        &self.helm
    }

    /// What Helm has against the chart is an error.
    pub fn lint(&self) -> Result<String, InstallError> {
        self.helm(&["lint", "--strict", &chart()])
    }

    /// Manifests for these settings (`--set`).
    pub fn template(&self, settings: &[&str]) -> Result<String, InstallError> {
        let chart = chart();
        let words =
            ["template", "gateway-agent", &chart, "--namespace", NAMESPACE, "--include-crds", KUBERNETES];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        self.helm(&words.into_iter().chain(settings).collect::<Vec<_>>())
    }

    /// What `kubectl apply` takes, for these settings; without any, the text of deploy/install.yaml.
    pub fn manifests(&self, settings: &[&str]) -> Result<String, InstallError> {
        Ok(format!("{HEAD}{}", self.template(settings)?))
    }

    fn helm(&self, words: &[&str]) -> Result<String, InstallError> {
        run(Command::new(&self.helm).args(words))
    }
}

/// What a program prints.
fn run(command: &mut Command) -> Result<String, InstallError> {
    let words = |command: &Command| {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    };
    let output = command.output().map_err(|cause| InstallError::Run { program: words(command), cause })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    Err(InstallError::Refused { words: words(command), said })
}

/// A file of the checkout.
pub fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn chart() -> String {
    checkout("deploy/chart").display().to_string()
}
