//! What is measured: ways from the client to the servers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::usage::{Usage, family};
use super::{origin, ours, peers};
use crate::cpu::Cpus;
use crate::lane::{self, BACKEND, Lane};
use crate::process::Process;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Routed, no proxy.
    Direct,
    /// `gateway-agent proxy`, fed by the agent.
    Ours,
    Haproxy,
    Nginx,
    Envoy,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Ours => "ours",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }
}

/// How many rules a subject has, each a host name and a path prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routes {
    /// 100
    Few,
    /// 10,000
    Many,
}

impl Routes {
    /// Host names, and prefixes of each.
    pub(crate) fn each(self) -> usize {
        match self {
            Self::Few => 10,
            Self::Many => 100,
        }
    }
}

pub(crate) fn host(index: usize) -> String {
    format!("host-{index}.example.com")
}

pub(crate) fn prefix(index: usize) -> String {
    format!("/api/v1/service-{index}/")
}

/// What a proxy's client connects to.
pub(crate) const HTTP1: u16 = 8000;
pub(crate) const HTTP2: u16 = 8001;
pub(crate) const GRPC: u16 = 8002;
/// HTTP/1.1, and each request needs a service's permission.
pub(crate) const GUARDED: u16 = 8003;

/// Ports of the endpoints, which clients of `direct` connect to.
pub(crate) const ENDPOINTS_HTTP1: [u16; 2] = [9000, 9001];
pub(crate) const ENDPOINTS_HTTP2: [u16; 2] = [9002, 9003];
/// The service that permits, by Envoy's protocol.
pub(crate) const AUTHORIZER: u16 = 9004;

/// A lane with its proxy running and its servers waiting.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) routes: Routes,
    pub(crate) lane: Lane,
    /// The proxy first, then what it needs.
    processes: Vec<Process>,
}

/// What a run has for its subjects.
#[derive(Debug)]
pub(crate) struct Means<'a> {
    pub(crate) cpus: &'a Cpus,
    /// Our binary.
    pub(crate) agent: &'a Path,
    pub(crate) envoy: &'a Path,
    /// An empty folder that vanishes with the process, for configurations and logs.
    pub(crate) folder: &'a Path,
    /// A bpffs that does, too.
    pub(crate) bpffs: &'a Path,
}

impl Means<'_> {
    /// Of a subject alone, and empty.
    pub(crate) fn folder(&self, kind: Kind) -> Result<PathBuf> {
        let folder = self.folder.join(kind.name());
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

impl Subject {
    pub(crate) fn start(kind: Kind, routes: Routes, means: &Means<'_>) -> Result<Self> {
        let start = || -> Result<Self> {
            let lane = Lane::new()?;
            origin::serve(&lane, means.cpus)?;
            let folder = means.folder(kind)?;
            let processes = match kind {
                Kind::Direct => Vec::new(),
                Kind::Ours => ours::start(&lane, routes, &folder, means)?,
                _ => vec![peers::start(kind, &lane, routes, &folder, means)?],
            };
            let mut subject = Self { kind, routes, lane, processes };
            subject.wait_until_it_forwards()?;
            Ok(subject)
        };
        start().with_context(|| format!("starting {}", kind.name()))
    }

    /// Where clients connect to that speak the protocol of this port.
    pub(crate) fn target(&self, port: u16) -> SocketAddrV4 {
        match (self.kind, port) {
            (Kind::Direct, HTTP1 | GUARDED) => SocketAddrV4::new(BACKEND, ENDPOINTS_HTTP1[0]),
            (Kind::Direct, _) => SocketAddrV4::new(BACKEND, ENDPOINTS_HTTP2[0]),
            _ => SocketAddrV4::new(lane::GATEWAY, port),
        }
    }

    /// What the proxy has used so far; None: there is none.
    pub(crate) fn usage(&self) -> Result<Option<Usage>> {
        self.processes.first().map(|proxy| Usage::of(proxy.id())).transpose()
    }

    /// Everything that takes part when it is loaded: this process, which has the clients and the servers, and the proxy.
    pub(crate) fn participants(&self) -> Result<Vec<u32>> {
        let mut all = vec![std::process::id()];
        if let Some(proxy) = self.processes.first() {
            all.extend(family(proxy.id())?);
        }
        Ok(all)
    }

    fn wait_until_it_forwards(&mut self) -> Result<()> {
        // 10,000 routes are admitted and compiled.
        let end = Instant::now() + Duration::from_mins(1);
        let last = self.routes.each() - 1;
        let request = request(&host(last), &prefix(last));
        while !self.lane.client.inside(|| Ok(answers(self.target(HTTP1), &request)))? {
            for process in &mut self.processes {
                process.check()?;
            }
            if Instant::now() > end {
                let logs: Vec<_> = self.processes.iter().map(Process::log).collect();
                bail!("nothing answers behind it after a minute\n{}", logs.join("\n"));
            }
        }
        Ok(())
    }
}

/// A request as our own generators send it.
pub(crate) fn request(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n")
}

/// Waits up to 200 ms, which paces who asks again.
fn answers(target: SocketAddrV4, request: &str) -> bool {
    let limit = Duration::from_millis(200);
    let begun = Instant::now();
    let mut answer = [0; 12];
    let answered = TcpStream::connect_timeout(&target.into(), limit).is_ok_and(|mut stream| {
        stream.set_read_timeout(Some(limit)).is_ok()
            && stream.write_all(request.as_bytes()).is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && answer == *b"HTTP/1.1 200"
    });
    if !answered {
        // A refusal comes at once.
        thread::sleep(limit.saturating_sub(begun.elapsed()));
    }
    answered
}
