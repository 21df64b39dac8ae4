//! `gateway-agent detach`

use super::print;
use crate::agent::leave_no_routes;
use crate::cli::Detach;
use crate::failure::Failure;
use crate::process;

pub fn execute(arguments: &Detach) -> Result<(), Failure> {
    let pin = &arguments.pin.path;
    let detached = gateway_agent_kernel::detach(pin)?;
    if let Some(proxy) = detached.proxy
        && process::end(proxy)
    {
        print(&format!("the proxy (process {}) finishes what it has, and ends\n", proxy.pid))?;
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(leave_no_routes());
    print(&format!(
        "detached from {} devices; removed {} tables and {} program arrays from {}\n",
        detached.links.len(),
        detached.maps,
        detached.stages,
        pin.display()
    ))
}
