//! Another build takes over on all nodes, one after the other.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use crate::load::{Load, NEWCOMERS};
use crate::{NEXT, Stage};

/// Links stay where they are in the kernel, and each of them gets the new build's program.
pub(crate) fn to_another_build(stage: &mut Stage) -> Result<()> {
    let (next, before) = (stage.next()?, programs(stage)?);
    let load = Load::start(stage, NEWCOMERS)?;
    load.go_on(2)?;
    let upgraded = stage.upgrade(&next);
    load.go_on(2)?;
    load.finish().unharmed()?;
    upgraded?;
    let versions: BTreeSet<String> = stage.versions()?.into_values().collect();
    ensure!(versions == BTreeSet::from([NEXT.to_owned()]), "agents say that they are {versions:?}");
    for (node, after) in programs(stage)? {
        let before = &before[&node];
        let kept: Vec<_> = after.keys().filter(|link| before.contains_key(link)).collect();
        ensure!(!kept.is_empty(), "{node} kept none of its links: {before:?}, {after:?}");
        let former: BTreeSet<_> = before.values().collect();
        let kept_on: Vec<_> = after.values().filter(|program| former.contains(program)).collect();
        ensure!(kept_on.is_empty(), "{node} has programs of the former build still: {kept_on:?}");
        println!(
            "    {node}: {} links kept, with {} new programs",
            kept.len(),
            after.values().collect::<BTreeSet<_>>().len()
        );
    }
    Ok(())
}

/// Former programs go on with the flows that they have, in front of the new ones, which get all newcomers.
pub(crate) fn to_other_maps(stage: &mut Stage) -> Result<()> {
    let before = programs(stage)?;
    let load = Load::start(stage, NEWCOMERS)?;
    load.go_on(2)?;
    let changed = stage.set_up_anew("agent.arguments={--flows=40000}");
    load.go_on(2)?;
    load.finish().unharmed()?;
    changed?;
    for (node, links) in programs(stage)? {
        let kept: Vec<_> = links.keys().filter(|link| before[&node].contains_key(link)).collect();
        ensure!(kept.is_empty(), "{node} has taken over {kept:?}, whose maps are others");
        let former = stage.cluster.run_on_node(&node, &["ls", "/sys/fs/bpf/gateway-agent/former/links"])?;
        ensure!(!former.trim().is_empty(), "{node} set nothing aside, and had {:?}", before[&node]);
    }
    Ok(())
}

fn programs(stage: &Stage) -> Result<BTreeMap<String, BTreeMap<u64, u64>>> {
    stage.living().iter().map(|node| Ok((node.clone(), stage.programs(node)?))).collect()
}
