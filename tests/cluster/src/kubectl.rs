//! kubectl, with the administrator's rights, in the client's namespace.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use lab::Namespace;

use crate::ClusterError;
use crate::machine::printed;

#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: Namespace,
}

impl Kubectl {
    pub(crate) fn new(program: PathBuf, kubeconfig: PathBuf, namespace: Namespace) -> Self {
        Self { program, kubeconfig, namespace }
    }

    /// The administrator's; its API server is reached from the cluster's namespaces only.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs kubectl to its end and returns what it printed. Failure carries its standard error.
    pub fn run<S: AsRef<str>>(&self, arguments: &[S]) -> Result<String, ClusterError> {
        self.run_with_input(arguments, "")
    }

    /// Applies manifests, server-side.
    pub fn apply(&self, manifests: &str) -> Result<(), ClusterError> {
        self.run_with_input(&["apply", "--server-side", "--filename=-"], manifests).map(drop)
    }

    /// Runs kubectl on the terminal of this process.
    pub fn run_on_terminal(&self, arguments: &[String]) -> Result<ExitStatus, ClusterError> {
        let mut command = self.command();
        command.args(arguments);
        self.namespace.run(|| command.status()).map_err(ClusterError::system("run kubectl"))
    }

    fn run_with_input<S: AsRef<str>>(&self, arguments: &[S], input: &str) -> Result<String, ClusterError> {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let failed = || ClusterError::system("run kubectl");
        let mut command = self.command();
        command.args(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.namespace.run(|| command.spawn()).map_err(failed())?;
        if let Some(mut stdin) = child.stdin.take() {
            // kubectl reads all of it before it prints. One that fails at once may not read at all: its status tells.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(failed())?;
        let words: Vec<&str> = ["kubectl"].into_iter().chain(arguments).collect();
        printed(&words, &output)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }
}
