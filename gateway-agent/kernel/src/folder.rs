//! The pin folder: one agent's at a time, and what lies where in it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::load::OpenError;
use crate::store::maps_folder;
use crate::{attach, sys};

pub(crate) const STAGES_PREFIX: &str = "stages-";

/// Makes the folder and locks it.
pub(crate) fn open(pin: &Path) -> Result<Lock, OpenError> {
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
pub(crate) fn lock(pin: &Path) -> io::Result<Option<Lock>> {
    let folder = File::open(pin)?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(Lock(folder))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Keeps other agents and `detach` away from a pin folder until it is dropped.
pub(crate) struct Lock(File);

impl Drop for Lock {
    /// Closing the file would not do: a child that another thread is about to start has a copy of it until it executes
    /// its program, and the lock lasts as long as any copy (flock(2)).
    fn drop(&mut self) {
        // Only a file that is no longer open can't be unlocked.
        let _ = self.0.unlock();
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

#[cfg(test)]
mod tests {
    use super::lock;

    #[test]
    fn a_lock_ends_whoever_has_a_copy_of_its_file() {
        let pin = tempfile::tempdir().unwrap();
        let held = lock(pin.path()).unwrap().unwrap();
        assert!(lock(pin.path()).unwrap().is_none(), "somebody holds it");
        let _copy = held.0.try_clone().unwrap();
        drop(held);
        assert!(lock(pin.path()).unwrap().is_some());
    }
}
