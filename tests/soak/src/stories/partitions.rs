//! Parts of the network fail, and others don't.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::wait_until;

use crate::Stage;
use crate::load::{Load, NEWCOMERS};

/// Of the clusters' API servers.
const API_PORT: u16 = 6443;

/// Where agents tell each other that they live (`--probe-port`).
const PROBE_PORT: u16 = 61_790;

/// An agent notices a server that falls silent within a minute, and tries again for a few seconds when it is back.
const NOTICE: Duration = Duration::from_secs(90);

/// Nothing changes but what is said. Endpoints that the node has are those that it knew.
pub(crate) fn api_server_out_of_reach(stage: &Stage) -> Result<()> {
    let node = stage.announcer()?;
    let load = Load::start(stage, NEWCOMERS)?;
    let cut = Cut::between(stage, &node, &format!("tcp dport {API_PORT} drop"))?;
    let said = || stage.problems(&node).is_ok_and(|all| all.iter().any(|it| it.contains("API server")));
    let noticed = wait_until(&format!("{node}'s agent to say that the API server is away"), NOTICE, said);
    let announcer = stage.announcer()?;
    cut.mend()?;
    noticed?;
    let quiet = || stage.problems(&node).is_ok_and(|all| all.is_empty());
    wait_until(&format!("{node}'s agent to be well again"), NOTICE, quiet)?;
    load.finish().unharmed()?;
    ensure!(announcer == node, "the address went to {announcer}");
    stage.until_settled()
}

/// Each side takes the other for dead, and announces the address. Packets are served on both.
pub(crate) fn agents_parted(stage: &Stage) -> Result<()> {
    let node = stage.announcer()?;
    let load = Load::start(stage, NEWCOMERS)?;
    let cut = Cut::between(stage, &node, &format!("udp dport {PROBE_PORT} drop"))?;
    load.go_on(5)?;
    cut.mend()?;
    let announcers = stage.announcers_until(&node)?;
    println!("    afterwards the address was announced by {}", announcers.join(", then by "));
    load.go_on(1)?;
    // Once to the other side and once back.
    load.finish().unharmed_by_moves(2)
}

/// Packets that a node doesn't send or get, until this is mended.
struct Cut<'a> {
    stage: &'a Stage,
    node: String,
}

impl<'a> Cut<'a> {
    fn between(stage: &'a Stage, node: &str, rule: &str) -> Result<Self> {
        let chain = |hook: &str| {
            format!(
                "add chain inet cut {hook} {{ type filter hook {hook} priority -300; }}
                add rule inet cut {hook} {rule}\n"
            )
        };
        let rules = format!("add table inet cut\n{}{}", chain("input"), chain("output"));
        let cut = Self { stage, node: node.to_owned() };
        cut.apply(&rules)?;
        Ok(cut)
    }

    fn mend(self) -> Result<()> {
        self.apply("delete table inet cut")
    }

    fn apply(&self, rules: &str) -> Result<()> {
        let namespace = self.stage.cluster.node(&self.node).context("a node's namespace")?;
        Ok(namespace.command(&["nft", rules]).map(drop)?)
    }
}
