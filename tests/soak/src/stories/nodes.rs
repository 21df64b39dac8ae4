//! Nodes are drained, cut off, and die.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::Stage;
use crate::load::{FEW, Load, NEWCOMERS};

/// How soon an address has to answer again (issue D).
const FAILOVER: Duration = Duration::from_secs(2);

/// Its endpoints go elsewhere; its agent stays.
pub(crate) fn drained(stage: &Stage) -> Result<()> {
    let node = stage.announcer()?;
    let load = Load::start(stage, NEWCOMERS)?;
    let kubectl = stage.kubectl();
    kubectl.run(&["drain", &node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s"])?;
    stage.in_namespace(&["rollout", "status", "deployment/server", "--timeout=300s"])?;
    load.go_on(2)?;
    let fared = load.finish();
    kubectl.run(&["uncordon", &node])?;
    stage.spread_servers()?;
    fared.newcomers_unharmed()?;
    fared.staying_unharmed(|server| server != node)
}

/// Both sides announce the address until they see each other again; then one gives way.
pub(crate) fn partitioned(stage: &Stage) -> Result<()> {
    let node = stage.announcer()?;
    let load = Load::start(stage, FEW)?;
    stage.cluster.cut_off(&node)?;
    let gone = answered(stage, &load, &node);
    load.go_on(3)?;
    stage.cluster.reconnect(&node)?;
    stage.until_announced_by(&node)?;
    load.go_on(1)?;
    let fared = load.finish();
    gone?;
    fared.staying_unharmed(|server| server != node)
}

pub(crate) fn dead(stage: &mut Stage) -> Result<()> {
    let node = stage.announcer()?;
    dies(stage, &node)
}

/// Nobody can be asked who lives.
pub(crate) fn dead_without_api_server(stage: &mut Stage) -> Result<()> {
    let node = stage.announcer()?;
    stage.cluster.stop_api_server()?;
    let died = dies(stage, &node);
    stage.cluster.start_api_server()?;
    died
}

/// It takes its address back, once, and nothing is said of its death any more. Endpoints have come since connections began,
/// so that the ring leads to others than most of them have; some go and come back with the node.
pub(crate) fn returns(stage: &mut Stage) -> Result<()> {
    let node = stage.announcer()?;
    let load = Load::start(stage, FEW)?;
    stage.put_on_each_node(2)?;
    falls(stage, &node, &load)?;
    let successor = stage.announcer()?;
    stage.raise(&node)?;
    let announcers = stage.announcers_until(&node)?;
    stage.until_settled()?;
    load.sort_out()?;
    let fared = load.finish();
    stage.spread_servers()?;
    fared.staying_unharmed(|server| server != node)?;
    println!("    the address was announced by {}", announcers.join(", then by "));
    ensure!(announcers == [successor, node], "the address went back and forth: {announcers:?}");
    Ok(())
}

fn dies(stage: &mut Stage, node: &str) -> Result<()> {
    let load = Load::start(stage, FEW)?;
    falls(stage, node, &load)?;
    load.finish().staying_unharmed(|server| server != node)?;
    let successor = stage.announcer()?;
    println!("    {successor} announces the address");
    Ok(())
}

/// Its power fails, under a load that goes on.
fn falls(stage: &mut Stage, node: &str, load: &Load) -> Result<()> {
    stage.cluster.kill_node(node)?;
    stage.bury(node);
    answered(stage, load, node)?;
    load.sort_out()
}

fn answered(stage: &Stage, load: &Load, node: &str) -> Result<()> {
    let after = stage.answers_after()?;
    println!(
        "    the address answered {after:.1?} after {node} was gone, with {} of the connections that stay",
        load.staying_on(node)
    );
    ensure!(after < FAILOVER, "it took {after:?}");
    Ok(())
}
