//! A cluster with gateway-agent and traffic in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cluster::{Cluster, Kubectl, Lock, Name, Programs, Spec, go};
use install::{Chart, apply, image, install};
use lab::traffic::{self, Tally, Volley};
use lab::{Namespace, Stopwatch, wait_until};
use tempfile::TempDir;

use crate::NEXT;

/// Objects of a stage have this namespace.
pub(crate) const NAMESPACE: &str = "soak";

pub(crate) const TRAFFIC: &str = include_str!("traffic.yaml");

/// Of the Gateways; those of TCP and UDP are the servers' too.
pub(crate) const PORT: u16 = 9000;
pub(crate) const HTTP_PORT: u16 = 8000;

/// The first that nobody has on the clusters' link; a pool of one, so each family's address is known.
const POOL_HOST: u8 = 100;

/// Pods start in seconds, and routes follow at once; a busy machine takes its time.
const PATIENCE: Duration = Duration::from_mins(2);

/// Taken down when it is dropped.
#[derive(Debug)]
pub struct Stage {
    pub(crate) cluster: Cluster,
    chart: Chart,
    settings: Vec<String>,
    folder: TempDir,
    /// Nodes that haven't died.
    living: Vec<String>,
    name: Name,
    /// Stories are about IPv6.
    by_v6: bool,
    /// Clients of stories keep their pace, and time is the clock's, or the story fails.
    keeps_pace: bool,
    /// Whether it outlives this value.
    stays: bool,
    /// Another checkout may run the same stories.
    _lock: Lock,
}

/// How a client reaches the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Tcp,
    Udp,
    Http,
}

impl Stage {
    /// gateway-agent as the chart installs it, a server on each node, and all of them served at the pool's address.
    pub fn set(spec: &Spec) -> Result<Self> {
        let stage = Self::bare(spec)?;
        stage.furnish()?;
        Ok(stage)
    }

    /// A cluster, with nothing in it.
    pub(crate) fn bare(spec: &Spec) -> Result<Self> {
        let name = spec.name.clone();
        let lock = Lock::take(&name, "test")?;
        // What a killed run left has objects in it.
        Cluster::down(&name)?;
        let go = go::find().context("no Go: `cargo xtask cluster up` installs it")?;
        let programs = Programs::prepare(&go)?;
        let cluster = Cluster::up(spec, &programs)?;
        Ok(Self {
            chart: Chart::open()?,
            settings: settings(spec),
            folder: tempfile::tempdir()?,
            living: cluster.spec().nodes().map(|node| node.name).collect(),
            cluster,
            name,
            by_v6: false,
            keeps_pace: false,
            stays: false,
            _lock: lock,
        })
    }

    /// Stories are about IPv6 from now on, if the cluster has it.
    pub(crate) fn prefer_v6(&mut self) {
        self.by_v6 = true;
    }

    /// Where there is time for nothing else: elsewhere, as many clients come as the machine has time for.
    pub(crate) fn keep_pace(&mut self) {
        self.keeps_pace = true;
    }

    pub(crate) fn keeps_pace(&self) -> bool {
        self.keeps_pace
    }

    /// The cluster stays as it is, under this name.
    pub(crate) fn leave(mut self) -> Name {
        self.stays = true;
        self.name.clone()
    }

    /// Puts gateway-agent and the traffic there, and waits until all is well.
    pub(crate) fn furnish(&self) -> Result<()> {
        let folder = self.folder.path();
        self.load(&image::of_program(&lab::agent::built_beside("soak"), "soak:1", folder)?)?;
        let agent = image::of_agent(folder)?;
        install(&self.cluster, &self.chart, &agent, &self.settings)?;
        for (setting, value) in [
            // A thousand connections in a second use up a client's ports, unless it uses them again.
            ("net.ipv4.ip_local_port_range", "10000 65000"),
            ("net.ipv4.tcp_tw_reuse", "1"),
        ] {
            self.client().sysctl(setting, value)?;
        }
        self.kubectl().apply(TRAFFIC)?;
        self.put_on_each_node(1)?;
        self.in_namespace(&["wait", "--for=condition=Programmed", "gateway", "--all", "--timeout=300s"])?;
        self.until_well()
    }

    /// Runs so many servers on each node, if fewer were there before.
    pub(crate) fn put_on_each_node(&self, servers: usize) -> Result<()> {
        let replicas = format!("--replicas={}", servers * self.living.len());
        self.in_namespace(&["scale", "deployment/server", &replicas])?;
        self.in_namespace(&["rollout", "status", "deployment/server", "--timeout=300s"])?;
        Ok(())
    }

    /// Replaces all servers, since they don't move by themselves, and of too many, any end. Nobody is connected to the former
    /// ones afterwards.
    pub(crate) fn spread_servers(&self) -> Result<()> {
        self.put_on_each_node(1)?;
        self.in_namespace(&["rollout", "restart", "deployment/server"])?;
        self.in_namespace(&["rollout", "status", "deployment/server", "--timeout=300s"])?;
        let pods = || self.in_namespace(&["get", "pods", "--selector=app=server", "--output=name"]);
        let are_alone = || pods().is_ok_and(|pods| pods.lines().count() == self.living.len());
        Ok(wait_until("the former servers' end", PATIENCE, are_alone)?)
    }

    /// An image of the next release.
    pub(crate) fn next(&self) -> Result<PathBuf> {
        let program = lab::agent::built_beside("gateway-agent-next");
        Ok(image::of_program(&program, &format!("gateway-agent:{NEXT}"), self.folder.path())?)
    }

    /// Replaces gateway-agent by its next release, as `kubectl apply` does it. All pods are ready afterwards.
    pub(crate) fn upgrade(&mut self, next: &Path) -> Result<()> {
        self.settings.push(format!("image.tag={NEXT}"));
        Ok(install(&self.cluster, &self.chart, next, &self.settings)?)
    }

    /// Changes settings of the chart, as `kubectl apply` does it. All pods are ready afterwards.
    pub(crate) fn set_up_anew(&mut self, setting: &str) -> Result<()> {
        self.settings.push(setting.to_owned());
        Ok(apply(&self.cluster, &self.chart, &self.settings)?)
    }

    pub(crate) fn client(&self) -> &Namespace {
        self.cluster.client()
    }

    pub(crate) fn kubectl(&self) -> Kubectl {
        self.cluster.kubectl()
    }

    pub(crate) fn in_namespace(&self, words: &[&str]) -> Result<String> {
        Ok(self.kubectl().run(&[&["--namespace", NAMESPACE], words].concat())?)
    }

    /// Where gateway-agent is.
    pub(crate) fn of_agents(&self, words: &[&str]) -> Result<String> {
        Ok(self.kubectl().run(&[&["--namespace", install::NAMESPACE], words].concat())?)
    }

    pub(crate) fn living(&self) -> &[String] {
        &self.living
    }

    /// A node has died.
    pub(crate) fn bury(&mut self, node: &str) {
        self.living.retain(|name| name != node);
    }

    /// Starts a node that had died.
    pub(crate) fn raise(&mut self, node: &str) -> Result<()> {
        self.cluster.start_node(node)?;
        self.living.push(node.to_owned());
        self.living.sort_unstable();
        Ok(())
    }

    /// Of the Gateway with an address of a pool: that of the family that stories are about.
    pub(crate) fn pool(&self) -> IpAddr {
        let address = self.cluster.spec().on_link(POOL_HOST);
        address.v6.filter(|_| self.by_v6).map_or(address.v4.into(), IpAddr::from)
    }

    /// All of its addresses.
    pub(crate) fn pools(&self) -> Vec<IpAddr> {
        self.cluster.spec().on_link(POOL_HOST).all().collect()
    }

    /// Answers at an address, each from whoever the gateway chooses.
    pub(crate) fn ask(&self, by: By, address: IpAddr, volley: Volley) -> Tally {
        match by {
            By::Tcp => traffic::tcp(self.client(), SocketAddr::new(address, PORT), volley),
            By::Udp => traffic::udp(self.client(), SocketAddr::new(address, PORT), volley),
            By::Http => traffic::http(self.client(), SocketAddr::new(address, HTTP_PORT), volley),
        }
    }

    /// Waits until every newcomer is answered, and by these nodes' servers; at the pool's address, they see the client's
    /// own address. Nodes whose tables are about to change hide it: one that gets a packet which it would have sent
    /// elsewhere does so under its own address.
    pub(crate) fn until_served(&self, by: By, address: IpAddr, nodes: &[String]) -> Result<()> {
        let volley =
            Volley { count: 20 * nodes.len(), patience: Duration::from_millis(500), ..Volley::of(0) };
        let own: Vec<IpAddr> = self.cluster.spec().client().all().collect();
        let hides_client = by == By::Http || !self.pools().contains(&address);
        let mut last = Tally::default();
        let waited = wait_until(&format!("answers by {by} at {address}"), PATIENCE, || {
            last = self.ask(by, address, volley);
            let sees_client = last.clients.values().flatten().all(|seen| own.contains(seen));
            last.failed() == 0 && last.answers.keys().eq(nodes) && (hides_client || sees_client)
        });
        waited.with_context(|| format!("of {nodes:?}: {last:?}"))
    }

    /// Whether a node's server sees the client's own address at one of a Gateway's.
    pub(crate) fn sees_client(&self, by: By, address: IpAddr, node: &str) -> bool {
        let own: BTreeSet<IpAddr> = self.cluster.spec().client().all().collect();
        let tally = self.ask(by, address, Volley::of(20 * self.living.len()));
        tally.clients.get(node).is_some_and(|seen| seen.is_subset(&own))
    }

    /// Of a Gateway.
    pub(crate) fn addresses(&self, gateway: &str) -> Result<BTreeSet<IpAddr>> {
        let path = "--output=jsonpath={.status.addresses[*].value}";
        let shown = self.in_namespace(&["get", "gateway", gateway, path])?;
        shown.split_whitespace().map(|address| Ok(address.parse()?)).collect()
    }

    /// Addresses of the servers' pods, by node.
    pub(crate) fn servers(&self) -> Result<BTreeMap<String, IpAddr>> {
        let path = "--output=jsonpath={range .items[*]}{.spec.nodeName} {.status.podIP}{\"\\n\"}{end}";
        let shown = self.in_namespace(&["get", "pods", "--selector=app=server", path])?;
        let pod = |line: &str| {
            let (node, address) = line.split_once(' ').with_context(|| format!("a pod's place: {line:?}"))?;
            Ok((node.to_owned(), address.parse()?))
        };
        shown.lines().map(pod).collect()
    }

    /// The time from now until all the pool's addresses answer a newcomer, if not all of them: endpoints may be dead.
    pub(crate) fn answers_after(&self) -> Result<Duration> {
        let (begun, undisturbed) = (Instant::now(), Stopwatch::start());
        let short = Volley { count: 8, parallel: 8, patience: Duration::from_millis(50) };
        for address in self.pools() {
            wait_until("an answer", PATIENCE, || self.ask(By::Udp, address, short).answered() > 0)?;
        }
        Ok(if self.keeps_pace { begun.elapsed() } else { undisturbed.read() })
    }

    /// Waits until newcomers are answered by all ways, in all families, and by all living nodes' servers.
    pub fn until_well(&self) -> Result<()> {
        let ways = |address| [By::Tcp, By::Udp, By::Http].map(|by| (by, address));
        let mut ways = self.pools().into_iter().flat_map(ways);
        ways.try_for_each(|(by, address)| self.until_served(by, address, &self.living))
    }

    fn load(&self, archive: &Path) -> Result<()> {
        Ok(self.cluster.load_images(&[archive])?)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = Cluster::down(&self.name)
        {
            eprintln!("the cluster stays: {error}");
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Http => "HTTP",
        })
    }
}

/// Of the chart.
fn settings(spec: &Spec) -> Vec<String> {
    let pool = |key: &str, value: &str| format!("gatewayConfig.addresses.{key}={value}");
    let addresses = spec.on_link(POOL_HOST);
    let ranges = addresses
        .all()
        .enumerate()
        .map(|(n, address)| pool(&format!("pools[0].ranges[{n}]"), &address.to_string()));
    let settings = [
        pool("mode", "Pool"),
        pool("pools[0].name", "soak"),
        // As where nothing translates Services on the nodes.
        format!("apiServer.host={}", spec.control().v4),
    ];
    settings.into_iter().chain(ranges).collect()
}
