//! A role of gateway-agent as a process, and what it tells.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use lab::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// As deploy/chart has it for agents and controllers.
pub(crate) const MEMORY: [(&str, &str); 2] = [("MIMALLOC_PURGE_DELAY", "0"), ("MIMALLOC_ALLOW_THP", "0")];

/// Killed with it.
#[derive(Debug)]
pub(crate) struct Role {
    child: Child,
    lines: mpsc::UnboundedReceiver<Value>,
    cgroup: Option<PathBuf>,
    pub(crate) started: Timestamp,
}

impl Role {
    /// Starts it with a log of JSON lines, which are read as they come. It is in its cgroup from its first instruction
    /// on: what a process has already isn't charged anew when it moves.
    pub(crate) fn start(place: &Namespace, role: &Command, cgroup: Option<PathBuf>) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", r#"[ -z "$0" ] || echo 0 > "$0"; exec "$@""#]);
        command.arg(cgroup.as_ref().map(|cgroup| cgroup.join("cgroup.procs")).unwrap_or_default());
        command.arg(role.get_program()).args(role.get_args());
        command.args(["--log=json", "--log-level=info"]);
        command.envs(role.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = Timestamp::now();
        let mut child = place.spawn(&mut command).context("starting gateway-agent")?;
        let log = child.stderr.take().context("gateway-agent's log")?;
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(log).lines().map_while(Result::ok);
            for line in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                // Nobody listens any more; the log is read nevertheless, or its writer would wait.
                let _ = sender.send(line);
            }
        });
        Ok(Self { child, lines, cgroup, started })
    }

    /// Waits for a line that fits.
    pub(crate) async fn told(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Line> {
        let wanted = async {
            loop {
                let line = self.lines.recv().await.with_context(|| format!("it ended before {what}"))?;
                if fits(&line) {
                    return Line::new(line);
                }
            }
        };
        timeout(PATIENCE, wanted).await.with_context(|| format!("gateway-agent doesn't tell {what}"))?
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cgroup(&self) -> Result<&Path> {
        self.cgroup.as_deref().context("it has no cgroup of its own")
    }

    /// Ends it as a pod is ended.
    pub(crate) fn terminate(mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "gateway-agent ended with {status}");
        Ok(())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a role told, and when.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    pub(crate) fields: Value,
}

impl Line {
    fn new(fields: Value) -> Result<Self> {
        let at = fields["timestamp"].as_str().context("a line of the log without a time")?.parse()?;
        Ok(Self { at, fields })
    }
}
