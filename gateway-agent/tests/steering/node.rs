//! A node with an agent, and what its client says to it.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::agent::{Agent, Settings};
use lab::{Lab, Namespace, link, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// A node with an uplink to a client, and an agent on it.
pub(crate) struct Node {
    pub(crate) agent: Agent,
    pub(crate) namespace: Namespace,
    pub(crate) client: Namespace,
    pub(crate) lab: Lab,
}

pub(crate) const OBJECTS: &str = "\
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

/// Requests below `/api` go to the client, which also has an endpoint.
pub(crate) const ROUTE: &str = "\
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

pub(crate) const ADDRESSES: [&str; 2] = ["10.9.0.1", "fd09::1"];

impl Node {
    pub(crate) fn new(name: &str, extra: &[&str]) -> Self {
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
    pub(crate) fn accepting(name: &str) -> Self {
        let node = Self::new(name, &[]);
        node.until_accepting();
        node
    }

    pub(crate) fn until_accepting(&self) {
        let waited = wait_until("a proxy", PATIENCE, || self.status()["proxy"] == "accepting");
        assert!(waited.is_ok(), "no proxy: {}", self.agent.log());
    }

    /// Gives the class a GatewayConfig of this spec. Of an object that is there twice, the first file's counts.
    pub(crate) fn configure(&self, spec: &str) {
        let config = format!(
            "\
apiVersion: gateway-agent.io/v1alpha1
kind: GatewayConfig
metadata: {{name: all, namespace: shop}}
spec: {spec}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: gateway-agent}}
spec:
  controllerName: gateway-agent.io/controller
  parametersRef: {{group: gateway-agent.io, kind: GatewayConfig, name: all, namespace: shop}}
"
        );
        fs::write(self.agent.settings.config[0].join("a-config.yaml"), config).unwrap();
    }

    pub(crate) fn status(&self) -> Value {
        let socket = self.agent.settings.socket.display().to_string();
        let text = self.agent.command(&["status", "-o", "json", "--socket", &socket]).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Status and message of a condition Programmed of the Gateway's.
    pub(crate) fn programmed(&self, part: &str) -> (String, String) {
        let status = self.status();
        let gateway =
            status["statuses"].as_array().unwrap().iter().find(|it| it["kind"] == "Gateway").unwrap().clone();
        let conditions = gateway["status"].pointer(&format!("{part}/conditions")).unwrap().clone();
        let programmed =
            conditions.as_array().unwrap().iter().find(|it| it["type"] == "Programmed").unwrap().clone();
        let text = |field: &str| programmed[field].as_str().unwrap().to_owned();
        (text("status"), text("message"))
    }

    /// A proxy that isn't the agent's child, as a second container is not, at a socket of the lab's folder.
    pub(crate) fn proxy(&self, socket: &str, output: Stdio) -> Child {
        let lab = self.lab.dir();
        // Whoever isn't root must get there, too: a proxy gives that up.
        fs::set_permissions(&lab, PermissionsExt::from_mode(0o755)).unwrap();
        let log = fs::File::create(lab.join("proxy.log")).unwrap();
        let mut command = Command::new(&self.agent.settings.binary);
        command.args(["proxy", "--socket"]).arg(lab.join(socket));
        command.stdin(Stdio::null()).stdout(output).stderr(log);
        self.namespace.spawn(&mut command).unwrap()
    }

    /// The agent's page of metrics, which it has at port 9890.
    pub(crate) fn page(&self) -> String {
        let asked = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let page = self.namespace.run(|| talk("127.0.0.1:9890".parse().unwrap(), asked)).unwrap();
        page.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Process ids of the proxies in the node.
    pub(crate) fn proxies(&self) -> Vec<Pid> {
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

    pub(crate) fn until_proxies(&self, number: usize) {
        let waited = wait_until("the number of proxies", PATIENCE, || self.proxies().len() == number);
        assert!(waited.is_ok(), "{:?}, not {number}: {}", self.proxies(), self.agent.log());
    }
}

pub(crate) fn target(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

/// What the other side says until it ends.
pub(crate) fn talk(to: SocketAddr, words: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(words)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";

/// A ClientHello as far as its frame tells.
pub(crate) const HELLO: &[u8] = &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0];

pub(crate) fn request(to: SocketAddr) -> io::Result<()> {
    let answer = talk(to, REQUEST)?;
    let is_right = answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("Not Found");
    if is_right { Ok(()) } else { Err(io::Error::other(format!("answered {answer:?}"))) }
}

/// An endpoint in the client that answers each request with its head.
pub(crate) fn echo_heads(node: &Node) {
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
}

/// Ends a proxy in order.
pub(crate) fn end(proxy: &mut Child) {
    kill(Pid::from_raw(proxy.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(proxy.wait().unwrap().success());
}
