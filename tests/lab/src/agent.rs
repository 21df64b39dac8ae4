//! The agent in a node's namespace: started, killed, ended, started again.

use std::fs::{self, File, OpenOptions};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::topology::{Node, UPLINK};
use crate::{Lab, LabError, Namespace, wait_until};

/// Loading and verifying the programs takes two seconds; debug builds on machines that are slow and busy need the rest.
const READY: Duration = Duration::from_mins(2);

/// An agent told to end has little to do: links and maps stay pinned.
const END: Duration = Duration::from_mins(1);

/// Lines of the log that an error quotes.
const TAIL: usize = 20;

/// How to run an agent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The build to run.
    pub binary: PathBuf,
    /// Folders for `-f`.
    pub config: Vec<PathBuf>,
    pub node_name: String,
    pub node_addresses: Vec<IpAddr>,
    /// Patterns for `--device`.
    pub devices: Vec<String>,
    /// A folder on a mounted bpffs.
    pub pin: PathBuf,
    pub socket: PathBuf,
    pub log: PathBuf,
    /// Further arguments.
    pub extra: Vec<String>,
}

/// A started agent. Dropping it kills it; its pins stay until the lab goes.
#[derive(Debug)]
pub struct Agent {
    pub settings: Settings,
    namespace: Namespace,
    child: Child,
    /// Length of the log before this start.
    log_start: usize,
}

impl Settings {
    /// For a node of the standard lab: all its devices, its addresses, a bpffs of its own.
    pub fn for_node(lab: &Lab, node: &Node, config: &Path) -> Result<Self, LabError> {
        let name = node.name();
        let folder = lab.folder(name)?;
        let devices = node.pods.iter().map(|pod| pod.device.clone());
        Ok(Self {
            binary: binary(),
            config: vec![config.to_owned()],
            node_name: name.to_owned(),
            node_addresses: node.host.addresses().to_vec(),
            devices: [UPLINK.to_owned()].into_iter().chain(devices).collect(),
            pin: lab.bpffs(&format!("{name}/bpf"))?.join("gateway-agent"),
            socket: folder.join("agent.sock"),
            log: folder.join("agent.log"),
            extra: Vec::new(),
        })
    }

    /// The command line of `gateway-agent run`, without the program.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["run".to_owned()];
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        self.config.iter().for_each(|dir| option("-f", dir.display().to_string()));
        option("--node-name", self.node_name.clone());
        self.node_addresses.iter().for_each(|address| option("--node-address", address.to_string()));
        self.devices.iter().for_each(|device| option("--device", device.clone()));
        option("--pin", self.pin.display().to_string());
        option("--socket", self.socket.display().to_string());
        option("--log", "json".to_owned());
        arguments.extend(self.extra.iter().cloned());
        arguments
    }
}

/// The build under test: `GATEWAY_AGENT_BIN`, or what cargo built beside the running program.
pub fn binary() -> PathBuf {
    std::env::var_os("GATEWAY_AGENT_BIN").map_or_else(|| built_beside("gateway-agent"), PathBuf::from)
}

/// A program that cargo built with the running one: in the same profile.
pub fn built_beside(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    // target/debug/xtask and target/debug/deps/some_test-1234: the agent is in target/debug.
    let folders = program.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    folders.into_iter().find(|path| path.is_file()).unwrap_or_else(|| name.into())
}

impl Agent {
    /// Starts an agent and waits until its first tables are in the kernel.
    pub fn start(namespace: &Namespace, settings: Settings) -> Result<Self, LabError> {
        let agent = Self::launch(namespace, settings)?;
        agent.ready()
    }

    /// Starts an agent without waiting: for configurations that should keep it from becoming ready.
    pub fn launch(namespace: &Namespace, settings: Settings) -> Result<Self, LabError> {
        let (child, log_start) = launch(namespace, &settings)?;
        Ok(Self { settings, namespace: namespace.clone(), child, log_start })
    }

    fn ready(mut self) -> Result<Self, LabError> {
        self.wait_ready()?;
        Ok(self)
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the line with `event=ready` of this start.
    pub fn wait_ready(&mut self) -> Result<(), LabError> {
        self.wait_event("ready", READY)
    }

    /// Waits for a log line of this start with this `event`; an agent that ends meanwhile is an error.
    pub fn wait_event(&mut self, event: &str, within: Duration) -> Result<(), LabError> {
        let mut ended = None;
        let log = self.settings.log.clone();
        let start = self.log_start;
        let child = &mut self.child;
        let seen = wait_until(event, within, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || has_event(&log, start, event)
        });
        match (seen, ended) {
            (_, Some(status)) => Err(self.error(&format!("ended with {status} before it logged {event}"))),
            (Err(_), None) => Err(self.error(&format!("did not log {event} within {within:?}"))),
            (Ok(()), None) => Ok(()),
        }
    }

    /// What this start logged so far, one JSON object per line.
    pub fn log(&self) -> String {
        log_since(&self.settings.log, self.log_start)
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(&mut self) -> Result<(), LabError> {
        self.signal(Signal::SIGKILL).map(drop)
    }

    /// SIGTERM, and how the agent ended.
    pub fn terminate(&mut self) -> Result<ExitStatus, LabError> {
        self.signal(Signal::SIGTERM)
    }

    /// Starts it again after [`Agent::kill`] or [`Agent::terminate`], with the settings as they are now, and waits until
    /// it is ready.
    pub fn restart(&mut self) -> Result<(), LabError> {
        (self.child, self.log_start) = launch(&self.namespace, &self.settings)?;
        self.wait_ready()
    }

    /// Runs another command of the same build in the node, such as `["stats", "--pin", ...]`.
    pub fn command(&self, words: &[&str]) -> Result<String, LabError> {
        let binary = self.settings.binary.display().to_string();
        let words: Vec<&str> = std::iter::once(binary.as_str()).chain(words.iter().copied()).collect();
        self.namespace.command(&words)
    }

    fn signal(&mut self, signal: Signal) -> Result<ExitStatus, LabError> {
        if let Some(status) = self.child.try_wait().map_err(LabError::system("wait for the agent"))? {
            return Err(self.error(&format!("had ended by itself with {status}")));
        }
        let pid = i32::try_from(self.child.id()).map_err(|e| LabError::Unexpected(e.to_string()))?;
        kill(Pid::from_raw(pid), signal).map_err(|e| LabError::system("signal the agent")(e.into()))?;
        let mut status = None;
        let child = &mut self.child;
        let ended = wait_until("the agent's end", END, || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        match status {
            Some(status) => Ok(status),
            None => Err(ended.err().unwrap_or_else(|| self.error("did not end"))),
        }
    }

    fn error(&self, how: &str) -> LabError {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        LabError::Agent {
            node: self.settings.node_name.clone(),
            how: how.to_owned(),
            log: self.settings.log.display().to_string(),
            tail: lines[lines.len().saturating_sub(TAIL)..].join("\n"),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(namespace: &Namespace, settings: &Settings) -> Result<(Child, usize), LabError> {
    let open = || -> std::io::Result<(File, File, usize)> {
        let log = OpenOptions::new().create(true).append(true).open(&settings.log)?;
        let start = usize::try_from(log.metadata()?.len()).unwrap_or(usize::MAX);
        Ok((log.try_clone()?, log, start))
    };
    let (out, err, start) = open().map_err(LabError::system(format!("open {}", settings.log.display())))?;
    let mut command = Command::new(&settings.binary);
    command.args(settings.arguments()).stdin(Stdio::null()).stdout(out).stderr(err);
    let child = namespace.spawn(&mut command).map_err(LabError::system(format!(
        "run {} (cargo xtask build makes it)",
        settings.binary.display()
    )))?;
    Ok((child, start))
}

fn has_event(log: &Path, start: usize, event: &str) -> bool {
    log_since(log, start).lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).any(
        // tracing's JSON layer nests what a line carries unless told to flatten it.
        |line| line["event"] == event || line["fields"]["event"] == event,
    )
}

fn log_since(log: &Path, start: usize) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
}
