//! Removing everything that an agent pinned.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use crate::attach::{self, AttachError, links_folder};
use crate::folder::{generations, lock, stages_path};
use crate::steer::{self, Process};
use crate::store::{Access, MAPS, Store, maps_folder};
use crate::{OpenError, former, sys};

/// What [`detach`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Detached {
    /// Devices that the programs no longer see, by ifindex.
    pub links: Vec<u32>,
    pub maps: usize,
    /// Program arrays.
    pub stages: usize,
    /// Connections were steered to the proxy.
    pub steering: bool,
    /// The proxy that they were steered to, if an agent had started it; whoever detaches ends it.
    pub proxy: Option<Process>,
}

/// Why not everything was removed. What comes before it is.
#[derive(Debug, Error)]
pub enum DetachError {
    #[error("nothing is pinned in {}", pin.display())]
    Nothing { pin: PathBuf },
    #[error("{} is on no BPF file system, so nothing of ours is there", pin.display())]
    NotBpffs { pin: PathBuf },
    #[error("an agent feeds {}; stop it first", pin.display())]
    InUse { pin: PathBuf },
    #[error("{} can't be removed: {cause}", path.display())]
    Remove { path: PathBuf, cause: io::Error },
    #[error(transparent)]
    Link(#[from] AttachError),
    #[error(transparent)]
    Folder(#[from] OpenError),
}

/// Removes links, program arrays, maps and the folder. Flows end: the node treats their packets as any others.
pub fn detach(pin: &Path) -> Result<Detached, DetachError> {
    if !pin.exists() {
        return Err(DetachError::Nothing { pin: pin.to_owned() });
    }
    let error = |cause| DetachError::Remove { path: pin.to_owned(), cause };
    if !sys::is_bpffs(pin).map_err(error)? {
        return Err(DetachError::NotBpffs { pin: pin.to_owned() });
    }
    let _lock = lock(pin).map_err(error)?.ok_or_else(|| DetachError::InUse { pin: pin.to_owned() })?;

    let mut detached = Detached::default();
    if links_folder(pin).exists() {
        for ifindex in attach::attached(pin)? {
            attach::unlink(&attach::link_path(pin, ifindex))?;
            detached.links.push(ifindex);
        }
    }
    detached.steering = steer::detach(pin)?;
    // Maps of another layout, or half of them: no agent that could have started one knows them.
    let proxy =
        Store::open(pin, Access::ReadOnly).ok().and_then(|store| steer::process(&store).ok()).flatten();
    detached.proxy = proxy.or_else(|| former::proxy(pin));
    for generation in generations(pin)? {
        remove(fs::remove_file, stages_path(pin, generation))?;
        detached.stages += 1;
    }
    for map in &MAPS {
        detached.maps += usize::from(remove(fs::remove_file, maps_folder(pin).join(map.name))?);
    }
    former::give_up(pin)?;
    for folder in [links_folder(pin), maps_folder(pin), pin.to_owned()] {
        remove(fs::remove_dir, folder)?;
    }
    Ok(detached)
}

/// False: it isn't there.
fn remove(how: fn(PathBuf) -> io::Result<()>, path: PathBuf) -> Result<bool, DetachError> {
    match how(path.clone()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(DetachError::Remove { path, cause }),
    }
}
