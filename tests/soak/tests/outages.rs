//! Of the stories, those that take a minute together. Needs root.

use anyhow::Result;
use cluster::{Cni, Spec};
use soak::{Stage, Story};

#[test]
fn an_upgrade_breaks_nothing_and_a_dead_node_only_what_it_had() -> Result<()> {
    // Other tests have pods behind veths alone, and an address of one family.
    let spec = Spec { cni: Cni::Bridge, dual_stack: true, ..Spec::new("outages".parse()?) };
    let mut stage = Stage::set(&spec)?;
    Story::RollingUpgrade.happen(&mut stage)?;
    stage.until_well()?;
    Story::NodeDead.happen(&mut stage)
}
