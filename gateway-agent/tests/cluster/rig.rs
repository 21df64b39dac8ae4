//! A cluster of one node, and gateway-agent's roles as processes beside it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cluster::{Cluster, Crds, Lock, Name, Programs, Spec, go};
use lab::{Lab, Namespace, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Far longer than anything here takes on an idle machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Where gateway-agent runs.
pub const SYSTEM: &str = "gateway-agent-system";

/// The node, and the address that Kubernetes knows of it.
pub const NODE: &str = "node1";
pub const NODE_ADDRESS: &str = "10.89.0.11";

/// The cluster is taken down with it.
pub struct Rig {
    name: Name,
    cluster: Cluster,
    lab: Lab,
    gateway_api: PathBuf,
    _lock: Lock,
}

/// A process of gateway-agent, killed with it.
pub struct Role {
    child: Child,
    log: PathBuf,
}

impl Rig {
    /// Without any CRD.
    pub fn new(name: &str) -> Self {
        let name: Name = name.parse().unwrap();
        let lock = Lock::take(&name, "test").unwrap();
        Cluster::down(&name).expect("a run that was killed is removed");
        let go = go::find().expect("Go, which `cargo xtask cluster up` installs");
        let programs = Programs::prepare(&go).expect("the programs are built");
        let spec = Spec { crds: Crds::None, nodes: "1".parse().unwrap(), ..Spec::new(name.clone()) };
        let cluster = Cluster::up(&spec, &programs).expect("a cluster");
        let rig = Self {
            cluster,
            lab: Lab::new("roles").unwrap(),
            gateway_api: go::download(&go, "sigs.k8s.io/gateway-api@v1.6.3").unwrap(),
            name,
            _lock: lock,
        };
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
        self.kubectl(&["apply", "--server-side", "--filename", &file.display().to_string()]);
    }

    /// The experimental channel's, and ours.
    pub fn install_crds(&self) {
        self.apply_file(&deploy("crds"));
        let folder = self.gateway_api.join("config/crd/experimental");
        self.kubectl(&["apply", "--server-side", "--kustomize", &folder.display().to_string()]);
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
        let kubeconfig = self.kubeconfig("gateway-agent-controller", &[]);
        let words = ["controller", "--kubeconfig", &kubeconfig, "--namespace", SYSTEM];
        self.role(label, self.cluster.client(), &words)
    }

    /// On the node.
    pub fn agent(&self, label: &str) -> Role {
        let kubeconfig = self.agent_kubeconfig();
        let pin = self.lab.bpffs(label).unwrap().join("gateway-agent").display().to_string();
        let socket = self.socket(label).display().to_string();
        let words = ["run", "--kubeconfig", &kubeconfig, "--node-name", NODE];
        let more = [
            "--namespace",
            SYSTEM,
            "--device",
            "eth0",
            "--flows",
            "1000",
            "--pin",
            &pin,
            "--socket",
            &socket,
        ];
        self.role(label, self.cluster.node(NODE).unwrap(), &[&words[..], &more].concat())
    }

    /// As a pod on the node has it.
    pub fn agent_kubeconfig(&self) -> String {
        self.kubeconfig("gateway-agent", &["--bound-object-kind=Node", "--bound-object-name", NODE])
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
        let (_, control) = self.cluster.machines().next().expect("the control plane comes first");
        let server = Path::new("/proc").read_dir().unwrap().flatten().find_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let is_server = line.split(|byte| *byte == 0).next()?.ends_with(b"/kube-apiserver");
            let space = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
            (is_server && space(pid)? == space(control)?).then_some((pid, line))
        });
        let (pid, line) = server.expect("an API server in the control plane's process namespace");
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        wait_until("the API server to be gone", PATIENCE, || {
            !Path::new(&format!("/proc/{pid}/exe")).exists()
        })
        .unwrap();
        let words: Vec<String> =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        move || {
            let log = File::create(self.lab.dir().join("kube-apiserver.log")).unwrap();
            let mut command = Command::new("nsenter");
            command.args(["--all", "--target", &control.to_string(), "--", "setsid", "--fork"]);
            command.args(words.iter().filter(|word| !word.is_empty()));
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            assert!(command.status().unwrap().success());
            let ready = || self.cluster.kubectl().run(&["get", "--raw", "/readyz"]).is_ok();
            wait_until("the API server to be back", PATIENCE, ready).unwrap();
        }
    }

    fn role(&self, label: &str, place: &Namespace, words: &[&str]) -> Role {
        let log = self.lab.dir().join(format!("{label}.log"));
        let mut command = Command::new(binary());
        command.args(words).args(["--log=json", "--log-level=info,gateway_agent=debug"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        Role { child: place.spawn(&mut command).unwrap(), log }
    }

    /// Of a service account of deploy/rbac, so that every right that is missing shows.
    fn kubeconfig(&self, account: &str, binding: &[&str]) -> String {
        let words = ["create", "token", account, "--namespace", SYSTEM, "--duration=1h"];
        let token = self.kubectl(&[&words[..], binding].concat());
        let text = fs::read_to_string(self.cluster.kubectl().kubeconfig()).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["users"][0]["user"] = json!({ "token": token.trim() });
        let file = self.lab.dir().join(format!("{account}.kubeconfig"));
        fs::write(&file, config.to_string()).unwrap();
        file.display().to_string()
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

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
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

/// A folder of deploy/.
fn deploy(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(folder)
}

fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_gateway-agent")
}
