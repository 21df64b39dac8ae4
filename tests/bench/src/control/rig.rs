//! A cluster of one node, with nothing in it but what we measure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use cluster::{Cluster, Lock, Name, Programs, Spec, go};
use lab::{Lab, Namespace};
use serde_json::{Value, json};

use super::objects;
use super::role::{MEMORY, Role};

const NODE: &str = "node1";

/// Where the controller holds its Lease, and the service accounts of deploy/rbac are.
const SYSTEM: &str = "gateway-agent-system";

/// Of flows there are none.
const FLOWS: &str = "1000";

/// The cluster is taken down with it.
#[derive(Debug)]
pub(crate) struct Rig {
    _down: Down,
    cluster: Cluster,
    lab: Lab,
    agent: PathBuf,
    /// How many there were.
    agents: AtomicU32,
    _lock: Lock,
}

#[derive(Debug)]
struct Down(Name);

impl Rig {
    pub(crate) fn new(agent: &Path) -> Result<Self> {
        let name: Name = "bench-control".parse()?;
        let lock = Lock::take(&name, "bench")?;
        Cluster::down(&name)?;
        let go = go::find().context("no Go; `cargo xtask cluster up` installs it")?;
        let programs = Programs::prepare(&go)?;
        let down = Down(name.clone());
        let cluster = Cluster::up(&Spec { nodes: "1".parse()?, ..Spec::new(name) }, &programs)?;
        let agent = agent.to_owned();
        let lab = Lab::new("control")?;
        let rig = Self { _down: down, cluster, lab, agent, agents: AtomicU32::new(0), _lock: lock };
        println!("{}", rig.cluster.spec());
        let kubectl = rig.cluster.kubectl();
        kubectl.run(&["create", "namespace", SYSTEM])?;
        for folder in ["crds", "rbac"] {
            kubectl.run(&["apply", "--server-side", "--filename", &deploy(folder)])?;
        }
        let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        kubectl.run(&established)?;
        kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects::frame()}).to_string())?;
        Ok(rig)
    }

    /// Where the API server can be reached.
    pub(crate) fn client(&self) -> &Namespace {
        self.cluster.client()
    }

    /// The administrator's.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.cluster.kubectl().kubeconfig().to_owned()
    }

    pub(crate) fn controller(&self) -> Result<Role> {
        let mut command = Command::new(&self.agent);
        command.envs(MEMORY).args(["controller", "--namespace", SYSTEM, "--kubeconfig"]);
        command.arg(self.kubeconfig_of("gateway-agent-controller", &[])?);
        Role::start(self.cluster.client(), &command, None)
    }

    /// On the node, with maps and a cgroup of its own: what an agent before it left is not charged to it. As in
    /// deploy/chart its proxy is a container beside it, which comes second here.
    pub(crate) fn agent(&self) -> Result<(Role, Role)> {
        let label = format!("agent{}", self.agents.fetch_add(1, Ordering::Relaxed));
        let link = self.lab.dir().join(format!("{label}.proxy"));
        let pin = self.lab.bpffs(&label)?.join("gateway-agent");
        let binding = ["--bound-object-kind=Node", "--bound-object-name", NODE];
        let mut command = Command::new(&self.agent);
        command.envs(MEMORY).args(["run", "--node-name", NODE, "--namespace", SYSTEM, "--device", "eth0"]);
        command.args(["--flows", FLOWS]).arg("--pin").arg(pin).arg("--proxy-socket").arg(&link);
        command.arg("--socket").arg(self.lab.dir().join(format!("{label}.socket")));
        command.arg("--kubeconfig").arg(self.kubeconfig_of("gateway-agent", &binding)?);
        let mut proxy = Command::new(&self.agent);
        proxy.args(["proxy", "--socket"]).arg(&link);
        let node = self.cluster.node(NODE).context("the cluster's node")?;
        let cgroup = |label: &str| self.cluster.memory_cgroup(label).map(Some);
        Ok((
            Role::start(node, &command, cgroup(&label)?)?,
            Role::start(node, &proxy, cgroup(&format!("{label}-proxy"))?)?,
        ))
    }

    /// Of a service account of deploy/rbac: with the rights that it has in use.
    fn kubeconfig_of(&self, account: &str, binding: &[&str]) -> Result<PathBuf> {
        let words = ["create", "token", account, "--namespace", SYSTEM, "--duration=1h"];
        let token = self.cluster.kubectl().run(&[&words[..], binding].concat())?;
        let mut config: Value = serde_json::from_str(&fs::read_to_string(self.kubeconfig())?)?;
        config["users"][0]["user"] = json!({ "token": token.trim() });
        let file = self.lab.dir().join(format!("{account}.kubeconfig"));
        fs::write(&file, config.to_string())?;
        Ok(file)
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        if let Err(error) = Cluster::down(&self.0) {
            eprintln!("the cluster stays: {error}");
        }
    }
}

/// A folder of deploy/.
fn deploy(folder: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(folder).display().to_string()
}
