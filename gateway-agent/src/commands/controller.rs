//! `gateway-agent controller`

use semver::Version;

use crate::controller::{Candidate, Controller, Setup};
use crate::failure::Failure;
use crate::source::cluster;
use crate::version::version;
use crate::{cli, logging, node};

pub fn execute(arguments: cli::Controller) -> Result<(), Failure> {
    logging::start(&arguments.log)?;
    let identity = identity()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = cluster::connect(arguments.kubeconfig.path.as_deref()).await?;
        let namespace = arguments.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let setup = Setup {
            client,
            namespace,
            me: Candidate { identity, version: Version::parse(version())? },
            addresses: arguments.node_addresses,
            metrics: arguments.metrics.place,
        };
        Controller::run(setup).await
    })
}

/// The pod's name, which is its host name, and something that its next life doesn't have.
fn identity() -> Result<String, Failure> {
    let life = getrandom::u32().map_err(|error| format!("the machine has no random numbers: {error}"))?;
    Ok(format!("{}_{life:08x}", node::host_name()?))
}
