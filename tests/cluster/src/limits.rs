//! What the kernel grants all processes of one user together, which clusters on one machine share.

use std::fs;
use std::path::Path;

use crate::ClusterError;
use crate::spec::Spec;

/// Of Linux's default of 128 (inotify(7)); counted on Kubernetes 1.35 and containerd 1.6.
const CONTROL_PLANE_INSTANCES: usize = 8;
const NODE_INSTANCES: usize = 9;

const SETTING: &str = "/proc/sys/fs/inotify/max_user_instances";

/// Without an inotify instance to be had kubelets end, and say so in their logs alone.
pub(crate) fn check(spec: &Spec) -> Result<(), ClusterError> {
    let Some(limit) = fs::read_to_string(SETTING).ok().and_then(|text| text.trim().parse::<usize>().ok())
    else {
        return Ok(());
    };
    let used = inotify_instances();
    let needed = CONTROL_PLANE_INSTANCES + NODE_INSTANCES * spec.nodes().count();
    if used + needed <= limit {
        return Ok(());
    }
    Err(ClusterError::Invalid(format!(
        "cluster {} needs about {needed} inotify instances, and {used} of {limit} are taken: end other clusters, or \
         `sysctl fs.inotify.max_user_instances={}`",
        spec.name,
        (used + needed).next_power_of_two(),
    )))
}

/// Of all processes that can be seen; nearly all are root's.
fn inotify_instances() -> usize {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let is_inotify =
        |path: &Path| fs::read_link(path).is_ok_and(|link| link == Path::new("anon_inode:inotify"));
    let descriptors = entries(Path::new("/proc")).flat_map(|process| entries(&process.path().join("fd")));
    descriptors.filter(|descriptor| is_inotify(&descriptor.path())).count()
}
