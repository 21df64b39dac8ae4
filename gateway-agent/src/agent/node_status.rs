//! What the agent reports of its node, for the controller and for people.

use gateway_agent_api::own::gateway_node::{Delivery, GatewayNodeStatus, Hook, HookFailure, NodeProblem};
use gateway_agent_routing as routing;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::Agent;
use crate::unserved;
use crate::version::version;

/// Of a listener whose ports others have on all addresses that it has of this node.
pub const PORT_UNAVAILABLE: &str = "PortUnavailable";

/// As many problems as a GatewayNode takes, and as much of each.
const MOST_PROBLEMS: usize = 64;
const LONGEST_MESSAGE: usize = 1024;
/// As many devices as a hook of a GatewayNode takes.
const MOST_FAILURES: usize = 16;

impl Agent {
    /// None as long as there is nothing to report: nothing is applied by this agent, or objects come from files.
    pub(super) fn node_status(&self) -> Option<GatewayNodeStatus> {
        if self.applied.generation == 0 || self.kernel.is_none() {
            return None;
        }
        let applied = self.input.reached()?;
        let problems = self.node_problems();
        Some(GatewayNodeStatus {
            conditions: vec![self.ready()],
            version: Some(version().to_owned()),
            kernel: crate::node::kernel_release().ok(),
            cni: Some(self.found.network.to_string()),
            delivery: Some(self.delivery()),
            addresses: self
                .compiler
                .snapshot()
                .node
                .gateway_addresses
                .iter()
                .map(ToString::to_string)
                .collect(),
            applied,
            hooks: vec![self.hook()],
            problem_count: i32::try_from(problems.len()).unwrap_or(i32::MAX),
            problems: problems.into_iter().take(MOST_PROBLEMS).collect(),
            settings: Some(routing::node_settings(self.compiler.snapshot())),
            ..GatewayNodeStatus::default()
        })
    }

    /// Whether packets get to the tables; the time of its last transition is known to whoever writes it.
    fn ready(&self) -> Condition {
        let attached = self.hooks.attached();
        let (status, reason, message) = match attached {
            0 => {
                ("False", "NotAttached", "attached to no device: packets don't get to the tables".to_owned())
            }
            _ => ("True", "Ready", format!("attached to {attached} devices")),
        };
        Condition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: Time(self.applied.at),
            observed_generation: None,
        }
    }

    pub(super) fn delivery(&self) -> Delivery {
        Delivery { local: self.found.network.local_delivery(), remote: self.pool.delivery() }
    }

    fn hook(&self) -> Hook {
        let failures = self.hooks.all().filter_map(|hook| {
            let message = shorten(hook.error.as_ref()?);
            Some(HookFailure { device: hook.device.name.clone(), message })
        });
        Hook {
            name: "tcx ingress".to_owned(),
            devices: i32::try_from(self.hooks.attached()).unwrap_or(i32::MAX),
            failures: failures.take(MOST_FAILURES).collect(),
        }
    }

    fn node_problems(&self) -> Vec<NodeProblem> {
        let refused = unserved::by_listener(self.wanted(), self.applied.problems());
        let problem = |(listener, causes): (&gateway_agent_tables::ListenerName, Vec<String>)| NodeProblem {
            namespace: listener.gateway.namespace.clone(),
            gateway: listener.gateway.name.clone(),
            listener: Some(listener.listener.clone()),
            reason: "NotApplied".to_owned(),
            message: shorten(&causes.join("; ")),
        };
        let held = self.compiler.outcome().held.iter().map(|(listener, held)| NodeProblem {
            reason: if held.all { PORT_UNAVAILABLE } else { "PortPartlyUnavailable" }.to_owned(),
            ..problem((listener, vec![held.message.clone()]))
        });
        held.chain(refused.into_iter().map(problem)).collect()
    }
}

fn shorten(message: &str) -> String {
    message.chars().take(LONGEST_MESSAGE).collect()
}
