//! A cluster of a test's own, with what the suite needs in it.

use cluster::{Cluster, Crds, Lock, Programs, Spec, go};

use crate::ConformanceError;
use crate::suite::{Channel, Release, Suite};

/// Taken down when it is dropped.
#[derive(Debug)]
pub struct Stage {
    pub suite: Suite,
    pub programs: Programs,
    pub cluster: Cluster,
    /// Another checkout may run the same test.
    _lock: Lock,
}

impl Stage {
    /// With the suite's CRDs, those of the experimental channel, and its images, but without an implementation.
    pub fn set(spec: Spec) -> Result<Self, ConformanceError> {
        let go = go::find().ok_or_else(|| ConformanceError::NotReady {
            missing: "there is no Go".into(),
            fix: "`cargo xtask cluster up` installs it".into(),
        })?;
        let programs = Programs::prepare(&go)?;
        let suite = Suite::prepare(Release::V1_6, &go, &programs)?;
        let lock = Lock::take(&spec.name, "test")?;
        // What a killed run left has objects in it.
        Cluster::down(&spec.name)?;
        let spec = Spec { crds: Crds::None, ..spec };
        let stage = Self { suite, cluster: Cluster::up(&spec, &programs)?, programs, _lock: lock };
        stage.suite.install_crds(&stage.cluster.kubectl(), Channel::Experimental)?;
        stage.cluster.load_images(&stage.suite.images)?;
        Ok(stage)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = Cluster::down(&self.cluster.spec().name) {
            eprintln!("the cluster stays: {error}");
        }
    }
}
