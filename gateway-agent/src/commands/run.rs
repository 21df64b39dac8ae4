//! `gateway-agent run`

use gateway_agent_kernel::{Kernel, Options, Sizes, Timeouts};
use gateway_agent_routing::Node;

use super::Failure;
use crate::agent::{Agent, Setup};
use crate::{cli, logging, node};

#[derive(Debug, thiserror::Error)]
#[error(
    "device patterns ({patterns}) are given in the machine's initial network namespace, where a mistake can cut the machine off; add --host if that is meant, or start the agent in another one (ip netns exec NAME gateway-agent run ...)"
)]
struct HostNotAllowed {
    patterns: String,
}

pub fn execute(arguments: cli::Run) -> Result<(), Failure> {
    logging::start(arguments.log, &arguments.log_level)?;
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
        let setup = Setup {
            node: Node {
                name,
                addresses: Vec::new(),
                gateway_addresses: arguments.node.node_addresses.clone(),
            },
            sources: arguments.sources.paths,
            patterns: arguments.devices,
            socket: arguments.socket.path,
            pin: options.pin,
        };
        Agent::start(setup, kernel).await?.run().await
    })
}

fn options(arguments: &cli::Run, node: &str) -> Result<Options, Failure> {
    let mut timeouts = Timeouts::default();
    for (name, duration) in &arguments.timeouts {
        timeouts.set(name, *duration)?;
    }
    let sizes = match arguments.flows {
        Some(flows) => Sizes { flows, ..Sizes::default() },
        None => Sizes::for_memory(node::memory()?),
    };
    Ok(Options {
        pin: arguments.pin.path.clone(),
        node: node.to_owned(),
        sizes,
        snat_ports: arguments.snat_ports,
        selection_seed: arguments.selection_seed.clone(),
        timeouts,
    })
}
