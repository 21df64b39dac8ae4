//! A real Kubernetes cluster on one machine, for tests and development: API server, kubelets, containerd, CNI, DNS.
//!
//! A [`Cluster`] is a set of machines made of namespaces (`machine`) on one link without a way out (`network`): one for
//! the control plane, one for each node, and a network of its own for a client outside. Each has its own processes,
//! mounts, cgroups and BPF file system, so host paths behave as on separate hosts, and killing a machine's first
//! process ends all that it has. Nothing of the machine that this runs on is changed; `down` leaves nothing behind,
//! also of a cluster whose start was interrupted.
//!
//! Programs come from package registries only: Kubernetes, etcd and `CoreDNS` are Go modules (`go`, `programs`), images
//! are written without a container engine (`image`), containerd, runc and CNI plugins are the distribution's.

mod cgroups;
mod cluster;
mod cni;
mod control_plane;
mod digest;
mod down;
mod error;
pub mod go;
pub mod image;
mod kubectl;
mod limits;
mod lock;
mod machine;
mod mounts;
mod network;
mod node;
mod outages;
mod pki;
mod programs;
mod spec;
mod state;

pub use cluster::Cluster;
pub use cni::has_cni_plugins;
pub use error::ClusterError;
pub use kubectl::Kubectl;
pub use lock::Lock;
pub use programs::{PROBE_IMAGE, Programs};
pub use spec::{Address, Cni, Crds, KubeProxy, Name, NodeSpec, Nodes, Spec};
