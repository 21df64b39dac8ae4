//! `gateway-agent proxy`

use std::io::stdin;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread::available_parallelism;

use gateway_agent_proxy::confine::confine;
use gateway_agent_proxy::serve::{self, Agent};

use crate::cli::Proxy;
use crate::failure::Failure;
use crate::logging;

/// By default; more hardly pay, since the kernel's share of the work is larger.
const MOST_WORKERS: usize = 4;

pub fn execute(arguments: Proxy) -> Result<(), Failure> {
    confine().map_err(|error| format!("capabilities can't be dropped: {error}"))?;
    logging::start(&arguments.log)?;
    let agent = match arguments.agent.socket {
        Some(path) => Agent::At(path),
        None => Agent::Parent(UnixStream::from(stdin().as_fd().try_clone_to_owned()?)),
    };
    let workers = match arguments.workers {
        Some(workers) => workers.into(),
        // Of the cgroup, if it has fewer than the machine.
        None => available_parallelism().map_or(1, usize::from).min(MOST_WORKERS),
    };
    Ok(serve::run(agent, workers)?)
}
