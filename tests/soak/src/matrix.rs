//! Every kube-proxy with every CNI of the rig: what passes a Gateway there, and whom endpoints see.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use cluster::{Cni, KubeProxy, Spec};
use lab::traffic::{self, Volley};

use crate::Stage;
use crate::stage::{By, PORT};

/// As docs/NETWORKS.md has it.
const HEAD: &str = "\
| kube-proxy | CNI | TCP, UDP and HTTP | endpoints see the client | a rule in the nodes' forward hook | GatewayNodes say |
|---|---|---|---|---|---|";

/// What an engine for `NetworkPolicy` that works with netfilter on the node might say: nothing gets to the servers.
const POLICY: &str = "add table inet rules
    add chain inet rules forward { type filter hook forward priority filter; }
    add rule inet rules forward tcp dport 9000 drop
    add rule inet rules forward udp dport 9000 drop";

/// Long beside an answer on one machine.
const REFUSAL: Duration = Duration::from_secs(1);

/// A cluster for each of those that are asked for; all are tried, unless one that is not served shall stay.
pub fn run(kube_proxy: Option<KubeProxy>, cni: Option<Cni>, keep: bool) -> Result<()> {
    let kube_proxies = kube_proxy.map_or_else(|| KubeProxy::value_variants().to_vec(), |only| vec![only]);
    let cnis = cni.map_or_else(|| Cni::value_variants().to_vec(), |only| vec![only]);
    let networks = kube_proxies.iter().flat_map(|kube_proxy| cnis.iter().map(move |cni| (*kube_proxy, *cni)));
    let mut rows = Vec::new();
    for (kube_proxy, cni) in networks {
        println!("==> kube-proxy {kube_proxy:?}, CNI {cni:?}");
        let stage = Stage::bare(&Spec { kube_proxy, cni, ..Spec::new("matrix".parse()?) })?;
        let row = Row { kube_proxy, cni, seen: look(&stage) };
        println!("    {row}");
        if keep && row.seen.is_err() {
            println!("it stays: cargo xtask kubectl --name {}", stage.leave());
            break;
        }
        rows.push(row);
    }
    println!("{HEAD}");
    for row in &rows {
        println!("{row}");
    }
    let failed = rows.iter().filter(|row| row.seen.is_err()).count();
    ensure!(failed == 0, "{failed} of {} networks are not served", rows.len());
    Ok(())
}

struct Row {
    kube_proxy: KubeProxy,
    cni: Cni,
    seen: Result<Seen>,
}

/// What was seen, everything being served.
struct Seen {
    /// Whether endpoints see the client's own address, where it asks at [`WHOSE`].
    clients: [bool; 3],
    /// A rule against it doesn't stop a Gateway's traffic.
    passes_policy: bool,
    /// What all nodes' agents take the network for.
    reported: String,
}

/// Addresses: of a pool, of an endpoint's own node, of others.
const WHOSE: [&str; 3] = ["pool", "own node's", "another node's"];

fn look(stage: &Stage) -> Result<Seen> {
    stage.furnish()?;
    let nodes: Vec<_> =
        stage.cluster.spec().nodes().map(|node| (node.name, IpAddr::from(node.address.v4))).collect();
    let addresses = stage.addresses("nodes")?;
    let expected: BTreeSet<IpAddr> = nodes.iter().map(|(_, address)| *address).collect();
    ensure!(addresses == expected, "the Gateway has {addresses:?}, and nodes have {expected:?}");
    for (_, address) in &nodes {
        for by in [By::Tcp, By::Udp, By::Http] {
            stage.until_served(by, *address, stage.living())?;
        }
    }
    let reported = reported(stage)?;
    let passes_policy = passes_policy(stage)?;
    let mut clients = [true; 3];
    for by in [By::Tcp, By::Udp] {
        for (node, _) in &nodes {
            clients[0] &= stage.sees_client(by, stage.pool(), node);
            for (asked, address) in &nodes {
                clients[if node == asked { 1 } else { 2 }] &= stage.sees_client(by, *address, node);
            }
        }
    }
    Ok(Seen { clients, passes_policy, reported })
}

/// The CNI, and the ways to endpoints of this node and of others. Plugins without a name leave none.
fn reported(stage: &Stage) -> Result<String> {
    let expected = match stage.cluster.spec().cni {
        Cni::Ptp => "unknown (routed veths); RedirectPeer, HandOn",
        Cni::Bridge => "unknown (bridge cni0); Bridge, HandOn",
        Cni::Vxlan => "unknown (routed veths, vxlan vxlan0); RedirectPeer, HandOn",
    };
    let networks = stage.networks()?;
    ensure!(networks.len() == stage.living().len(), "not all nodes report: {networks:?}");
    for (node, reported) in &networks {
        ensure!(reported == expected, "{node} reports {reported}, and not {expected}");
    }
    Ok(expected.to_owned())
}

/// Nobody else's traffic gets past the rule; that is looked at, too.
fn passes_policy(stage: &Stage) -> Result<bool> {
    let nodes = stage.living();
    for node in nodes {
        stage.cluster.node(node).context("a node's namespace")?.command(&["nft", POLICY])?;
    }
    let pods = stage.servers()?;
    let (from, to) = (&nodes[0], pods.get(&nodes[1]).context("a server on the second node")?);
    let neighbour = stage.cluster.node(from).context("a node's namespace")?;
    let volley = Volley { count: 1, parallel: 1, patience: REFUSAL };
    let direct = traffic::tcp(neighbour, SocketAddr::new(*to, PORT), volley);
    ensure!(direct.answered() == 0, "the rule lets {from} through to {to}");
    let passes = [By::Tcp, By::Udp].iter().all(|by| {
        let tally = stage.ask(*by, stage.pool(), Volley::of(40));
        tally.failed() == 0 && tally.answers.len() == nodes.len()
    });
    for node in nodes {
        let namespace = stage.cluster.node(node).context("a node's namespace")?;
        namespace.command(&["nft", "delete table inet rules"])?;
    }
    Ok(passes)
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kube_proxy, cni] = [format!("{:?}", self.kube_proxy), format!("{:?}", self.cni)];
        write!(f, "| {} | {} | ", kube_proxy.to_lowercase(), cni.to_lowercase())?;
        match &self.seen {
            Ok(Seen { clients, passes_policy, reported }) => {
                let seen = WHOSE.iter().zip(clients);
                let seen = seen.map(|(whose, sees)| format!("{whose}: {}", if *sees { "yes" } else { "no" }));
                let policy = if *passes_policy { "passed by" } else { "counts" };
                write!(f, "served | {} | {policy} | {reported} |", seen.collect::<Vec<_>>().join(", "))
            }
            Err(error) => write!(f, "{error:#} | | | |"),
        }
    }
}
