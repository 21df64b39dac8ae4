//! `gateway-agent run`

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use gateway_agent_kernel::{Options, Pins, Sizes, Timeouts};
use gateway_agent_routing::Node;
use kube::Client;

use crate::agent::{Agent, Peers, Pool, Setup};
use crate::announce;
use crate::failure::Failure;
use crate::input::Input;
use crate::proxy_link::Source;
use crate::source::cluster;
use crate::{cli, logging, node};

#[derive(Debug, thiserror::Error)]
#[error(
    "device patterns ({patterns}) are given in the machine's initial network namespace, where a mistake can cut the machine off; add --host if that is meant, or start the agent in another one (ip netns exec NAME gateway-agent run ...)"
)]
struct HostNotAllowed {
    patterns: String,
}

pub fn execute(arguments: cli::Run) -> Result<(), Failure> {
    logging::start(&arguments.log)?;
    if !arguments.devices.is_empty() && !arguments.host && node::in_initial_network_namespace() {
        let patterns: Vec<_> = arguments.devices.iter().map(|pattern| format!("`{pattern}`")).collect();
        return Err(HostNotAllowed { patterns: patterns.join(", ") }.into());
    }
    let name = match arguments.node.node_name.clone() {
        Some(name) => name,
        None => node::host_name()?,
    };
    let options = options(&arguments, &name)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let node = Node { name, gateway_addresses: arguments.node.node_addresses.clone(), ..Node::default() };
        let (input, cluster) = input(&arguments.sources, &node).await?;
        let pool = pool(&arguments.pool, &node.name, cluster.is_some())?;
        let setup = Setup {
            node,
            input,
            cluster,
            patterns: arguments.devices,
            socket: arguments.socket.path,
            kernel: options,
            hand_over: arguments.hand_over,
            daemon_set: arguments.daemon_set,
            metrics: arguments.metrics.place,
            proxy: match arguments.proxy_socket {
                Some(path) => Source::Socket(path),
                None => Source::Child(arguments.log),
            },
            may_steer: arguments.host || !node::in_initial_network_namespace(),
            pool,
        };
        let agent = Box::pin(Agent::start(setup)).await?;
        Box::pin(agent.run()).await
    })
}

/// How this node's agent finds those of others.
fn pool(arguments: &cli::Pool, node: &str, is_in_cluster: bool) -> Result<Pool, Failure> {
    let key = match &arguments.peer_key {
        Some(path) => Some(peer_key(path)?),
        None => None,
    };
    let others = arguments.peers.iter().filter(|(name, _)| name != node);
    let listen = SocketAddr::new(arguments.probe_address, arguments.probe_port);
    Ok(Pool::new(
        announce::Settings { node: node.to_owned(), listen, others_appear: is_in_cluster },
        Peers { addresses: others.cloned().collect(), key },
    ))
}

fn peer_key(path: &Path) -> Result<announce::Key, Failure> {
    let bytes = fs::read(path).map_err(|error| format!("--peer-key {}: {error}", path.display()))?;
    Ok(announce::Key::new(&bytes).map_err(|error| format!("--peer-key {}: {error}", path.display()))?)
}

/// Files if any are given, else a cluster.
async fn input(sources: &cli::RunSources, node: &Node) -> Result<(Input, Option<Client>), Failure> {
    if sources.paths.is_empty() {
        let client = cluster::connect(sources.kubeconfig.path.as_deref()).await?;
        let home = sources.namespace.as_deref().unwrap_or(client.default_namespace()).to_owned();
        return Ok((Input::cluster(client.clone(), &home, node), Some(client)));
    }
    Ok((Input::files(sources.paths.clone())?, None))
}

fn options(arguments: &cli::Run, node: &str) -> Result<Options, Failure> {
    let mut timeouts = Timeouts::default();
    for (name, duration) in &arguments.timeouts {
        timeouts.set(name, *duration)?;
    }
    Ok(Options {
        pin: arguments.pin.path.clone(),
        node: node.to_owned(),
        sizes: sizes(arguments)?,
        snat_ports: arguments.snat_ports,
        selection_seed: arguments.selection_seed.clone(),
        timeouts,
    })
}

/// What is pinned already keeps its size unless another one is asked for: a machine's memory may have changed since.
fn sizes(arguments: &cli::Run) -> Result<Sizes, Failure> {
    let mut sizes = match arguments.flows.or_else(|| pinned_flows(&arguments.pin.path)) {
        Some(flows) => Sizes { flows, ..Sizes::default() },
        None => Sizes::for_memory(node::memory()?),
    };
    for (name, number) in &arguments.sizes {
        sizes.set(name, *number)?;
    }
    Ok(sizes)
}

/// The number of flows that the pinned tables were made for: places are filled to 0.6 ([`Sizes::flows`]).
fn pinned_flows(pin: &Path) -> Option<u32> {
    let summary = Pins::open(pin).and_then(|pins| pins.summary()).ok()?;
    u32::try_from(summary.flow_places * 6 / 10).ok()
}
