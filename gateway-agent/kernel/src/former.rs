//! What an agent has left whose maps can't be taken over: of another layout, of other sizes, or with other ports.
//!
//! It is set aside in the folder `former` of the pin folder, where its programs go on with its maps. They stay the first at
//! their devices and pass what is no flow of theirs; ours come next. Once those are attached, the former frontends are
//! removed: newcomers are ours alone, and former flows go on until they are given up. Nothing of this reads a former value,
//! so it holds whatever the layout was.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::SchedClassifierLink;
use gateway_common::maps::{Lease, Proxy};

use crate::attach::{self, AttachError};
use crate::folder::STAGES_PREFIX;
use crate::load::OpenError;
use crate::steer::{self, Process};
use crate::store::maps_folder;
use crate::sys;

/// Where newcomers, and questions for pool addresses, are looked up.
const FOR_NEWCOMERS: [&str; 2] = ["frontends", "pool"];

fn folder(pin: &Path) -> PathBuf {
    pin.join("former")
}

/// Moves all but itself there. What was set aside before is given up.
pub(crate) fn set_aside(pin: &Path) -> Result<(), OpenError> {
    let former = folder(pin);
    let error = |cause| OpenError::Folder { path: former.clone(), cause };
    // Maps come last. Without them, somebody died who was about to do this.
    if maps_folder(&former).exists() {
        give_up(pin)?;
    }
    fs::create_dir_all(&former).map_err(error)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(pin).map_err(error)? {
        names.push(entry.map_err(error)?.file_name());
    }
    let is_moved = |name: &str| name == "links" || name == "steer" || name.starts_with(STAGES_PREFIX);
    let moved = names.iter().filter(|name| name.to_str().is_some_and(is_moved));
    for name in moved.map(Path::new).chain([Path::new("maps")]) {
        fs::rename(pin.join(name), former.join(name)).map_err(error)?;
    }
    Ok(())
}

/// How long ago it was set aside; None: nothing is.
pub(crate) fn age(pin: &Path) -> Option<Duration> {
    let since = fs::metadata(folder(pin)).and_then(|metadata| metadata.modified()).ok()?;
    // A clock that was set back makes it new.
    Some(since.elapsed().unwrap_or_default())
}

/// The link at a device, after which ours has to come.
pub(crate) fn link(pin: &Path, ifindex: u32) -> Result<Option<SchedClassifierLink>, AttachError> {
    let path = attach::link_path(&folder(pin), ifindex);
    let link = match PinnedLink::from_pin(&path) {
        Ok(link) => FdLink::from(link),
        Err(error) if attach::is_missing(&error) => return Ok(None),
        Err(cause) => return Err(AttachError::Link { path, cause }),
    };
    SchedClassifierLink::try_from(link).map(Some).map_err(|cause| AttachError::Link { path, cause })
}

/// Leaves it nothing but its flows.
pub(crate) fn take_newcomers(pin: &Path) -> Result<(), OpenError> {
    for name in FOR_NEWCOMERS {
        let path = maps_folder(&folder(pin)).join(name);
        match sys::empty_hash(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::Folder { path, cause: error });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether its program still chooses sockets. As long as it finds one, ours is not heard.
pub(crate) fn is_steering(pin: &Path) -> bool {
    steer::link_path(&folder(pin)).exists()
}

/// Connections that its proxy has accepted go on.
pub(crate) fn end_steering(pin: &Path) -> Result<(), AttachError> {
    steer::detach(&folder(pin)).map(drop)
}

/// The proxy that it started.
pub(crate) fn proxy(pin: &Path) -> Option<Process> {
    steer::process_of(&only::<Proxy>(pin, "proxy")?)
}

/// How long its node announces pool addresses.
pub(crate) fn lease(pin: &Path) -> Option<Lease> {
    only(pin, "lease")
}

/// The value of a map of one, if its form is as large as ours: these have never been others.
fn only<T: aya::Pod>(pin: &Path, name: &str) -> Option<T> {
    let map = MapData::from_pin(maps_folder(&folder(pin)).join(name)).ok()?;
    Array::<_, T>::try_from(Map::Array(map)).ok()?.get(&0, 0).ok()
}

/// Removes it, and with it its flows.
pub(crate) fn give_up(pin: &Path) -> Result<(), OpenError> {
    let former = folder(pin);
    let error = |cause| OpenError::Folder { path: former.clone(), cause };
    if attach::links_folder(&former).exists() {
        for ifindex in attach::attached(&former)? {
            attach::unlink(&attach::link_path(&former, ifindex))?;
        }
    }
    steer::detach(&former)?;
    match fs::remove_dir_all(&former) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(error(cause)),
        _ => Ok(()),
    }
}
