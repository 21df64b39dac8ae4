//! Every GatewayNode belongs to a Node: it goes when that is gone.

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_api::{GatewayNode, Node};
use gateway_agent_routing::Snapshot;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tracing::{info, warn};

use crate::source::cluster::{Task, cause};

/// Looks after `GatewayNode`s.
#[derive(Debug, Default)]
pub struct Census {
    /// Those without a Node at the last look: a Node may be seen after its agent's first report.
    orphans: BTreeSet<String>,
    /// What is being done about it.
    work: Option<Task>,
}

/// What is to be done about a GatewayNode.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The Node of this uid owns it, so that Kubernetes removes both.
    Adopt { name: String, owner: String },
    /// There is no such Node.
    Remove { name: String, uid: String },
}

impl Census {
    /// Gives `GatewayNode`s their owner, and removes those without one. The next look comes some seconds later.
    pub fn look(&mut self, client: &Client, snapshot: &Snapshot) {
        if self.work.as_ref().is_some_and(|work| !work.is_finished()) {
            return;
        }
        let (steps, orphans) = steps(snapshot, &self.orphans);
        self.orphans = orphans;
        let nodes: Api<GatewayNode> = Api::all(client.clone());
        self.work = (!steps.is_empty()).then(|| {
            Task::spawn(async move {
                for step in steps {
                    step.take(&nodes).await;
                }
            })
        });
    }
}

/// What to do, and which have no Node; those that had none before either are removed.
fn steps(snapshot: &Snapshot, orphans: &BTreeSet<String>) -> (Vec<Step>, BTreeSet<String>) {
    let nodes = snapshot
        .all::<Node>()
        .filter_map(|node| Some((node.metadata.name.as_deref()?, node.metadata.uid.as_deref()?)));
    let nodes: BTreeMap<_, _> = nodes.collect();
    let mut steps = Vec::new();
    let mut found = BTreeSet::new();
    for node in snapshot.all::<GatewayNode>() {
        let name = node.metadata.name.clone().unwrap_or_default();
        if let Some(owner) = nodes.get(name.as_str()) {
            let mut owners = node.metadata.owner_references.iter().flatten();
            if !owners.any(|it| it.uid == *owner) {
                steps.push(Step::Adopt { name, owner: (*owner).to_owned() });
            }
            continue;
        }
        if orphans.contains(&name) {
            let uid = node.metadata.uid.clone().unwrap_or_default();
            steps.push(Step::Remove { name: name.clone(), uid });
        }
        found.insert(name);
    }
    (steps, found)
}

impl Step {
    async fn take(&self, nodes: &Api<GatewayNode>) {
        const NOT_FOUND: u16 = 404;
        let (name, done, result) = match self {
            Self::Adopt { name, owner } => {
                let owners = json!([{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": owner }]);
                let patch = Patch::Merge(json!({ "metadata": { "ownerReferences": owners } }));
                let result = nodes.patch_metadata(name, &PatchParams::default(), &patch).await.map(drop);
                (name, "belongs to its Node", result)
            }
            Self::Remove { name, uid } => {
                let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
                let parameters = DeleteParams::default().preconditions(preconditions);
                let result = nodes.delete(name, &parameters).await.map(drop);
                (name, "removed, since its Node is gone", result)
            }
        };
        match result {
            Ok(()) => info!(event = "census", "GatewayNode {name}: {done}"),
            Err(kube::Error::Api(status)) if status.code == NOT_FOUND => {}
            Err(error) => warn!("GatewayNode {name}: {}; it is tried again", cause(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway_agent_api::{Kind, Object};
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: Kind, name: &str, uid: &str, owners: &Value) -> Object {
        let metadata = json!({"name": name, "uid": uid, "ownerReferences": owners});
        Object::decode(kind, json!({"metadata": metadata, "spec": {}}), &mut |_| ()).unwrap()
    }

    #[test]
    fn gateway_nodes_go_with_their_nodes() {
        let none = json!([]);
        let owner = |uid: &str| json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": uid}]);
        let mut snapshot = Snapshot::default();
        for (kind, name, uid, owners) in [
            (Kind::Node, "owned", "1", none.clone()),
            (Kind::GatewayNode, "owned", "a", owner("1")),
            (Kind::Node, "another", "2", none.clone()),
            (Kind::GatewayNode, "another", "b", owner("0")),
            (Kind::Node, "new", "3", none.clone()),
            (Kind::GatewayNode, "new", "c", none.clone()),
            (Kind::GatewayNode, "gone", "d", owner("4")),
        ] {
            snapshot.insert(object(kind, name, uid, &owners));
        }
        let adopt = |name: &str, owner: &str| Step::Adopt { name: name.into(), owner: owner.into() };
        let (first, orphans) = steps(&snapshot, &BTreeSet::new());
        assert_eq!(first, [adopt("another", "2"), adopt("new", "3")]);
        assert_eq!(orphans, BTreeSet::from(["gone".to_owned()]));
        let (second, _) = steps(&snapshot, &orphans);
        let remove = Step::Remove { name: "gone".into(), uid: "d".into() };
        assert_eq!(second, [adopt("another", "2"), remove, adopt("new", "3")]);
    }
}
