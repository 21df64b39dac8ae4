//! `gateway-agent run` in a network namespace of its own: what it follows, what it reports, what it leaves behind.
//! Needs root. (Traffic is tests/e2e's subject.)
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use lab::agent::{Agent, Settings};
use lab::{Lab, Namespace, link, wait_until};
use serde_json::{Value, json};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// A node with an uplink to a peer, and an agent on it.
struct Node {
    agent: Agent,
    namespace: Namespace,
    peer: Namespace,
    files: PathBuf,
    _lab: Lab,
}

impl Node {
    fn new(name: &str, devices: &[&str]) -> Self {
        let lab = Lab::new(name).unwrap();
        let node = lab.namespace("node").unwrap();
        let peer = lab.namespace("peer").unwrap();
        link(&node, "up0", &peer, "node0").unwrap();
        node.address("up0", "10.9.0.1/24").unwrap();
        node.address("up0", "fd09::1/64").unwrap();
        node.sysctl("net.ipv4.ip_forward", "1").unwrap();
        node.sysctl("net.ipv6.conf.all.forwarding", "1").unwrap();
        let files = lab.folder("files").unwrap();
        fs::write(files.join("gateway.yaml"), gateway("{}")).unwrap();
        let settings = Settings {
            binary: env!("CARGO_BIN_EXE_gateway-agent").into(),
            config: vec![files.clone()],
            node_name: "node1".into(),
            node_addresses: vec!["10.9.0.1".parse().unwrap()],
            devices: devices.iter().map(|pattern| (*pattern).to_owned()).collect(),
            pin: lab.bpffs("bpf").unwrap().join("gateway-agent"),
            socket: lab.dir().join("socket"),
            log: lab.dir().join("log"),
            extra: ["--flows", "1000"].map(str::to_owned).to_vec(),
        };
        let agent = Agent::start(&node, settings).unwrap();
        Self { agent, namespace: node, peer, files, _lab: lab }
    }

    fn status(&self) -> Value {
        let socket = self.agent.settings.socket.display().to_string();
        let text = self.agent.command(&["status", "-o", "json", "--socket", &socket]).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// A command with the pins of this node.
    fn with_pins(&self, command: &str) -> Output {
        Command::new(&self.agent.settings.binary)
            .arg(command)
            .arg("--pin")
            .arg(&self.agent.settings.pin)
            .output()
            .unwrap()
    }

    fn devices(&self) -> Vec<Value> {
        self.status()["devices"].as_array().unwrap().clone()
    }

    fn device(&self, name: &str) -> Option<Value> {
        self.devices().into_iter().find(|device| device["name"] == name)
    }

    fn has_problem(&self, text: &str) -> bool {
        let status = self.status();
        let mut problems = status["problems"].as_array().unwrap().iter();
        problems.any(|problem| problem["message"].as_str().unwrap().contains(text))
    }

    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let waited = wait_until(what, PATIENCE, || condition(self));
        assert!(waited.is_ok(), "not in time: {what}; {:#}", self.status());
    }
}

/// With more for its spec.
fn gateway(spec: &str) -> String {
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "gateway-agent"},
        "spec": {"controllerName": "gateway-agent.io/controller"},
    });
    let mut gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "shop"},
        "spec": {
            "gatewayClassName": "gateway-agent",
            "listeners": [{"name": "orders", "protocol": "TCP", "port": 8080}],
        },
    });
    let more: Value = serde_json::from_str(spec).unwrap();
    gateway["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    format!("{class}\n---\n{gateway}\n")
}

#[test]
fn devices_are_followed() {
    let lab = Node::new("devices", &["*"]);
    let names =
        |lab: &Node| lab.devices().iter().map(|d| d["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&lab), ["up0"]);
    let up = lab.device("up0").unwrap();
    assert_eq!(
        (&up["sourceV4"], &up["sourceV6"], &up["hook"]),
        (&"10.9.0.1".into(), &"fd09::1".into(), &"attached".into())
    );
    assert_eq!(up["mac"], lab.namespace.mac("up0").unwrap().to_string());

    // A pod comes, is moved to a bridge, and goes.
    link(&lab.namespace, "pod1", &lab.peer, "eth1").unwrap();
    lab.until("attached to the pod", |lab| lab.device("pod1").is_some_and(|pod| pod["hook"] == "attached"));
    lab.namespace.bridge("br0").unwrap();
    lab.namespace.address("br0", "10.8.0.1/24").unwrap();
    lab.namespace.bridge_port("br0", "pod1").unwrap();
    let bridge = lab.namespace.ifindex("br0").unwrap();
    lab.until("the pod is routed at its bridge", |lab| {
        lab.device("pod1").is_some_and(|pod| pod["l3Ifindex"] == bridge && pod["sourceV4"] == "10.8.0.1")
    });
    assert_eq!(names(&lab), ["up0", "pod1"], "neither lo nor the bridge");
    lab.namespace.ip("link del pod1\n").unwrap();
    lab.until("detached from the pod", |lab| lab.device("pod1").is_none());

    // The node gets another address.
    lab.namespace.ip("address del 10.9.0.1/24 dev up0\naddress add 10.9.0.2/24 dev up0\n").unwrap();
    lab.until("another source address", |lab| lab.device("up0").unwrap()["sourceV4"] == "10.9.0.2");
}

#[test]
fn a_gateway_waits_for_its_address() {
    let lab = Node::new("addresses", &["up*"]);
    assert_eq!(lab.status()["frontends"], 1);
    let wanted = r#"{"addresses": [{"type": "IPAddress", "value": "10.9.0.7"}]}"#;
    fs::write(lab.files.join("gateway.yaml"), gateway(wanted)).unwrap();
    lab.until("an address that the node lacks", |lab| {
        lab.status()["frontends"] == 0 && lab.has_problem("10.9.0.7")
    });
    lab.namespace.address("up0", "10.9.0.7/24").unwrap();
    lab.until("the address", |lab| lab.status()["frontends"] == 1 && !lab.has_problem("10.9.0.7"));
}

/// A listener takes no port from who has it, and gets it when that one goes. (Sockets are looked at every 10 s.)
#[test]
fn the_node_keeps_the_ports_of_its_sockets() {
    let lab = Node::new("holders", &["up*"]);
    assert_eq!(lab.status()["frontends"], 1);
    let holder = lab.namespace.run(|| TcpListener::bind("0.0.0.0:8080")).unwrap();
    lab.until("the port's holder is named", |lab| {
        lab.status()["frontends"] == 0
            && lab.has_problem(
                "port 8080 of 10.9.0.1 belongs to a socket of user 0 of the node (0.0.0.0:8080/tcp)",
            )
    });
    drop(holder);
    lab.until("the port", |lab| lab.status()["frontends"] == 1 && !lab.has_problem("port 8080"));
}

#[test]
fn problems_are_logged_when_they_come_and_when_they_go() {
    let lab = Node::new("problems", &["up*"]);
    let generation = lab.status()["generation"].as_u64().unwrap();
    let log_has = |event: &str, text: &str| {
        let log = lab.agent.log();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|line| line["event"] == event && line["message"].as_str().unwrap().contains(text))
            .count()
    };

    fs::write(lab.files.join("bad.yaml"), "{").unwrap();
    lab.until("a bad file", |lab| lab.has_problem("bad.yaml:1: not YAML"));
    fs::write(lab.files.join("namespace.yaml"), "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
        .unwrap();
    lab.until("what else changes goes on", |lab| lab.status()["objects"]["Namespace"] == 1);
    assert!(lab.status()["generation"].as_u64().unwrap() > generation);
    fs::remove_file(lab.files.join("bad.yaml")).unwrap();
    lab.until("no bad file", |lab| !lab.has_problem("bad.yaml"));
    assert_eq!((log_has("problem", "bad.yaml:1"), log_has("resolved", "bad.yaml:1")), (1, 1));

    // No event tells of this one: it is seen when devices are looked at the next time, after 10 s at most.
    lab.namespace.sysctl("net.ipv4.conf.up0.forwarding", "0").unwrap();
    lab.namespace.address("up0", "10.9.0.8/24").unwrap();
    lab.until("forwarding is off", |lab| lab.has_problem("sysctl -w net.ipv4.ip_forward=1"));
}

#[test]
fn what_it_leaves_behind_goes_on_until_detach() {
    let mut lab = Node::new("life", &["up*"]);
    let error = String::from_utf8(lab.with_pins("detach").stderr).unwrap();
    assert!(error.contains("an agent feeds"), "{error}");
    assert!(lab.agent.terminate().unwrap().success());
    assert!(!lab.agent.settings.socket.exists());

    let stats = lab.with_pins("stats");
    assert!(String::from_utf8(stats.stdout).unwrap().contains("10.9.0.1:8080/tcp"));
    assert!(lab.with_pins("flows").status.success());

    // The next agent has another idea of the number of flows by default, and keeps the tables nevertheless.
    lab.agent.settings.extra.clear();
    lab.agent.restart().unwrap();
    lab.agent.kill().unwrap();
    lab.agent.restart().unwrap();
    assert_eq!(lab.devices().len(), 1);
    assert!(lab.agent.terminate().unwrap().success());

    assert!(lab.with_pins("detach").status.success());
    assert!(!lab.agent.settings.pin.exists());
    let again = lab.with_pins("detach");
    assert_eq!(again.status.code(), Some(1));
}
