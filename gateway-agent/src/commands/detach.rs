//! `gateway-agent detach`

use super::print;
use crate::cli::Detach;
use crate::failure::Failure;

pub fn execute(arguments: &Detach) -> Result<(), Failure> {
    let pin = &arguments.pin.path;
    let detached = gateway_agent_kernel::detach(pin)?;
    print(&format!(
        "detached from {} devices; removed {} tables and {} program arrays from {}\n",
        detached.links.len(),
        detached.maps,
        detached.stages,
        pin.display()
    ))
}
