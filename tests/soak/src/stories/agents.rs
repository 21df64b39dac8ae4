//! Agents and controllers end, are killed, and come back.

use anyhow::Result;

use crate::Stage;
use crate::load::{FEW, Load, NEWCOMERS};
use crate::stage::By;

const DAEMON_SET: &str = "daemonset/gateway-agent";
const CONTROLLERS: &str = "deployment/gateway-agent-controller";

/// Its node's address goes to another one, and comes back with its successor.
pub(crate) fn planned_move(stage: &Stage) -> Result<()> {
    let node = stage.announcer()?;
    let load = Load::start(stage, NEWCOMERS)?;
    moves_and_returns(stage, &node)?;
    load.go_on(2)?;
    load.finish().unharmed_by_moves(2)
}

/// The same after endpoints have come: most connections have others than the ring would choose for them now.
pub(crate) fn planned_move_after_change(stage: &Stage) -> Result<()> {
    let node = stage.announcer()?;
    let load = Load::start(stage, FEW)?;
    stage.put_on_each_node(2)?;
    moves_and_returns(stage, &node)?;
    load.sort_out()?;
    let fared = load.finish();
    stage.spread_servers()?;
    fared.unharmed_by_moves(2)
}

fn moves_and_returns(stage: &Stage, node: &str) -> Result<()> {
    let selector = format!("--field-selector=spec.nodeName={node}");
    let agents = "--selector=app.kubernetes.io/component=agent";
    stage.of_agents(&["delete", "pod", agents, &selector])?;
    stage.of_agents(&["rollout", "status", DAEMON_SET, "--timeout=300s"])?;
    stage.until_announced_by(node)
}

/// Programs go on, others announce, and the container starts again.
pub(crate) fn killed(stage: &Stage) -> Result<()> {
    let node = stage.announcer()?;
    let load = Load::start(stage, NEWCOMERS)?;
    stage.cluster.kill_on_node(&node, &["gateway-agent", "run"])?;
    let after = stage.answers_after()?;
    println!("    the address answered {after:.1?} after the death of {node}'s agent");
    load.go_on(5)?;
    stage.of_agents(&["rollout", "status", DAEMON_SET, "--timeout=300s"])?;
    stage.until_announced_by(&node)?;
    load.finish().unharmed_by_moves(2)
}

/// Statuses stand still. Traffic follows endpoints all the same.
pub(crate) fn controllers_lost(stage: &Stage) -> Result<()> {
    let node = stage.announcer()?;
    let load = Load::start(stage, NEWCOMERS)?;
    stage.of_agents(&["scale", CONTROLLERS, "--replicas=0"])?;
    stage.of_agents(&[
        "wait",
        "--for=delete",
        "pod",
        "--selector=app.kubernetes.io/component=controller",
        "--timeout=300s",
    ])?;
    let selector = format!("--field-selector=spec.nodeName={node}");
    stage.in_namespace(&["delete", "pod", "--selector=app=server", &selector])?;
    stage.in_namespace(&["rollout", "status", "deployment/server", "--timeout=300s"])?;
    stage.until_served(By::Tcp, stage.pool(), stage.living())?;
    let fared = load.finish();
    stage.of_agents(&["scale", CONTROLLERS, "--replicas=2"])?;
    stage.of_agents(&["rollout", "status", CONTROLLERS, "--timeout=300s"])?;
    fared.newcomers_unharmed()?;
    // Those of the pod that was deleted end with it.
    fared.staying_unharmed(|server| server != node)?;
    Ok(())
}
