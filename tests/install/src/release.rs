//! gateway-agent in a cluster, as its users install it.

use std::path::Path;

use cluster::{Cluster, Kubectl};
use conformance::Addresses;

use crate::{Chart, InstallError, NAMESPACE, checkout};

/// Pods start in seconds; a machine that builds takes its time.
const PATIENCE: &str = "--timeout=180s";

const WORKLOADS: [&str; 2] = ["daemonset/gateway-agent", "deployment/gateway-agent-controller"];

/// Puts the agent of `image` into a cluster that has the Gateway API's CRDs, or replaces the one that is there. Its pods
/// are ready afterwards.
pub fn install(
    cluster: &Cluster,
    chart: &Chart,
    image: &Path,
    settings: &[String],
) -> Result<(), InstallError> {
    cluster.load_images(&[image])?;
    apply(cluster, chart, settings)
}

/// Applies the chart with these settings, all of whose images are there. Pods are ready afterwards, and new ones.
pub fn apply(cluster: &Cluster, chart: &Chart, settings: &[String]) -> Result<(), InstallError> {
    let kubectl = cluster.kubectl();
    // A GatewayConfig can't be made in the same breath as its kind.
    let crds = checkout("deploy/crds").display().to_string();
    kubectl.run(&["apply", "--filename", &crds])?;
    kubectl.run(&["wait", "--for=condition=Established", "--filename", &crds, PATIENCE])?;
    let before = WORKLOADS.map(|workload| generation(&kubectl, workload));
    let settings: Vec<_> = settings.iter().map(String::as_str).collect();
    kubectl.apply(&chart.manifests(&settings)?)?;
    for (workload, before) in WORKLOADS.into_iter().zip(before) {
        if before.is_some() && before == generation(&kubectl, workload) {
            // Another build has the same name.
            kubectl.run(&["--namespace", NAMESPACE, "rollout", "restart", workload])?;
        }
    }
    for workload in WORKLOADS {
        kubectl.run(&["--namespace", NAMESPACE, "rollout", "status", workload, PATIENCE])?;
    }
    Ok(())
}

/// How often it was changed; None: it is not there.
fn generation(kubectl: &Kubectl, workload: &str) -> Option<String> {
    kubectl.run(&["--namespace", NAMESPACE, "get", workload, "--output=jsonpath={.metadata.generation}"]).ok()
}

/// Settings that give the suite's Gateways their addresses.
pub fn for_suite(addresses: &Addresses) -> Vec<String> {
    let set = |name: &str, value: &str| format!("gatewayConfig.addresses.{name}={value}");
    let [first, last] =
        [addresses.pool.first(), addresses.pool.last()].map(|it| it.map_or("", String::as_str));
    vec![
        set("mode", "Pool"),
        set("pools[0].name", "suite"),
        set("pools[0].ranges[0]", &format!("{first}-{last}")),
        set("pools[1].name", "on-request"),
        set("pools[1].ranges[0]", &addresses.usable),
        set("pools[1].autoAssign", "false"),
    ]
}
