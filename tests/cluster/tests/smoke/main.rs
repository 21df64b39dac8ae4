//! A real cluster does what clusters do, and leaves nothing behind.

mod traces;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use cluster::{Cluster, Cni, Crds, KubeProxy, Lock, Name, PROBE_IMAGE, Programs, Spec, go};
use serde_json::json;
use traces::Traces;

/// What the server says to the client, whose address nothing on the way hides.
const ANSWERS: [&str; 2] = ["server to 10.244.1.", "server to [fd44:0:0:1:"];

/// kube-proxy follows a Service within a second or so; its slowest resynchronisation takes 30 (its default).
const SERVICE_SYNC: Duration = Duration::from_secs(30);

#[test]
fn pods_services_dns_exec_and_logs_then_nothing() {
    let stage = Stage::set("smoke", |spec| Spec { dual_stack: true, ..spec });
    let cluster = &stage.cluster;
    start_pods(cluster);
    a_service_is_reached_by_name_and_by_both_families(cluster);
    the_client_outside_reaches_a_pod(cluster);
    the_server_logged_it(cluster);
    nodes_have_host_paths_of_their_own(cluster);
    another_up_takes_the_cluster_as_it_is(cluster, &stage.programs);
    nothing_is_left_behind(stage);
}

#[test]
fn an_overlay_without_a_channel_of_the_gateway_api() {
    let (kube_proxy, cni, crds) = (KubeProxy::Iptables, Cni::Vxlan, Crds::None);
    let stage = Stage::set("smoke-overlay", |spec| Spec { dual_stack: true, kube_proxy, cni, crds, ..spec });
    let cluster = &stage.cluster;
    start_pods(cluster);
    a_service_is_reached_by_name_and_by_both_families(cluster);
    let kinds = cluster.kubectl().run(&["api-resources", "--output=name"]).expect("kinds");
    assert!(kinds.contains("services") && !kinds.contains("gateway"), "{kinds}");
    nothing_is_left_behind(stage);
}

/// A cluster of a test's own.
struct Stage {
    cluster: Cluster,
    programs: Programs,
    /// Another checkout's tests may run on this machine.
    _lock: Lock,
}

impl Stage {
    fn set(name: &str, shape: impl FnOnce(Spec) -> Spec) -> Self {
        let name: Name = name.parse().expect("a name");
        let lock = Lock::take(&name, "test").expect("a lock");
        Cluster::down(&name).expect("a run that was killed is removed");
        let go = go::find().expect("Go, which `cargo xtask cluster up` installs");
        let programs = Programs::prepare(&go).expect("the programs are built");
        let cluster = Cluster::up(&shape(Spec::new(name)), &programs).expect("a cluster");
        Self { cluster, programs, _lock: lock }
    }
}

/// Taking a cluster down needs its name alone: the start may have been interrupted at any point.
fn nothing_is_left_behind(stage: Stage) {
    let name = stage.cluster.spec().name.clone();
    let traces = Traces::of(&stage.cluster, &name);
    fs::remove_file(format!("/var/lib/gateway-cluster/{name}/plan.json")).expect("its plan");
    assert!(Cluster::find(&name).is_none(), "without it, nobody knows what was asked for");
    assert!(!traces.left().is_empty(), "what is there is seen");
    // What this process has open would keep namespaces alive.
    drop(stage.cluster);
    assert!(Cluster::down(&name).expect("it goes down"), "there was a cluster");
    assert_eq!(traces.left(), Vec::<String>::new());
    assert!(!Cluster::down(&name).expect("there is nothing to do"), "there is none any more");
}

/// A server on one node behind a Service of both families, a client on the other.
fn start_pods(cluster: &Cluster) {
    let pod = |name: &str, node: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "labels": { "app": name } },
            "spec": {
                "nodeSelector": { "kubernetes.io/hostname": node },
                "containers": [{
                    "name": "probe", "image": PROBE_IMAGE, "args": ["serve"],
                    "readinessProbe": { "httpGet": { "port": 8080 }, "periodSeconds": 1 },
                }],
            },
        })
    };
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "server" },
        "spec": {
            "ipFamilyPolicy": "RequireDualStack",
            "selector": { "app": "server" },
            "ports": [{ "port": 80, "targetPort": 8080 }],
        },
    });
    let list = json!({
        "apiVersion": "v1", "kind": "List", "items": [service, pod("server", "node2"), pod("client", "node1")],
    });
    let kubectl = cluster.kubectl();
    kubectl.apply(&list.to_string()).expect("objects are accepted");
    kubectl
        .run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=300s"])
        .expect("pods get ready");
}

fn a_service_is_reached_by_name_and_by_both_families(cluster: &Cluster) {
    let kubectl = cluster.kubectl();
    let get = |url: &str| {
        let mut answer = Err(String::new());
        // Ready pods are no promise that kube-proxy on the client's node knows of them yet.
        let _ = lab::wait_until("an answer", SERVICE_SYNC, || {
            let got = kubectl.run(&["exec", "client", "--", "/probe", "get", url]);
            answer = got.map_err(|error| error.to_string());
            answer.is_ok()
        });
        answer.unwrap_or_else(|error| panic!("{url}: {error}"))
    };
    for name in ["server", "server.default.svc.cluster.local"] {
        let answer = get(&format!("http://{name}/"));
        assert!(ANSWERS.iter().any(|expected| answer.starts_with(expected)), "{name} answers {answer}");
    }
    let addresses = list(cluster, "service", "{.spec.clusterIPs[*]}");
    let [v4, v6] = addresses.as_slice() else { panic!("two addresses, not {addresses:?}") };
    for (url, expected) in [format!("http://{v4}/"), format!("http://[{v6}]/")].iter().zip(ANSWERS) {
        let answer = get(url);
        assert!(answer.starts_with(expected), "{url} answers {answer}");
    }
}

fn the_client_outside_reaches_a_pod(cluster: &Cluster) {
    for address in list(cluster, "pod", "{.status.podIPs[*].ip}") {
        let address =
            if address.contains(':') { format!("[{address}]:8080") } else { format!("{address}:8080") };
        let answer = cluster.client().run(|| -> std::io::Result<String> {
            let mut connection = TcpStream::connect(&address)?;
            connection.write_all(b"GET /outside HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).map(|_| answer)
        });
        let answer = answer.unwrap_or_else(|error| panic!("{address}: {error}"));
        assert!(answer.contains("server to "), "{address} answers {answer}");
    }
}

fn the_server_logged_it(cluster: &Cluster) {
    let log = cluster.kubectl().run(&["logs", "server"]).expect("a log");
    assert!(log.lines().any(|line| line.starts_with("GET /outside from [fd89::2]:")), "{log}");
}

fn nodes_have_host_paths_of_their_own(cluster: &Cluster) {
    let node1 = |words: &[&str]| cluster.run_on_node("node1", words).expect("node1 runs it");
    let node2 = |words: &[&str]| cluster.run_on_node("node2", words).expect("node2 runs it");
    for folder in ["/run", "/sys/fs/bpf", "/var/lib/kubelet", "/var/log", "/sys/fs/cgroup/memory"] {
        if !Path::new(folder).exists() {
            continue;
        }
        let path = format!("{folder}/smoke-test");
        node1(&["mkdir", &path]);
        assert!(!node2(&["ls", folder]).contains("smoke-test"), "{folder} is node1's alone");
        assert!(!Path::new(&path).exists(), "{folder} is not this machine's");
    }
    assert_eq!(node1(&["hostname"]).trim(), "node1");
    assert!(node1(&["ls", "/sys/class/net"]).contains("eth0"));
    let processes = node1(&["sh", "-c", "cat /proc/1/cmdline"]);
    assert!(processes.contains("pause"), "its first process is its own, not {processes}");
}

fn another_up_takes_the_cluster_as_it_is(cluster: &Cluster, programs: &Programs) {
    let again = Cluster::up(cluster.spec(), programs).expect("it is up already");
    let machines: Vec<_> = cluster.machines().collect();
    assert_eq!(again.machines().collect::<Vec<_>>(), machines);
    let other = Spec { dual_stack: false, ..cluster.spec().clone() };
    assert!(Cluster::up(&other, programs).is_err(), "another cluster needs another name");
}

/// The words of a jsonpath of the object `server`.
fn list(cluster: &Cluster, kind: &str, path: &str) -> Vec<String> {
    let output = format!("--output=jsonpath={path}");
    let text = cluster.kubectl().run(&["get", kind, "server", &output]).expect("the object");
    text.split_whitespace().map(str::to_owned).collect()
}
