//! The pin folder: one agent's at a time, and what lies where in it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::load::OpenError;
use crate::store::maps_folder;
use crate::{attach, sys};

pub(crate) const STAGES_PREFIX: &str = "stages-";

/// Makes the folder and locks it.
pub(crate) fn open(pin: &Path) -> Result<File, OpenError> {
    let error = |cause| OpenError::Folder { path: pin.to_owned(), cause };
    let existing = pin.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    if !sys::is_bpffs(existing).map_err(error)? {
        return Err(OpenError::NotBpffs { pin: pin.to_owned() });
    }
    fs::create_dir_all(pin).map_err(error)?;
    let lock = lock(pin).map_err(error)?.ok_or_else(|| OpenError::InUse { pin: pin.to_owned() })?;
    make_within(pin)?;
    Ok(lock)
}

pub(crate) fn make_within(pin: &Path) -> Result<(), OpenError> {
    for folder in [maps_folder(pin), attach::links_folder(pin)] {
        fs::create_dir_all(&folder).map_err(|cause| OpenError::Folder { path: folder, cause })?;
    }
    Ok(())
}

/// None: somebody else holds it.
pub(crate) fn lock(pin: &Path) -> io::Result<Option<File>> {
    let folder = File::open(pin)?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Numbers of the pinned program arrays, in ascending order.
pub(crate) fn generations(pin: &Path) -> Result<Vec<u32>, OpenError> {
    let error = |cause| OpenError::Folder { path: pin.to_owned(), cause };
    let mut found = Vec::new();
    for entry in fs::read_dir(pin).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        found.extend(name.to_str().and_then(|name| name.strip_prefix(STAGES_PREFIX)?.parse::<u32>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

pub(crate) fn stages_path(pin: &Path, generation: u32) -> PathBuf {
    pin.join(format!("{STAGES_PREFIX}{generation}"))
}
