//! `gateway-agent run`

use std::path::Path;

use gateway_agent_kernel::{Kernel, Options, Pins, Sizes, Summary, Timeouts};
use gateway_agent_routing::Node;
use tracing::info;

use crate::agent::{Agent, Setup};
use crate::failure::Failure;
use crate::input::Input;
use crate::node_writer::NodeWriter;
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
        let kernel = Kernel::open(&options)?;
        tell_take_over(&options.pin)?;
        let node = Node { name, gateway_addresses: arguments.node.node_addresses.clone(), ..Node::default() };
        let (input, node_writer) = input(&arguments.sources, &node).await?;
        let setup = Setup {
            node,
            input,
            node_writer,
            patterns: arguments.devices,
            socket: arguments.socket.path,
            pin: options.pin,
            proxy: match arguments.proxy_socket {
                Some(path) => Source::Socket(path),
                None => Source::Child(arguments.log),
            },
            may_steer: arguments.host || !node::in_initial_network_namespace(),
        };
        let agent = Box::pin(Agent::start(setup, kernel)).await?;
        Box::pin(agent.run()).await
    })
}

/// Files if any are given, else a cluster.
async fn input(sources: &cli::RunSources, node: &Node) -> Result<(Input, Option<NodeWriter>), Failure> {
    if sources.paths.is_empty() {
        let client = cluster::connect(sources.kubeconfig.path.as_deref()).await?;
        let writer = NodeWriter::start(client.clone(), node.name.clone());
        let home = sources.namespace.as_deref().unwrap_or(client.default_namespace()).to_owned();
        return Ok((Input::cluster(client, &home, node), Some(writer)));
    }
    Ok((Input::files(sources.paths.clone())?, None))
}

/// What the kernel holds from earlier agents, before the first tables are applied.
fn tell_take_over(pin: &Path) -> Result<(), Failure> {
    let Summary { generation, flows, links, .. } = Pins::open(pin)?.summary()?;
    if generation == FIRST_GENERATION {
        info!(event = "started", "nothing to take over in {}: new tables", pin.display());
        return Ok(());
    }
    let devices = links.len();
    info!(
        event = "taken-over",
        generation,
        flows,
        devices,
        "took over {flows} flows and the attachments to {devices} devices; programs of this build, generation \
         {generation}, have replaced those that were there"
    );
    Ok(())
}

/// No agent before this one has loaded programs ([`Summary::generation`]).
const FIRST_GENERATION: u32 = 1;

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
