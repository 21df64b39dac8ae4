//! What a cluster has on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ClusterError;
use crate::pki::Pki;
use crate::programs::Programs;
use crate::spec::{Name, Spec};

/// On disk, not in /run, which is memory: images and etcd's data take gigabytes.
const FOLDER: &str = "/var/lib/gateway-cluster";

/// The folder of one cluster. What runs is asked of the kernel, never of it.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

/// What a cluster is started by, and later commands must know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) spec: Spec,
    pub(crate) programs: Programs,
}

impl Plan {
    /// That of the cluster of this name, if it was ever started.
    pub(crate) fn read(name: &Name) -> Option<Self> {
        serde_json::from_slice(&fs::read(Folder::of(name).plan()).ok()?).ok()
    }

    pub(crate) fn write(&self) -> Result<(), ClusterError> {
        let path = self.folder().plan();
        self.folder().folder("")?;
        let text = serde_json::to_string_pretty(self).map_err(io::Error::other);
        text.and_then(|text| fs::write(&path, text))
            .map_err(ClusterError::system(format!("write {}", path.display())))
    }

    pub(crate) fn folder(&self) -> Folder {
        Folder::of(&self.spec.name)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.folder().0.join("logs")
    }

    pub(crate) fn pki(&self) -> Pki {
        Pki::at(&self.folder().0.join("pki"), &self.spec)
    }
}

impl Folder {
    pub(crate) fn of(name: &Name) -> Self {
        Self(Path::new(FOLDER).join(name.to_string()))
    }

    /// Names of all clusters that have one.
    pub(crate) fn all() -> Vec<Name> {
        let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// A folder below it, which exists afterwards.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, ClusterError> {
        let path = self.0.join(name);
        fs::create_dir_all(&path).map_err(ClusterError::system(format!("create {}", path.display())))?;
        Ok(path)
    }

    pub(crate) fn remove(&self) -> Result<(), ClusterError> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ClusterError::system(format!("remove {}", self.0.display()))(error))
            }
            _ => {
                // The last one takes the common folder along; with others in it this fails, as it should.
                let _ = fs::remove_dir(FOLDER);
                Ok(())
            }
        }
    }

    fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }
}
