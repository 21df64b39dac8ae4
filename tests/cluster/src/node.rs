//! A node: containerd, kubelet and kube-proxy on a machine of their own.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use serde_json::{Value, json};

use crate::ClusterError;
use crate::cni;
use crate::machine::Machine;
use crate::mounts;
use crate::programs::PAUSE_IMAGE;
use crate::spec::{DNS_SERVICE, KubeProxy, NodeSpec};
use crate::state::Plan;

/// Folders that each node has for itself.
const FOLDERS: [&str; 5] =
    ["/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/etc/cni/net.d", "/var/log"];

/// containerd takes half a second on an idle machine.
const RUNTIME: Duration = Duration::from_mins(1);

const SOCKET: &str = "/run/containerd/containerd.sock";

pub(crate) struct Node<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) plan: &'a Plan,
    pub(crate) place: NodeSpec,
    /// Of the node's own files.
    pub(crate) folder: PathBuf,
}

impl Node<'_> {
    /// Starts containerd and gives it the images that every node needs. Asks no API server.
    pub(crate) fn start_runtime(&self) -> Result<(), ClusterError> {
        mounts::become_node(self.machine, &self.folder, &FOLDERS)?;
        let cni = cni::configuration(self.plan.spec.cni, &self.place).to_string();
        self.machine
            .run("write its CNI configuration", || fs::write("/etc/cni/net.d/10-pods.conflist", cni))?;
        let config =
            self.write("containerd.toml", &containerd(&cni::plugins()?, snapshotter(&self.folder)))?;
        self.start("containerd", &["containerd".into(), format!("--config={}", config.display())])?;
        let started = format!("start of containerd on {}", self.place.name);
        lab::wait_until(&started, RUNTIME, || self.has_runtime())?;
        self.plan.programs.images().iter().try_for_each(|archive| import(self.machine, archive))
    }

    /// What the API server must know before the kubelet starts, which then adopts it: pod addresses are ours to give.
    pub(crate) fn object(&self) -> Value {
        let pods = self.place.pods();
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": self.place.name, "labels": { "kubernetes.io/hostname": self.place.name } },
            "spec": { "podCIDR": pods[0], "podCIDRs": pods },
        })
    }

    /// Starts the kubelet and kube-proxy. The node's object must be there.
    pub(crate) fn start_kubelet(&self) -> Result<(), ClusterError> {
        let resolver =
            self.write("resolv.conf", "# Nobody resolves names for a node.\nnameserver 127.0.0.1\n")?;
        let config = self.write("kubelet.json", &self.kubelet(&resolver).to_string())?;
        let addresses: Vec<String> = self.place.address.all().map(|address| address.to_string()).collect();
        let words = [
            self.plan.programs.kube("kubelet").display().to_string(),
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", self.plan.pki().kubeconfig(&self.place.name).display()),
            format!("--hostname-override={}", self.place.name),
            format!("--node-ip={}", addresses.join(",")),
        ];
        self.start("kubelet", &words)?;
        let Some(config) = self.kube_proxy() else { return Ok(()) };
        let config = self.write("kube-proxy.json", &config.to_string())?;
        let program = self.plan.programs.kube("kube-proxy").display().to_string();
        self.start("kube-proxy", &[program, format!("--config={}", config.display())])
    }

    fn kubelet(&self, resolver: &Path) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": true },
                "x509": { "clientCAFile": self.plan.pki().certificate("ca") },
            },
            "authorization": { "mode": "Webhook" },
            "tlsCertFile": self.plan.pki().certificate(&self.place.name),
            "tlsPrivateKeyFile": self.plan.pki().key(&self.place.name),
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": "cluster.local",
            "resolvConf": resolver,
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
            "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
            // No systemd in here. The root is the machine's own by its cgroup namespace.
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": false,
            "failSwapOn": false,
            // Of the disk and memory that all nodes share with everything else here.
            "evictionHard": {
                "memory.available": "100Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%",
            },
            // Images were imported: once collected, they could not be pulled again.
            "imageGCHighThresholdPercent": 100,
            "serializeImagePulls": false,
            "maxPods": 200,
            "nodeStatusUpdateFrequency": "5s",
        })
    }

    fn kube_proxy(&self) -> Option<Value> {
        let mode = match self.plan.spec.kube_proxy {
            KubeProxy::Nftables => "nftables",
            KubeProxy::Iptables => "iptables",
            KubeProxy::None => return None,
        };
        Some(json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": mode,
            "clusterCIDR": self.plan.spec.pod_ranges().join(","),
            "hostnameOverride": self.place.name,
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "clientConnection": { "kubeconfig": self.plan.pki().kubeconfig("kube-proxy") },
            // Zero leaves connection tracking's settings alone: its maximum is one for the whole kernel.
            "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
        }))
    }

    fn has_runtime(&self) -> bool {
        self.machine.run("reach containerd", || UnixStream::connect(SOCKET)).is_ok()
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, ClusterError> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(ClusterError::system(format!("write {}", path.display())))?;
        Ok(path)
    }

    fn start(&self, name: &str, words: &[String]) -> Result<(), ClusterError> {
        self.machine.start_daemon(words, &self.plan.logs().join(format!("{}.{name}.log", self.place.name)))
    }
}

/// Gives a node's containerd the images of an archive (OCI layout, or as `docker save` writes it).
pub(crate) fn import(machine: &Machine, archive: &Path) -> Result<(), ClusterError> {
    let file = File::open(archive).map_err(ClusterError::system(format!("open {}", archive.display())))?;
    // As input: the node may have something else of its own at that path.
    machine.command(&["ctr", "--namespace=k8s.io", "images", "import", "-"], Some(file)).map(drop)
}

/// containerd's configuration, in the version that 1.6 and all later ones read.
fn containerd(plugins: &Path, snapshotter: &str) -> String {
    let plugins = plugins.display();
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
disable_apparmor = true
# Pods without root may listen on ports below 1024.
enable_unprivileged_ports = true
# Root without CAP_SYS_RESOURCE can't lower oom_score_adj: runc would die before it can say so.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#
    )
}

/// Inside containers the folder may lie on an overlay itself, and overlays can't be stacked that way.
fn snapshotter(folder: &Path) -> &'static str {
    let is_overlay = statfs(folder).is_ok_and(|kind| kind.filesystem_type() == OVERLAYFS_SUPER_MAGIC);
    if is_overlay { "native" } else { "overlayfs" }
}
