//! A gateway that runs as a process of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::Netns;

/// It is ended with this value, or by the kernel when this program ends otherwise.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// In this namespace and on these processors (as `taskset -c` writes them); its log is a file of this folder.
    pub(crate) fn start(
        name: &str,
        namespace: &Netns,
        folder: &Path,
        cpus: &str,
        command: &Command,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = namespace.inside(|| {
            let mut child = Command::new("setpriv");
            // nginx ends its workers when it is terminated, but not when it is killed.
            child.args(["--pdeathsig", "TERM", "taskset", "-c", cpus]);
            child.arg(command.get_program()).args(command.get_args());
            child.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
            child.spawn().context("setpriv and taskset (util-linux) start it")
        })?;
        Ok(Self { child, log })
    }

    /// Its id: setpriv and taskset become what they start.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it ended with {status}\n{}", self.log());
        }
        Ok(())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}
