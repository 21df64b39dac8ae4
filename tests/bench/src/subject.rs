//! What is measured: ways from the client to the backend's servers.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cpu::Cpus;
use crate::lane::{self, BACKEND, CRR_PORT, Lane, STREAM_PORT, UDP_PORT};
use crate::load::{crr, stream, udp};
use crate::ours;
use crate::process::Process;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Routed, nothing translated.
    Direct,
    /// Our agent; the endpoint on its node.
    Ours,
    /// Our agent; the endpoint on another node.
    OursSnat,
    NftablesDnat,
    NftablesSnat,
    Haproxy,
    Nginx,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Ours => "ours-tc",
            Self::OursSnat => "ours-tc-snat",
            Self::NftablesDnat => "nftables-dnat",
            Self::NftablesSnat => "nftables-snat",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }
}

/// A lane with its gateway running and its servers waiting.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) lane: Lane,
    /// What the backend's stream servers have received.
    pub(crate) received: Arc<AtomicU64>,
    gateway: Option<Process>,
}

/// What a run has for its subjects.
#[derive(Debug)]
pub(crate) struct Means<'a> {
    pub(crate) cpus: &'a Cpus,
    /// Our binary.
    pub(crate) agent: &'a Path,
    /// An empty folder that vanishes with the process, for configurations and logs.
    pub(crate) folder: &'a Path,
    /// A bpffs that does, too.
    pub(crate) bpffs: &'a Path,
}

impl Subject {
    pub(crate) fn start(kind: Kind, means: &Means) -> Result<Self> {
        let start = || -> Result<Self> {
            let lane = Lane::new()?;
            let received = serve(&lane, means.cpus)?;
            let gateway = gateway(kind, &lane, means)?;
            let mut subject = Self { kind, lane, received, gateway };
            subject.wait_until_it_forwards()?;
            Ok(subject)
        };
        start().with_context(|| format!("starting {}", kind.name()))
    }

    pub(crate) fn target(&self, port: u16) -> SocketAddrV4 {
        lane::target(self.kind == Kind::Direct, port)
    }

    fn wait_until_it_forwards(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(20);
        let tcp = self.kind != Kind::Nginx;
        let udp = self.kind != Kind::Haproxy;
        loop {
            let answered = self.lane.client.inside(|| {
                Ok((!tcp || tcp_answers(self.target(CRR_PORT)))
                    && (!udp || udp_answers(self.target(UDP_PORT))))
            })?;
            if answered {
                return Ok(());
            }
            if let Some(process) = &mut self.gateway {
                process.check()?;
            }
            if Instant::now() > end {
                let log = self.gateway.as_ref().map(Process::log).unwrap_or_default();
                bail!("nothing answers behind it after 20 s\n{log}");
            }
        }
    }
}

/// Both wait up to 200 ms, which paces who asks again.
fn tcp_answers(target: SocketAddrV4) -> bool {
    let limit = Duration::from_millis(200);
    let begun = Instant::now();
    let mut answer = [0; 1];
    let answered = TcpStream::connect_timeout(&target.into(), limit).is_ok_and(|mut stream| {
        stream.set_read_timeout(Some(limit)).is_ok()
            && stream.write_all(b"?").is_ok()
            && stream.read_exact(&mut answer).is_ok()
    });
    if !answered {
        // A refusal comes at once.
        thread::sleep(limit.saturating_sub(begun.elapsed()));
    }
    answered
}

fn udp_answers(target: SocketAddrV4) -> bool {
    let exchange = || -> Result<usize> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.send(b"?")?;
        Ok(socket.recv(&mut [0; 1])?)
    };
    exchange().is_ok()
}

/// Starts the backend's servers, one of each kind per processor.
fn serve(lane: &Lane, cpus: &Cpus) -> Result<Arc<AtomicU64>> {
    let address = |port| SocketAddrV4::new(BACKEND, port);
    let received = Arc::new(AtomicU64::new(0));
    let bulk = lane.backend.inside(|| Ok(TcpListener::bind(SocketAddr::from(address(STREAM_PORT)))?))?;
    let (all, count) = (cpus.clone(), received.clone());
    thread::spawn(move || stream::serve(&bulk, &all, &count));
    for index in 0..cpus.count() {
        let (listener, socket) = lane
            .backend
            .inside(|| Ok((crr::listener(address(CRR_PORT))?, udp::socket_at(address(UDP_PORT))?)))?;
        let all = cpus.clone();
        thread::spawn(move || all.pin(index).and_then(|()| crr::serve(&listener)));
        let all = cpus.clone();
        thread::spawn(move || all.pin(index).and_then(|()| udp::serve(&socket)));
    }
    Ok(received)
}

/// Makes the lane's gateway forward.
fn gateway(kind: Kind, lane: &Lane, means: &Means) -> Result<Option<Process>> {
    let start = |command: &Command| {
        Process::start(kind.name(), &lane.gateway, means.folder, &means.cpus.list(), command).map(Some)
    };
    let file = |text: String| means.file(kind, "conf", &text);
    match kind {
        Kind::Direct => Ok(None),
        Kind::NftablesDnat | Kind::NftablesSnat => {
            let rules = file(nftables(kind == Kind::NftablesSnat))?;
            lane.gateway.command(&format!("nft -f {}", rules.display()))?;
            Ok(None)
        }
        Kind::Haproxy => {
            let file = file(haproxy(means.cpus))?;
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(file);
            start(&command)
        }
        Kind::Nginx => {
            let file = file(nginx(means))?;
            let mut command = Command::new("nginx");
            command.arg("-c").arg(file);
            start(&command)
        }
        Kind::Ours | Kind::OursSnat => {
            let objects = means.file(kind, "yaml", &ours::objects(kind == Kind::Ours))?;
            start(&ours::agent(kind, means, &objects))
        }
    }
}

impl Means<'_> {
    fn file(&self, kind: Kind, suffix: &str, text: &str) -> Result<PathBuf> {
        let folder = self.folder.join(kind.name());
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("gateway.{suffix}"));
        fs::write(&path, text)?;
        Ok(path)
    }
}

fn nftables(snat: bool) -> String {
    let mut rules =
        "table ip nat {\n  chain prerouting {\n    type nat hook prerouting priority dstnat;\n".to_owned();
    for (protocol, port) in [("tcp", CRR_PORT), ("tcp", STREAM_PORT), ("udp", UDP_PORT)] {
        let _ = writeln!(
            rules,
            "    ip daddr {} {protocol} dport {port} dnat to {BACKEND}:{port}",
            lane::GATEWAY
        );
    }
    rules += "  }\n";
    if snat {
        let device = lane::BACKEND_SIDE;
        rules += "  chain postrouting {\n    type nat hook postrouting priority srcnat;\n";
        let _ = write!(rules, "    oifname \"{device}\" masquerade\n  }}\n");
    }
    rules + "}\n"
}

/// A maxconn of 4000 keeps two descriptors per connection within a limit of 10,000.
fn haproxy(cpus: &Cpus) -> String {
    let (threads, first, last) = (cpus.count(), cpus.first(), cpus.last());
    let mut text = format!(
        "global\n  maxconn 4000\n  nbthread {threads}\n  cpu-map auto:1/1-{threads} {first}-{last}\n\
         defaults\n  mode tcp\n  maxconn 4000\n  option splice-auto\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
    );
    for port in [CRR_PORT, STREAM_PORT] {
        let _ = write!(
            text,
            "listen l{port}\n  bind {}:{port}\n  server backend {BACKEND}:{port}\n",
            lane::GATEWAY
        );
    }
    text
}

fn nginx(means: &Means) -> String {
    let (workers, folder) = (means.cpus.count(), means.folder.display());
    let affinity: Vec<String> =
        (means.cpus.first()..=means.cpus.last()).map(|cpu| format!("1{}", "0".repeat(cpu))).collect();
    format!(
        "load_module modules/ngx_stream_module.so;\ndaemon off;\nmaster_process on;\nuser root;\npid {folder}/nginx.pid;\n\
         error_log stderr warn;\nworker_processes {workers};\nworker_cpu_affinity {};\n\
         events {{ worker_connections 4000; }}\n\
         stream {{\n  server {{\n    listen {}:{UDP_PORT} udp reuseport;\n    proxy_pass {BACKEND}:{UDP_PORT};\n    proxy_timeout 10s;\n  }}\n}}\n",
        affinity.join(" "),
        lane::GATEWAY,
    )
}
