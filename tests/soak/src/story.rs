//! What can befall a stage, by name.

use anyhow::{Context as _, Result};

use crate::Stage;
use crate::stories::{agents, nodes, partitions, upgrade};

/// In the order in which they can follow each other on one stage: the last two leave a node less each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Story {
    /// All pods are replaced by those of another build
    RollingUpgrade,
    /// All agents are replaced by some whose maps have other sizes, so that none can be taken over
    OtherMaps,
    /// The agent that announces the pool's address is ended and started again
    PlannedMove,
    /// The same after servers have come, so that the ring leads elsewhere
    PlannedMoveAfterChange,
    /// The announcing agent is ended by SIGKILL
    AgentKilled,
    /// No controller runs while endpoints change
    ControllersLost,
    /// The announcing node is drained
    NodeDrained,
    /// The announcing node's cable is pulled, and put back
    NodePartitioned,
    /// The announcing node doesn't reach the API server; agents see each other
    ApiServerOutOfReach,
    /// The announcing node's agent and the others don't hear each other; all reach the API server
    AgentsParted,
    /// The announcing node's power fails, and comes back; servers have come before
    NodeReturns,
    /// The announcing node's power fails
    NodeDead,
    /// The same while the API server is down
    NodeDeadWithoutApiServer,
}

impl Story {
    pub const ALL: [Self; 13] = [
        Self::RollingUpgrade,
        Self::OtherMaps,
        Self::PlannedMove,
        Self::PlannedMoveAfterChange,
        Self::AgentKilled,
        Self::ControllersLost,
        Self::NodeDrained,
        Self::NodePartitioned,
        Self::ApiServerOutOfReach,
        Self::AgentsParted,
        Self::NodeReturns,
        Self::NodeDead,
        Self::NodeDeadWithoutApiServer,
    ];

    /// Happens to a stage on which all is well. What it leaves behind gets well by itself.
    pub fn happen(self, stage: &mut Stage) -> Result<()> {
        println!("==> {self}");
        let happened = match self {
            Self::RollingUpgrade => upgrade::to_another_build(stage),
            Self::OtherMaps => upgrade::to_other_maps(stage),
            Self::PlannedMove => agents::planned_move(stage),
            Self::PlannedMoveAfterChange => agents::planned_move_after_change(stage),
            Self::AgentKilled => agents::killed(stage),
            Self::ControllersLost => agents::controllers_lost(stage),
            Self::NodeDrained => nodes::drained(stage),
            Self::NodePartitioned => nodes::partitioned(stage),
            Self::ApiServerOutOfReach => partitions::api_server_out_of_reach(stage),
            Self::AgentsParted => partitions::agents_parted(stage),
            Self::NodeReturns => nodes::returns(stage),
            Self::NodeDead => nodes::dead(stage),
            Self::NodeDeadWithoutApiServer => nodes::dead_without_api_server(stage),
        };
        happened.with_context(|| format!("story {self}"))
    }
}

impl std::fmt::Display for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        clap::ValueEnum::to_possible_value(self).map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}
