//! Where an agent's objects come from: files, or a cluster. Both end in the same snapshot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway_agent_routing::Node;

use crate::compile::Compiler;
use crate::notices::Origin;
use crate::own_node::OwnNode;
use crate::source::cluster::{Cluster, Role};
use crate::source::{WRITER_PAUSE, WatchError, Watcher};

pub enum Input {
    Files(Box<Watcher>),
    Cluster {
        cluster: Box<Cluster>,
        own_node: Box<OwnNode>,
        /// The node's addresses are those that the cluster knows; else they were given.
        takes_addresses: bool,
    },
}

impl Input {
    pub fn files(paths: Vec<PathBuf>) -> Result<Self, WatchError> {
        Watcher::new(paths).map(|files| Self::Files(Box::new(files)))
    }

    /// `home` is the namespace that gateway-agent runs in, `node` the agent's own; without other addresses it has those that the cluster knows.
    pub fn cluster(client: kube::Client, home: &str, node: &Node) -> Self {
        Self::Cluster {
            own_node: Box::new(OwnNode::follow(&client, &node.name)),
            takes_addresses: node.gateway_addresses.is_empty(),
            cluster: Box::new(Cluster::follow(client, Role::Agent, home)),
        }
    }

    /// Waits until a look is due; may also come back without a change. Can be cancelled.
    pub async fn changed(&mut self) -> Result<(), WatchError> {
        match self {
            Self::Files(files) => files.changed().await,
            Self::Cluster { cluster, own_node, .. } => {
                tokio::select! {
                    () = cluster.changed() => {}
                    () = own_node.changed() => {}
                }
                Ok(())
            }
        }
    }

    /// Gives the compiler what changed since the last look. True if that changes any object.
    pub fn look(&mut self, compiler: &mut Compiler) -> Result<bool, WatchError> {
        match self {
            Self::Files(files) => files.look().map(|found| compiler.update(found)),
            Self::Cluster { cluster, own_node, takes_addresses } => {
                let other_addresses =
                    *takes_addresses && compiler.set_gateway_addresses(own_node.addresses().collect());
                Ok(compiler.apply(cluster.changes()) | other_addresses)
            }
        }
    }

    /// All objects that there are were seen, so that what follows from them may be applied.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::Files(_) => true,
            Self::Cluster { cluster, own_node, .. } => cluster.is_complete() && own_node.is_complete(),
        }
    }

    /// For each kind, by its CRD's name, up to which resourceVersion everything was given to the compiler; None for files
    /// and while changes are held back.
    pub fn reached(&self) -> Option<BTreeMap<String, String>> {
        match self {
            Self::Files(_) => None,
            Self::Cluster { cluster, .. } => cluster.reached(),
        }
    }

    /// What the cluster says of the agent's own node.
    pub fn own_node(&self) -> Option<&OwnNode> {
        match self {
            Self::Files(_) => None,
            Self::Cluster { own_node, .. } => Some(own_node),
        }
    }

    /// Whether a cluster can be read.
    pub fn is_reachable(&self) -> bool {
        match self {
            Self::Files(_) => true,
            Self::Cluster { cluster, .. } => cluster.is_reachable(),
        }
    }

    /// Whether what is wrong with objects is ours to tell: in a cluster the controller does, which sees Secrets too.
    pub fn judges_objects(&self) -> bool {
        matches!(self, Self::Files(_))
    }

    /// What is wrong with the source itself. Files that are being written for longer than `patience` count.
    pub fn problems(&self, patience: Duration) -> Vec<(Origin, String)> {
        match self {
            Self::Files(files) => {
                let open = files.open_longer_than(patience);
                open.iter().map(|file| (Origin::File, still_open(file, patience))).collect()
            }
            Self::Cluster { cluster, own_node, .. } => {
                let problems = cluster.problems().into_iter().chain(own_node.problems());
                problems.map(|problem| (Origin::Cluster, problem)).collect()
            }
        }
    }
}

fn still_open(file: &Path, patience: Duration) -> String {
    format!(
        "{}: somebody has been writing it for more than {} s; close it (until then, or until nothing was written for {} s, \
         it counts as it was before)",
        file.display(),
        patience.as_secs(),
        WRITER_PAUSE.as_secs()
    )
}
