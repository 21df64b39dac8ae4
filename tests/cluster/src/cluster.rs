//! A cluster as a whole: up, found again, down.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use lab::Namespace;
use nix::unistd::Uid;

use crate::cgroups::Cgroup;
use crate::control_plane::ControlPlane;
use crate::kubectl::Kubectl;
use crate::lock::Lock;
use crate::machine::Machine;
use crate::network::Network;
use crate::node::{self, Node};
use crate::programs::Programs;
use crate::spec::{Name, NodeSpec, Spec};
use crate::state::{Folder, Plan};
use crate::{ClusterError, down, limits, mounts};

/// How long nodes, DNS and CRDs may take: seconds on an idle machine.
const PATIENCE: &str = "--timeout=300s";

const DNS: &str = include_str!("dns.yaml");

/// Excludes others that start or end the same cluster.
const LIFE: &str = "life";

/// A cluster that runs. It outlives this value, and this process.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    network: Network,
    control: Machine,
    nodes: Vec<Machine>,
}

impl Cluster {
    /// Starts a cluster and waits until its nodes and its DNS are ready. One that runs already is taken as it is if it
    /// is the same; what is left of a broken one is removed first.
    pub fn up(spec: &Spec, programs: &Programs) -> Result<Self, ClusterError> {
        if !Uid::effective().is_root() {
            return Err(ClusterError::NotRoot);
        }
        let _lock = Lock::take(&spec.name, LIFE)?;
        if let Some(running) = Self::find(&spec.name).filter(Self::is_ready) {
            if running.plan.spec == *spec {
                return Ok(running);
            }
            return Err(ClusterError::Invalid(format!(
                "{} runs already, and is not what was asked for: take it down first, or choose another name",
                running.plan.spec
            )));
        }
        if down::is_needed(&spec.name) {
            eprintln!("    removing what is left of an earlier cluster {}", spec.name);
            down::remove(&spec.name)?;
        }
        limits::check(spec)?;
        let plan = Plan { spec: spec.clone(), programs: programs.clone() };
        plan.write()?;
        let logs = plan.logs();
        let started = Self::create(plan).and_then(|cluster| cluster.start().map(|()| cluster));
        started.map_err(|error| ClusterError::Start { name: spec.name.clone(), logs, error: error.into() })
    }

    /// The cluster of this name, if its machines run.
    pub fn find(name: &Name) -> Option<Self> {
        let plan = Plan::read(name)?;
        let network = Network::open(&plan.spec).ok()?;
        let machine = |namespace| Machine::find(namespace, cgroup(&plan.spec, namespace).ok()?);
        let control = machine(&network.control)?;
        let nodes = network.nodes.iter().map(machine).collect::<Option<_>>()?;
        Some(Self { plan, network, control, nodes })
    }

    /// Names of all clusters on this machine, whole or not.
    pub fn names() -> Vec<Name> {
        Folder::all()
    }

    /// Removes the cluster of this name, or what is left of it. Whether there was anything.
    pub fn down(name: &Name) -> Result<bool, ClusterError> {
        if !Uid::effective().is_root() {
            return Err(ClusterError::NotRoot);
        }
        let _lock = Lock::take(name, LIFE)?;
        let is_needed = down::is_needed(name);
        if is_needed {
            down::remove(name)?;
        }
        Ok(is_needed)
    }

    pub fn spec(&self) -> &Spec {
        &self.plan.spec
    }

    /// The administrator's.
    pub fn kubectl(&self) -> Kubectl {
        let kubeconfig = self.plan.pki().kubeconfig("admin");
        Kubectl::new(self.plan.programs.kube("kubectl"), kubeconfig, self.network.client.clone())
    }

    /// Somebody outside the cluster, on the link of its nodes.
    pub fn client(&self) -> &Namespace {
        &self.network.client
    }

    /// The network of a node, by its name.
    pub fn node(&self, name: &str) -> Option<&Namespace> {
        self.network.nodes.iter().find(|namespace| namespace.label() == name)
    }

    /// Runs a command on a node, with its files, processes and network, and returns what it printed.
    pub fn run_on_node(&self, name: &str, words: &[&str]) -> Result<String, ClusterError> {
        self.machine(name)?.command(words, None)
    }

    /// The machines: their names, and the first process of each, whose namespaces `nsenter --all --target` enters.
    pub fn machines(&self) -> impl Iterator<Item = (&str, i32)> {
        [&self.control]
            .into_iter()
            .chain(&self.nodes)
            .map(|machine| (machine.name(), machine.init().as_raw()))
    }

    /// Makes a cgroup beside those of its machines, where the memory of whoever joins it is counted by itself. It goes
    /// with the cluster.
    pub fn memory_cgroup(&self, label: &str) -> Result<PathBuf, ClusterError> {
        let cgroup = Cgroup::of(&format!("{}/{label}", self.plan.spec.name.cgroup()))?;
        cgroup.create()?;
        let unknown = || ClusterError::Invalid("no cgroup hierarchy counts memory on this machine".into());
        cgroup.of_memory().map(Path::to_owned).ok_or_else(unknown)
    }

    /// Where all programs log.
    pub fn logs(&self) -> PathBuf {
        self.plan.logs()
    }

    /// Gives all nodes the images of these archives (OCI layout, or as `docker save` writes it).
    pub fn load_images(&self, archives: &[impl AsRef<Path> + Sync]) -> Result<(), ClusterError> {
        let import = |machine: &Machine| {
            archives.iter().try_for_each(|archive| node::import(machine, archive.as_ref()))
        };
        on_all(&self.nodes, import)
    }

    /// That of a node.
    pub(crate) fn machine(&self, name: &str) -> Result<&Machine, ClusterError> {
        let node = self.nodes.iter().find(|machine| machine.name() == name);
        node.ok_or_else(|| {
            ClusterError::Invalid(format!("cluster {} has no node {name}", self.plan.spec.name))
        })
    }

    /// What joins nodes, control plane and client; nodes' ports have their names.
    pub(crate) fn switch(&self) -> &Namespace {
        &self.network.control
    }

    pub(crate) fn control_plane(&self) -> Result<ControlPlane<'_>, ClusterError> {
        let data = self.plan.folder().folder("etcd")?;
        Ok(ControlPlane { machine: &self.control, plan: &self.plan, data })
    }

    /// Whether its API server answers.
    fn is_ready(&self) -> bool {
        self.kubectl().run(&["get", "--raw", "/readyz"]).is_ok()
    }

    /// Everything that exists before the first program of Kubernetes starts.
    fn create(plan: Plan) -> Result<Self, ClusterError> {
        let network = Network::create(&plan.spec)?;
        let machine = |namespace| machine(&plan, namespace);
        let control = machine(&network.control)?;
        let nodes = network.nodes.iter().map(machine).collect::<Result<_, ClusterError>>()?;
        Ok(Self { plan, network, control, nodes })
    }

    /// Puts a machine without processes in the place of one that died.
    pub(crate) fn replace(&mut self, place: &NodeSpec) -> Result<(), ClusterError> {
        self.network.renew(&self.plan.spec, place)?;
        let index = usize::from(place.number) - 1;
        self.nodes[index] = machine(&self.plan, &self.network.nodes[index])?;
        Ok(())
    }

    /// A node's programs, and where they are.
    pub(crate) fn programs_of(&self, place: NodeSpec) -> Result<Node<'_>, ClusterError> {
        let machine = self.machine(&place.name)?;
        let folder = self.plan.folder().folder(&place.name)?;
        Ok(Node { machine, plan: &self.plan, place, folder })
    }

    /// Starts all programs; what needs nothing from each other at the same time.
    fn start(&self) -> Result<(), ClusterError> {
        let begun = Instant::now();
        let reached = |what: &str| eprintln!("    {what} after {:.1?}", begun.elapsed());
        let (plan, kubectl) = (&self.plan, self.kubectl());
        plan.folder().folder("logs")?;
        plan.pki().create(&plan.spec)?;
        let control = self.control_plane()?;
        let nodes: Vec<Node<'_>> =
            plan.spec.nodes().map(|place| self.programs_of(place)).collect::<Result<_, ClusterError>>()?;

        control.start_server()?;
        thread::scope(|scope| {
            let runtimes = scope.spawn(|| on_all(&nodes, Node::start_runtime));
            control.start_controllers(&kubectl)?;
            reached("API server ready");
            let crds = scope.spawn(|| self.install_crds(&kubectl));
            let objects: Vec<_> = nodes.iter().map(Node::object).collect();
            let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
            kubectl.apply(&list.to_string())?;
            kubectl.apply(DNS)?;
            joined(runtimes)?;
            reached("containerd with images");
            on_all(&nodes, Node::start_kubelet)?;
            joined(crds)
        })?;
        reached("CRDs installed");
        kubectl.run(&["wait", "--for=condition=Ready", "node", "--all", PATIENCE])?;
        reached("nodes ready");
        kubectl.run(&["--namespace=kube-system", "rollout", "status", "deployment/coredns", PATIENCE])?;
        reached("DNS ready");
        Ok(())
    }

    fn install_crds(&self, kubectl: &Kubectl) -> Result<(), ClusterError> {
        let Some(channel) = self.plan.programs.crds(self.plan.spec.crds) else { return Ok(()) };
        // The annotation of client-side apply takes less than these CRDs have.
        let channel = format!("--kustomize={}", channel.display());
        kubectl.run(&["apply", "--server-side", &channel])?;
        kubectl.run(&["wait", "--for=condition=Established", "crd", "--all", PATIENCE]).map(drop)
    }
}

/// A machine with file systems of its own, and no process but its first.
fn machine(plan: &Plan, namespace: &Namespace) -> Result<Machine, ClusterError> {
    let machine = Machine::start(namespace, cgroup(&plan.spec, namespace)?, &plan.programs.pause())?;
    mounts::separate(&machine)?;
    Ok(machine)
}

fn cgroup(spec: &Spec, namespace: &Namespace) -> Result<Cgroup, ClusterError> {
    Cgroup::of(&format!("{}/{}", spec.name.cgroup(), namespace.label()))
}

/// Does the same on all at the same time; the first error, once all have ended.
fn on_all<T: Sync>(
    all: &[T],
    work: impl Fn(&T) -> Result<(), ClusterError> + Sync,
) -> Result<(), ClusterError> {
    thread::scope(|scope| {
        let threads: Vec<_> = all.iter().map(|one| scope.spawn(|| work(one))).collect();
        let results: Vec<_> = threads.into_iter().map(joined).collect();
        results.into_iter().collect()
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
