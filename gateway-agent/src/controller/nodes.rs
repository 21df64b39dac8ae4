//! Which nodes serve, and which addresses they have.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gateway_agent_api::own::gateway_node::NodeProblem;
use gateway_agent_api::{GatewayNode, Node};
use gateway_agent_routing::OfferingNode;
use gateway_agent_tables::{ListenerName, ObjectName};

use crate::agent::node_status::PORT_UNAVAILABLE;

/// Nodes with this label are left out (well-known labels of Kubernetes).
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Whether Kubernetes knows the node as ready, and nobody has taken it out.
pub fn may_serve(node: &Node) -> bool {
    let excluded = node.metadata.labels.iter().any(|labels| labels.contains_key(EXCLUDED));
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    !excluded && conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
}

/// Whether the node's agent says that it forwards.
pub fn forwards(node: &GatewayNode) -> bool {
    let conditions = node.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
}

/// A node's addresses: those that its agent reports, or what Kubernetes calls internal. Whether Gateways may get them is
/// left open.
pub fn offering(node: &Node, report: Option<&GatewayNode>) -> OfferingNode {
    let reported = report.into_iter().flat_map(|report| &report.status).flat_map(|status| &status.addresses);
    let mut addresses: Vec<_> = reported.filter_map(|address| address.parse().ok()).collect();
    if addresses.is_empty() {
        addresses = internal_addresses(node);
    }
    OfferingNode {
        name: node.metadata.name.clone().unwrap_or_default(),
        labels: node.metadata.labels.clone().unwrap_or_default(),
        addresses,
        published: false,
        refusals: report.map(refusals).unwrap_or_default(),
    }
}

/// Listeners that a node can't serve since others have their ports there.
fn refusals(report: &GatewayNode) -> BTreeMap<ListenerName, String> {
    let problems = report.status.iter().flat_map(|status| &status.problems);
    let refusals = problems.filter(|problem| problem.reason == PORT_UNAVAILABLE);
    let refusal = |problem: &NodeProblem| {
        let gateway = ObjectName { namespace: problem.namespace.clone(), name: problem.gateway.clone() };
        let listener = ListenerName { gateway, listener: problem.listener.clone()? };
        Some((listener, problem.message.clone()))
    };
    refusals.filter_map(refusal).collect()
}

/// In Kubernetes' order.
pub fn internal_addresses(node: &Node) -> Vec<IpAddr> {
    let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    all.filter(|it| it.type_ == "InternalIP").filter_map(|it| it.address.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn nodes_that_are_not_ready_or_taken_out_do_not_serve() {
        let node = |labels: Value, ready: &str| -> Node {
            let conditions =
                json!([{"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": ready}]);
            serde_json::from_value(
                json!({"metadata": {"labels": labels}, "status": {"conditions": conditions}}),
            )
            .unwrap()
        };
        assert!(may_serve(&node(json!({"zone": "a"}), "True")));
        assert!(!may_serve(&node(json!({}), "Unknown")));
        assert!(!may_serve(&node(json!({ EXCLUDED: "" }), "True")));
        assert!(!may_serve(&Node::default()));
        assert!(!forwards(&GatewayNode::default()));
    }
}
