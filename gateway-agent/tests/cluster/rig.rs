//! A cluster of two nodes, and gateway-agent's roles as processes beside it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cluster::{Cluster, Crds, Lock, Name, Programs, Spec, go};
use lab::{Lab, Namespace, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rights::audit_policy;

/// Far longer than anything here takes on an idle machine.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Where gateway-agent runs.
pub const SYSTEM: &str = "gateway-agent-system";

/// The first node, and the address that Kubernetes knows of it; and the second's.
pub const NODE: &str = "node1";
pub const NODE_ADDRESS: &str = "10.89.0.11";
pub const SECOND: &str = "node2";
pub const SECOND_ADDRESS: &str = "10.89.0.12";

/// The API server has this address too; who uses it can be cut off by itself.
const OTHER_SERVER: &str = "10.89.0.3";

/// The cluster is taken down with it.
pub struct Rig {
    name: Name,
    cluster: Cluster,
    lab: Lab,
    go: PathBuf,
    /// What the API server is told to write down, and where it does.
    audit: TempDir,
    _lock: Lock,
}

/// A process of gateway-agent, killed with it.
pub struct Role {
    child: Child,
    log: PathBuf,
}

impl Rig {
    /// Without any CRD.
    pub fn new(name: &str, nodes: &str) -> Self {
        let name: Name = name.parse().unwrap();
        let lock = Lock::take(&name, "test").unwrap();
        Cluster::down(&name).expect("a run that was killed is removed");
        let go = go::find().expect("Go, which `cargo xtask cluster up` installs");
        let programs = Programs::prepare(&go).expect("the programs are built");
        let audit = TempDir::new().unwrap();
        let policy = audit.path().join("policy.json");
        fs::write(&policy, audit_policy().to_string()).unwrap();
        let api_server = vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", audit.path().join("audit.log").display()),
            // Off by default still, as is the kind itself.
            "--feature-gates=ClusterTrustBundle=true".to_owned(),
            "--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true".to_owned(),
        ];
        let nodes = nodes.parse().unwrap();
        let spec = Spec { nodes, crds: Crds::None, api_server, ..Spec::new(name.clone()) };
        let cluster = Cluster::up(&spec, &programs).expect("a cluster");
        let rig = Self { cluster, lab: Lab::new("roles").unwrap(), go, audit, name, _lock: lock };
        rig.on_control_plane(&["ip", "address", "add", &format!("{OTHER_SERVER}/24"), "dev", "br0"]);
        rig.kubectl(&["create", "namespace", SYSTEM]);
        rig.apply_file(&deploy("rbac"));
        rig
    }

    pub fn kubectl(&self, words: &[&str]) -> String {
        self.cluster.kubectl().run(words).unwrap_or_else(|error| panic!("kubectl {words:?}: {error}"))
    }

    /// Or what kubectl says against it.
    pub fn try_kubectl(&self, words: &[&str]) -> Result<String, String> {
        self.cluster.kubectl().run(words).map_err(|error| error.to_string())
    }

    /// Creates an object with other rights than the administrator's.
    pub fn try_create(&self, kubeconfig: &str, object: &Value) -> Result<String, String> {
        let file = self.lab.dir().join("object.json");
        fs::write(&file, object.to_string()).unwrap();
        self.try_kubectl(&["create", "--kubeconfig", kubeconfig, "--filename", &file.display().to_string()])
    }

    pub fn apply(&self, objects: &[Value]) {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.cluster.kubectl().apply(&list.to_string()).unwrap();
    }

    pub fn apply_file(&self, file: &Path) {
        let file = file.display().to_string();
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", &file]);
    }

    /// The experimental channel's of a release, and ours.
    pub fn install_crds(&self, release: &str) {
        self.apply_file(&deploy("crds"));
        let module = go::download(&self.go, &format!("sigs.k8s.io/gateway-api@{release}")).unwrap();
        let folder = module.join("config/crd/experimental").display().to_string();
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "--kustomize", &folder]);
    }

    /// Each line an audit event.
    pub fn audit_log(&self) -> PathBuf {
        self.audit.path().join("audit.log")
    }

    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Value {
        let text = self.kubectl(&["get", kind, name, "--namespace", namespace, "--output=json"]);
        serde_json::from_str(&text).unwrap()
    }

    pub fn objects(&self, kind: &str, namespace: &str) -> Vec<Value> {
        let text = self.kubectl(&["get", kind, "--namespace", namespace, "--output=json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Waits until an object is as it should be.
    pub fn until(&self, kind: &str, namespace: &str, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let waited = wait_until(name, PATIENCE, || {
            last = self.object(kind, namespace, name);
            fits(&last)
        });
        assert!(waited.is_ok(), "{kind} {namespace}/{name} is not as it should be: {last:#}");
        last
    }

    /// Adds to an object's status what somebody else might write there.
    pub fn patch_status(&self, kind: &str, namespace: &str, name: &str, patch: &Value) {
        let patch = patch.to_string();
        let words = [
            "patch",
            kind,
            name,
            "--namespace",
            namespace,
            "--subresource=status",
            "--type=json",
            "--patch",
            &patch,
        ];
        self.kubectl(&words);
    }

    pub fn controller(&self, label: &str) -> Role {
        let kubeconfig = self.kubeconfig("gateway-agent-controller", label, &[], None);
        let words = ["controller", "--kubeconfig", &kubeconfig, "--namespace", SYSTEM];
        self.role(label, self.cluster.client(), &words)
    }

    /// One that [`Self::cut_off`] concerns.
    pub fn separable_controller(&self, label: &str) -> Role {
        let kubeconfig = self.kubeconfig("gateway-agent-controller", label, &[], Some(OTHER_SERVER));
        let words = ["controller", "--kubeconfig", &kubeconfig, "--namespace", SYSTEM];
        self.role(label, self.cluster.client(), &words)
    }

    /// On the first node.
    pub fn agent(&self, label: &str) -> Role {
        self.agent_on(NODE, label, None)
    }

    /// On the second one; [`Self::cut_off`] concerns it.
    pub fn separable_agent(&self, label: &str) -> Role {
        self.agent_on(SECOND, label, Some(OTHER_SERVER))
    }

    fn agent_on(&self, node: &str, label: &str, server: Option<&str>) -> Role {
        let kubeconfig = self.node_kubeconfig(node, label, server);
        let pin = self.lab.bpffs(label).unwrap().join("gateway-agent").display().to_string();
        let socket = self.socket(label).display().to_string();
        let words = ["run", "--kubeconfig", &kubeconfig, "--node-name", node];
        let more = ["--namespace", SYSTEM, "--device", "eth0", "--flows", "1000"];
        let own = ["--pin", &pin, "--socket", &socket, "--daemon-set", &format!("{SYSTEM}/gateway-agent")];
        self.role(label, self.cluster.node(node).unwrap(), &[&words[..], &more, &own].concat())
    }

    /// As a pod on the first node has it.
    pub fn agent_kubeconfig(&self) -> String {
        self.node_kubeconfig(NODE, "kubectl", None)
    }

    fn node_kubeconfig(&self, node: &str, label: &str, server: Option<&str>) -> String {
        self.kubeconfig(
            "gateway-agent",
            label,
            &["--bound-object-kind=Node", "--bound-object-name", node],
            server,
        )
    }

    /// Lets packets between the separable agent and the API server vanish; calling the answer ends that.
    pub fn cut_off_agent(&self) -> impl FnOnce() + use<> {
        cut_off(self.cluster.node(SECOND).unwrap())
    }

    /// Lets packets between separable controllers and the API server vanish; calling the answer ends that.
    pub fn cut_off_controller(&self) -> impl FnOnce() + use<> {
        cut_off(self.cluster.client())
    }

    /// What an agent answers, once it does.
    pub fn status(&self, label: &str) -> Value {
        let socket = self.socket(label).display().to_string();
        let mut command = Command::new(binary());
        let output = command.args(["status", "--output=json", "--socket", &socket]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Kills the API server; calling the answer starts it again as it was.
    pub fn stop_api_server(&self) -> impl FnOnce() + '_ {
        self.cluster.stop_api_server().unwrap();
        || self.cluster.start_api_server().unwrap()
    }

    fn role(&self, label: &str, place: &Namespace, words: &[&str]) -> Role {
        let log = self.lab.dir().join(format!("{label}.log"));
        let mut command = Command::new(binary());
        command.args(words).args(["--log=json", "--log-level=info,gateway_agent=debug"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        Role { child: place.spawn(&mut command).unwrap(), log }
    }

    /// Of a service account of deploy/rbac, so that every right that is missing shows; towards another address of the
    /// API server than everybody's, if one is given.
    fn kubeconfig(&self, account: &str, label: &str, binding: &[&str], server: Option<&str>) -> String {
        let words = ["create", "token", account, "--namespace", SYSTEM, "--duration=1h"];
        let token = self.kubectl(&[&words[..], binding].concat());
        let text = fs::read_to_string(self.cluster.kubectl().kubeconfig()).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["users"][0]["user"] = json!({ "token": token.trim() });
        if let Some(server) = server {
            let cluster = &mut config["clusters"][0]["cluster"];
            cluster["server"] = format!("https://{server}:6443").into();
            // Its certificate isn't for this address.
            cluster["tls-server-name"] = "kubernetes.default.svc".into();
        }
        let file = self.lab.dir().join(format!("{label}.kubeconfig"));
        fs::write(&file, config.to_string()).unwrap();
        file.display().to_string()
    }

    fn on_control_plane(&self, words: &[&str]) {
        let (_, control) = self.cluster.machines().next().expect("the control plane comes first");
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &control.to_string(), "--"]).args(words);
        assert!(command.status().unwrap().success(), "{words:?}");
    }

    fn socket(&self, label: &str) -> PathBuf {
        self.lab.dir().join(format!("{label}.socket"))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let downed = Cluster::down(&self.name);
        if !std::thread::panicking() {
            downed.expect("the cluster goes down");
        }
    }
}

impl Role {
    /// The log's lines of an event whose message has this text.
    pub fn told(&self, event: &str, text: &str) -> usize {
        let log = fs::read_to_string(&self.log).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let fits = |line: &Value| {
            line["event"] == event && line["message"].as_str().is_some_and(|message| message.contains(text))
        };
        lines.filter(fits).count()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn until_told(&self, event: &str, text: &str) {
        let waited = wait_until(text, PATIENCE, || self.told(event, text) > 0);
        assert!(waited.is_ok(), "no {event} {text:?} in {}", fs::read_to_string(&self.log).unwrap());
    }

    /// Ends it as a pod is ended.
    pub fn terminate(mut self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cut_off(place: &Namespace) -> impl FnOnce() + use<> {
    let place = place.clone();
    let chain = |hook: &str, end: &str| {
        format!(
            "add chain ip cut {hook} {{ type filter hook {hook} priority 0; }}
             add rule ip cut {hook} ip {end} {OTHER_SERVER} drop\n"
        )
    };
    let rules = format!("add table ip cut\n{}{}", chain("input", "saddr"), chain("output", "daddr"));
    place.command(&["nft", &rules]).unwrap();
    move || drop(place.command(&["nft", "delete table ip cut"]).unwrap())
}

/// A folder of deploy/.
pub fn deploy(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(folder)
}

fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_gateway-agent")
}
