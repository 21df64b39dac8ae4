//! Connections to HTTP and TLS listeners, from a client to the proxy, while proxies and agents come and go. Needs root.
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]

mod page;

use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lab::agent::{Agent, Settings};
use lab::{Lab, Namespace, link, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node with an uplink to a client, and an agent on it.
struct Node {
    agent: Agent,
    namespace: Namespace,
    client: Namespace,
    lab: Lab,
}

const OBJECTS: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: gateway-agent}
spec: {controllerName: gateway-agent.io/controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: gateway-agent
  listeners:
  - {name: web, protocol: HTTP, port: 80}
  - {name: pass, protocol: TLS, port: 443, tls: {mode: Passthrough}}
";

const ADDRESSES: [&str; 2] = ["10.9.0.1", "fd09::1"];

impl Node {
    fn new(name: &str, extra: &[&str]) -> Self {
        let lab = Lab::new(name).unwrap();
        let [namespace, client] = ["node", "client"].map(|name| lab.namespace(name).unwrap());
        link(&namespace, "up0", &client, "node0").unwrap();
        for (of, device, host) in [(&namespace, "up0", 1), (&client, "node0", 2)] {
            of.address(device, &format!("10.9.0.{host}/24")).unwrap();
            of.address(device, &format!("fd09::{host}/64")).unwrap();
        }
        // More connections in a minute than a client has ports while each waits in TIME-WAIT.
        client.sysctl("net.ipv4.tcp_tw_reuse", "1").unwrap();
        client.sysctl("net.ipv4.ip_local_port_range", "1024 65535").unwrap();
        let files = lab.folder("files").unwrap();
        fs::write(files.join("objects.yaml"), OBJECTS).unwrap();
        let more = extra.iter().map(|word| word.replace("LAB", &lab.dir().display().to_string()));
        let settings = Settings {
            binary: env!("CARGO_BIN_EXE_gateway-agent").into(),
            config: vec![files],
            node_name: "node1".into(),
            node_addresses: ADDRESSES.map(|address| address.parse().unwrap()).into(),
            devices: vec!["up0".into()],
            pin: lab.bpffs("bpf").unwrap().join("gateway-agent"),
            socket: lab.dir().join("socket"),
            log: lab.dir().join("log"),
            extra: ["--flows", "1000"].map(str::to_owned).into_iter().chain(more).collect(),
        };
        let agent = Agent::start(&namespace, settings).unwrap();
        Self { agent, namespace, client, lab }
    }

    /// With a proxy that the agent has started.
    fn accepting(name: &str) -> Self {
        let node = Self::new(name, &[]);
        node.until_accepting();
        node
    }

    fn until_accepting(&self) {
        let waited = wait_until("a proxy", PATIENCE, || self.status()["proxy"] == "accepting");
        assert!(waited.is_ok(), "no proxy: {}", self.agent.log());
    }

    fn status(&self) -> Value {
        let socket = self.agent.settings.socket.display().to_string();
        let text = self.agent.command(&["status", "-o", "json", "--socket", &socket]).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Status and message of a condition Programmed of the Gateway's.
    fn programmed(&self, part: &str) -> (String, String) {
        let status = self.status();
        let gateway =
            status["statuses"].as_array().unwrap().iter().find(|it| it["kind"] == "Gateway").unwrap().clone();
        let conditions = gateway["status"].pointer(&format!("{part}/conditions")).unwrap().clone();
        let programmed =
            conditions.as_array().unwrap().iter().find(|it| it["type"] == "Programmed").unwrap().clone();
        let text = |field: &str| programmed[field].as_str().unwrap().to_owned();
        (text("status"), text("message"))
    }

    /// Process ids of the proxies in the node.
    fn proxies(&self) -> Vec<Pid> {
        let inode = |path: PathBuf| fs::read_link(path).ok();
        let here = self.namespace.run(|| fs::read_link("/proc/thread-self/ns/net")).unwrap();
        let of_process = |entry: fs::DirEntry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let is_proxy = line.split(|byte| *byte == 0).nth(1)? == b"proxy";
            (is_proxy && inode(entry.path().join("ns/net"))? == here).then(|| Pid::from_raw(pid))
        };
        fs::read_dir("/proc").unwrap().filter_map(|entry| of_process(entry.unwrap())).collect()
    }

    fn until_proxies(&self, number: usize) {
        let waited = wait_until("the number of proxies", PATIENCE, || self.proxies().len() == number);
        assert!(waited.is_ok(), "{:?}, not {number}: {}", self.proxies(), self.agent.log());
    }
}

fn target(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

/// What the other side says until it ends.
fn talk(to: SocketAddr, words: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(words)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";

/// A ClientHello as far as its frame tells.
const HELLO: &[u8] = &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0];

fn request(to: SocketAddr) -> io::Result<()> {
    let answer = talk(to, REQUEST)?;
    let is_right = answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("Not Found");
    if is_right { Ok(()) } else { Err(io::Error::other(format!("answered {answer:?}"))) }
}

/// Requests, each on a connection of its own, until it is finished.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<io::Error>>>,
}

/// Clients at a time.
const CLIENTS: usize = 8;

impl Load {
    fn start(node: &Node) -> Self {
        let (stop, answered) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let client = |index: usize| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let to = target(ADDRESSES[index % 2], 80);
            node.client.thread(move || client(to, &stop, &answered))
        };
        let threads = (0..CLIENTS).map(client).collect();
        Self { stop, answered, threads }
    }

    /// Until as many more were answered that each client has begun anew several times.
    fn goes_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        wait_until("more answers", PATIENCE, || {
            self.answered.load(Ordering::Relaxed) > before + 50 * CLIENTS
        })
        .unwrap();
    }

    /// How many were answered, and why others were not.
    fn finish(self) -> (usize, Vec<io::Error>) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (self.answered.load(Ordering::Relaxed), failed)
    }
}

fn client(to: SocketAddr, stop: &AtomicBool, answered: &AtomicUsize) -> Vec<io::Error> {
    let mut failed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match request(to) {
            Ok(()) => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => failed.push(error),
        }
    }
    failed
}

#[test]
fn listeners_accept_and_say_what_they_do_not_do() {
    let node = Node::accepting("accept");
    let holder = node.namespace.run(|| TcpListener::bind("10.9.0.1:8080").unwrap());
    let greeter = std::thread::spawn(move || holder.accept().unwrap().0.write_all(b"mine").unwrap());
    node.client.run(|| {
        for address in ADDRESSES {
            request(target(address, 80)).unwrap();
            assert_eq!(talk(target(address, 443), HELLO).unwrap(), "", "an end, and no alert");
            let nobody = talk(target(address, 81), b"").unwrap_err();
            assert_eq!(nobody.kind(), ErrorKind::ConnectionRefused);
        }
        assert_eq!(
            talk(target(ADDRESSES[0], 8080), b"").unwrap(),
            "mine",
            "the node's own ports stay its own"
        );
    });
    greeter.join().unwrap();
    for (part, wanted) in [
        ("", "listeners that accept connections"),
        ("/listeners/0", "carries traffic"),
        ("/listeners/1", "closed after the ClientHello"),
    ] {
        let (status, message) = node.programmed(part);
        assert_eq!(status, "True", "{part}: {message}");
        assert!(message.contains(wanted), "{part}: {message}");
    }
}

const ROUTE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80, targetPort: 9000}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: '', port: 9000, protocol: TCP}]
endpoints: [{addresses: [10.9.0.2], conditions: {ready: true}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: edge, sectionName: web}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /api}}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
    backendRefs: [{name: web, port: 80}]
";

/// The route's tables go from the agent to the proxy, and a request from the client to the endpoint.
#[test]
fn requests_reach_the_endpoints_of_their_routes() {
    let node = Node::accepting("routes");
    let endpoint = node.client.run(|| TcpListener::bind("10.9.0.2:9000").unwrap());
    std::thread::spawn(move || {
        for stream in endpoint.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", head.len()).unwrap();
            stream.write_all(&head).unwrap();
        }
    });
    let files = &node.agent.settings.config[0];
    fs::write(files.join("route.yaml"), ROUTE).unwrap();
    node.client.run(|| {
        let ask = |address| {
            let words = b"GET /api/items?page=1 HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
            talk(target(address, 80), words).unwrap()
        };
        for address in ADDRESSES {
            let mut answer = String::new();
            let served = wait_until("an endpoint's answer", PATIENCE, || {
                answer = ask(address);
                answer.starts_with("HTTP/1.1 200 ")
            });
            assert!(served.is_ok(), "{answer}; {}", node.agent.log());
            assert!(
                answer.contains("\r\n\r\nGET /items?page=1 HTTP/1.1\r\nHost: shop.example\r\n"),
                "{answer}"
            );
            let client = if address.contains(':') { "fd09::2" } else { "10.9.0.2" };
            assert!(answer.contains(&format!("X-Forwarded-For: {client}\r\n")), "{answer}");
            request(target(address, 80)).unwrap();
        }
    });
}

/// Settings of a class reach its Gateways' clients, and change while they are connected.
#[test]
fn settings_hold_for_those_who_connect() {
    const CONFIG: &str = "\
apiVersion: gateway-agent.io/v1alpha1
kind: GatewayConfig
metadata: {name: all, namespace: shop}
spec: {http: {limits: {headBytes: 1024}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: gateway-agent}
spec:
  controllerName: gateway-agent.io/controller
  parametersRef: {group: gateway-agent.io, kind: GatewayConfig, name: all, namespace: shop}
";
    let node = Node::accepting("settings");
    let files = &node.agent.settings.config[0];
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nb: {}\r\n\r\n", "c".repeat(2000));
    let ask = || node.client.run(|| talk(target(ADDRESSES[0], 80), large.as_bytes())).unwrap();
    assert!(ask().starts_with("HTTP/1.1 404 "), "{}", ask());
    // Of an object that is there twice, the first file's counts.
    fs::write(files.join("a-config.yaml"), CONFIG).unwrap();
    let holds = wait_until("the limit", PATIENCE, || ask().starts_with("HTTP/1.1 431 "));
    assert!(holds.is_ok(), "{}; {}", ask(), node.agent.log());
    let status = node.status();
    let shown = &status["http"]["shop/edge"];
    assert_eq!(shown["limits"]["headBytes"], 1024, "{status}");
    assert_eq!(shown["timeouts"]["idle"], "1m15s", "{status}");
    assert_eq!(status["devices"].as_array().unwrap().len(), 1);
    let excluded = CONFIG.replace("spec: {http:", "spec: {devices: {exclude: [\"up?\"]}, http:");
    fs::write(files.join("a-config.yaml"), excluded).unwrap();
    let detached =
        wait_until("no device", PATIENCE, || node.status()["devices"].as_array().unwrap().is_empty());
    assert!(detached.is_ok(), "{}", node.agent.log());
}

#[test]
fn what_the_proxy_counts_is_on_the_agents_page() {
    let node = Node::new("counted", &["--metrics", "127.0.0.1:9890"]);
    node.until_accepting();
    let to = target(ADDRESSES[0], 80);
    node.client.run(|| request(to)).unwrap();
    let asked = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let page = node.namespace.run(|| talk("127.0.0.1:9890".parse().unwrap(), asked)).unwrap();
    let (_, page) = page.split_once("\r\n\r\n").unwrap();
    page::documented(&page::families(page));
    for line in [
        "gateway_agent_proxy_up 1.0",
        "gateway_agent_http_requests_total{gateway=\"shop/edge\",listener=\"web\",route=\"\",rule=\"\",backend=\"\",\
         protocol=\"http1\",code=\"4xx\"} 1.0",
        "gateway_agent_http_request_duration_seconds_count{gateway=\"shop/edge\",listener=\"web\"} 1",
        "gateway_agent_http_replies_total{reason=\"no_route\"} 1.0",
    ] {
        assert!(page.lines().any(|it| it == line), "{line} is not in {page}");
    }
}

#[test]
fn the_proxy_can_do_nothing_but_serve() {
    let node = Node::accepting("confined");
    let [proxy] = node.proxies()[..] else { panic!("one proxy: {:?}", node.proxies()) };
    let status = fs::read_to_string(format!("/proc/{proxy}/status")).unwrap();
    let field = |name: &str| {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for capabilities in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
    }
    assert_eq!(field("Uid:"), "65532 65532 65532 65532");
    assert_eq!((field("NoNewPrivs:"), field("Groups:")), ("1".into(), String::new()));
}

#[test]
fn a_proxy_that_dies_is_followed_by_another() {
    const DEATHS: usize = 3;
    let node = Node::accepting("killed");
    let load = Load::start(&node);
    for _ in 0..DEATHS {
        load.goes_on();
        let [proxy] = node.proxies()[..] else { panic!("one proxy: {:?}", node.proxies()) };
        kill(proxy, Signal::SIGKILL).unwrap();
        wait_until("another proxy", PATIENCE, || {
            !matches!(node.proxies()[..], [] | [_, _, ..]) && node.proxies() != [proxy]
        })
        .unwrap();
        load.goes_on();
    }
    let (answered, failed) = load.finish();
    println!("{DEATHS} deaths: {answered} answered, {} failed", failed.len());
    // What a process had accepted dies with it; who came meanwhile waited.
    assert!(failed.len() <= DEATHS * CLIENTS, "{failed:?}");
    assert!(failed.iter().all(|error| error.kind() != ErrorKind::ConnectionRefused), "{failed:?}");
    node.until_accepting();
    assert_eq!(node.programmed("").0, "True");
}

#[test]
fn agents_come_and_go_and_nobody_is_refused() {
    let mut node = Node::accepting("replaced");
    let load = Load::start(&node);
    for turn in 0..6 {
        load.goes_on();
        if turn % 2 == 0 {
            node.agent.kill().unwrap();
        } else {
            assert!(node.agent.terminate().unwrap().success());
        }
        load.goes_on();
        node.agent.restart().unwrap();
        node.until_accepting();
    }
    load.goes_on();
    let (answered, failed) = load.finish();
    println!("6 agents, each with a proxy of its own: {answered} answered, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    // The former ones have finished what they had.
    node.until_proxies(1);
}

#[test]
fn agents_hand_over_and_nobody_is_refused() {
    let mut node = Node::new("handover", &["--hand-over", "LAB/active"]);
    node.until_accepting();
    let load = Load::start(&node);
    for turn in 0..3 {
        load.goes_on();
        let mut settings = node.agent.settings.clone();
        settings.socket = node.lab.dir().join(format!("socket-{turn}"));
        settings.log = node.lab.dir().join(format!("log-{turn}"));
        let successor = Agent::start(&node.namespace, settings).unwrap();
        let mut former = std::mem::replace(&mut node.agent, successor);
        let waited = wait_until("the successor being ready", PATIENCE, || node.status()["ready"] == true);
        assert!(waited.is_ok(), "{}", node.agent.log());
        assert_eq!(node.status()["proxy"], "accepting", "ready means: with a proxy of its own");
        load.goes_on();
        assert!(former.terminate().unwrap().success());
    }
    load.goes_on();
    let (answered, failed) = load.finish();
    println!("3 agents take over from a living one: {answered} answered, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    node.until_proxies(1);
}

/// A proxy that isn't the agent's child, as a second container is not.
fn proxy(node: &Node, socket: &str) -> Child {
    let log = fs::File::create(node.lab.dir().join("proxy.log")).unwrap();
    let mut command = Command::new(&node.agent.settings.binary);
    command.args(["proxy", "--socket", socket]).stdin(Stdio::null()).stderr(log);
    node.namespace.spawn(&mut command).unwrap()
}

#[test]
fn proxies_connect_and_replace_each_other() {
    let mut node = Node::new("container", &["--proxy-socket", "LAB/proxy.sock"]);
    let socket = node.lab.dir().join("proxy.sock").display().to_string();
    let (status, message) = node.programmed("/listeners/0");
    assert_eq!(status, "False", "{message}");
    // Whoever isn't root must get there, too: a proxy gives that up.
    let lab = node.lab.dir();
    fs::set_permissions(&lab, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut first = proxy(&node, &socket);
    node.until_accepting();
    assert_eq!(node.programmed("/listeners/0").0, "True");

    let load = Load::start(&node);
    load.goes_on();
    let mut second = proxy(&node, &socket);
    let mut ended = None;
    wait_until("the end of the first", PATIENCE, || {
        ended = first.try_wait().unwrap();
        ended.is_some()
    })
    .unwrap();
    assert!(ended.unwrap().success(), "it was told to end");
    load.goes_on();
    // Agents come and go; the proxy stays, with new sockets.
    node.agent.kill().unwrap();
    load.goes_on();
    node.agent.restart().unwrap();
    node.until_accepting();
    load.goes_on();
    let (answered, failed) = load.finish();
    println!("another proxy, another agent: {answered} answered, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    end(&mut second);
}

/// As a rolling upgrade has it: two pods, each with a proxy, and the second one's takes its time.
#[test]
fn a_retired_agents_proxy_serves_until_another_does() {
    let mut node = Node::new("pods", &["--hand-over", "LAB/active", "--proxy-socket", "LAB/proxy.sock"]);
    let lab = node.lab.dir();
    fs::set_permissions(&lab, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut first = proxy(&node, &lab.join("proxy.sock").display().to_string());
    node.until_accepting();
    let load = Load::start(&node);
    load.goes_on();

    let mut settings = node.agent.settings.clone();
    settings.socket = lab.join("socket-2");
    settings.log = lab.join("log-2");
    for word in &mut settings.extra {
        *word = word.replace("proxy.sock", "proxy-2.sock");
    }
    let successor = Agent::start(&node.namespace, settings).unwrap();
    let mut former = std::mem::replace(&mut node.agent, successor);
    // The first proxy is back at its agent, which has retired. Whoever it forgets is closed after a second.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        load.goes_on();
    }
    assert_eq!(node.status()["ready"], false, "ready means: with a proxy of its own");
    let mut second = proxy(&node, &lab.join("proxy-2.sock").display().to_string());
    wait_until("the successor being ready", PATIENCE, || node.status()["ready"] == true).unwrap();
    load.goes_on();
    assert!(former.terminate().unwrap().success());
    end(&mut first);
    load.goes_on();
    let (answered, failed) = load.finish();
    println!("another agent with another proxy: {answered} answered, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    end(&mut second);
}

fn end(proxy: &mut Child) {
    kill(Pid::from_raw(proxy.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(proxy.wait().unwrap().success());
}

#[test]
fn detach_leaves_no_proxy() {
    let mut node = Node::accepting("detach");
    node.client.run(|| request(target(ADDRESSES[0], 80)).unwrap());
    node.agent.terminate().unwrap();
    node.client.run(|| request(target(ADDRESSES[0], 80)).expect("it goes on without an agent"));
    let pin = node.agent.settings.pin.display().to_string();
    node.agent.command(&["detach", "--pin", &pin]).unwrap();
    let refused = node.client.run(|| request(target(ADDRESSES[0], 80)).unwrap_err());
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    node.until_proxies(0);
}
