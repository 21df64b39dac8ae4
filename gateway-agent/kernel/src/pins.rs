//! A read-only view of a pin folder.

use std::fmt;
use std::path::{Path, PathBuf};

use aya::maps::MapError;
use gateway_common::maps::LAYOUT;
use serde::Serialize;
use thiserror::Error;

use crate::flows::{self, Flow};
use crate::folder::generations;
use crate::stats::{self, Stats};
use crate::store::{Access, Store, StoreError, maps_folder};
use crate::{AttachError, OpenError, attach, sys};

/// What an agent, alive or dead, has pinned.
pub struct Pins {
    pin: PathBuf,
    store: Store,
}

/// Why a pin folder can't be read.
#[derive(Debug, Error)]
pub enum PinsError {
    #[error("nothing is pinned in {}; name the folder of `gateway-agent run --pin`", pin.display())]
    Nothing { pin: PathBuf },
    #[error("the maps in {} have another layout than this version's ({LAYOUT}); use the version that made them", pin.display())]
    OtherLayout { pin: PathBuf },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("map {map}: {}", crate::one_line(cause))]
    Map { map: &'static str, cause: MapError },
    #[error(transparent)]
    Folder(#[from] OpenError),
    #[error(transparent)]
    Links(#[from] AttachError),
}

/// A pin folder in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Version of the maps' layout.
    pub layout: u32,
    /// Number of the programs' generation; each start of an agent begins one.
    pub generation: u32,
    /// Places for flows; 0.6 of them are promised.
    pub flow_places: u64,
    pub flows: u64,
    /// Devices that the programs see, by ifindex.
    pub links: Vec<u32>,
}

impl Pins {
    pub fn open(pin: &Path) -> Result<Self, PinsError> {
        if !maps_folder(pin).join("settings").exists() {
            return Err(PinsError::Nothing { pin: pin.to_owned() });
        }
        let store = Store::open(pin, Access::ReadOnly)?;
        let settings =
            store.settings.get(&0, 0).map_err(|cause| PinsError::Map { map: "settings", cause })?;
        if settings.layout != LAYOUT {
            return Err(PinsError::OtherLayout { pin: pin.to_owned() });
        }
        Ok(Self { pin: pin.to_owned(), store })
    }

    /// All counters, with the names that the agent gave last.
    pub fn stats(&self) -> Result<Stats, PinsError> {
        stats::read(&self.store)
    }

    /// Live flows, in the table's order. One that begins or ends meanwhile may be missing.
    pub fn flows(&self) -> Vec<Flow> {
        flows::live(&self.store.forward, &self.store.slots, sys::tick()).collect()
    }

    pub fn summary(&self) -> Result<Summary, PinsError> {
        Ok(Summary {
            layout: LAYOUT,
            generation: generations(&self.pin)?.last().copied().unwrap_or(0),
            flow_places: self.store.forward.len() as u64,
            flows: flows::count(&self.store.forward, sys::tick()),
            links: attach::attached(&self.pin)?,
        })
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pins").field("pin", &self.pin).finish_non_exhaustive()
    }
}
