//! What changes while clients ask, in turns.

use std::time::Duration;

use anyhow::Result;

use super::HttpStage;

/// From an endpoint's first sign that it leaves to its end: several times what the proxy needs to learn of it.
pub(super) const PRE_STOP: Duration = Duration::from_millis(500);

/// How long a dead endpoint stays listed: a kubelet takes longer, and more requests meet it then.
pub(super) const UNNOTICED: Duration = Duration::from_millis(300);

/// What may happen to the gateway and its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Weights,
    Routes,
    /// A pod ends in order, and comes back.
    Leaves,
    /// A pod is killed, and comes back.
    Dies,
    /// The proxy is replaced.
    Proxy,
}

/// Two Services, so that weights matter, with two pods each, so that one of them may leave.
pub(super) const SERVICES: &[(&str, u32, &[&str])] =
    &[("stable", 3, &["pod1", "pod3"]), ("canary", 1, &["pod2", "pod4"])];

impl Change {
    /// Makes the change, and waits until it is made.
    pub(super) fn make(self, stage: &mut HttpStage, turn: usize) -> Result<()> {
        let (service, _, pods) = SERVICES[turn % SERVICES.len()];
        let pod = pods[turn / SERVICES.len() % pods.len()];
        match self {
            Self::Weights => stage.change(|objects| {
                for (index, (_, weight)) in objects.weights.iter_mut().enumerate() {
                    // Each of them is 0 at times, never both.
                    *weight = u32::try_from((turn + 2 * index) % 4).unwrap_or_default();
                }
            }),
            Self::Routes => stage.change(|objects| objects.version += 1),
            Self::Leaves => stage.leave_and_return(service, pod),
            Self::Dies => stage.die_and_return(service, pod),
            Self::Proxy => stage.replace_proxy(),
        }
    }
}
