//! Whether the maps of an earlier agent can be taken over.

use std::fs;
use std::path::Path;

use aya::maps::{Array, Map, MapData, MapInfo};
use gateway_common::maps::{LAYOUT, PORT_GROUP, Settings};

use crate::load::OpenError;
use crate::options::{Options, Sizes};
use crate::store::{MAPS, MapKind, maps_folder};

/// What an earlier agent has pinned.
pub(crate) enum Found {
    Nothing,
    /// Maps that can be taken over.
    Ours(Settings),
    /// Maps that can't, and why.
    Others(String),
}

/// What an agent left that died before it had made all its maps is removed: no link can use it.
pub(crate) fn found(options: &Options) -> Result<Found, OpenError> {
    let folder = maps_folder(&options.pin);
    let infos: Vec<_> = MAPS.iter().map(|map| MapInfo::from_pin(folder.join(map.name)).ok()).collect();
    let settings = match infos.last() {
        Some(Some(info)) if info.value_size() as usize != size_of::<Settings>() => {
            return Ok(Found::Others("its maps have another layout".to_owned()));
        }
        Some(Some(_)) => read_settings(&options.pin)?,
        _ => None,
    };
    let Some(settings) = settings else {
        for map in MAPS.iter().filter(|map| folder.join(map.name).exists()) {
            let path = folder.join(map.name);
            fs::remove_file(&path).map_err(|cause| OpenError::Folder { path, cause })?;
        }
        return Ok(Found::Nothing);
    };
    let difference = differing_settings(&settings, options).or_else(|| {
        MAPS.iter().zip(&infos).find_map(|(map, info)| differing_map(map, info.as_ref(), &options.sizes))
    });
    Ok(difference.map_or(Found::Ours(settings), Found::Others))
}

fn differing_settings(settings: &Settings, options: &Options) -> Option<String> {
    if settings.layout != LAYOUT {
        return Some(format!("its maps have layout {}, and ours is {LAYOUT}", settings.layout));
    }
    let ports = (u32::from(options.snat_ports.first()), options.snat_ports.groups());
    let differs = (settings.snat_first_port, settings.snat_groups) != ports;
    differs.then(|| {
        let last = settings.snat_first_port + settings.snat_groups * PORT_GROUP - 1;
        format!("its flows use the SNAT ports {}-{last}", settings.snat_first_port)
    })
}

fn differing_map(map: &MapKind, info: Option<&MapInfo>, sizes: &Sizes) -> Option<String> {
    let Some(info) = info else { return Some(format!("its map {} is missing", map.name)) };
    if info.value_size() as usize != map.value_bytes {
        return Some(format!("its map {} has values of another layout", map.name));
    }
    let (found, wanted) = (info.max_entries(), (map.entries)(sizes));
    (found != wanted).then(|| format!("its map {} has {found} entries, and ours {wanted}", map.name))
}

/// None: they were never written.
fn read_settings(pin: &Path) -> Result<Option<Settings>, OpenError> {
    let error = |cause| OpenError::Map { what: "settings", cause };
    let map = MapData::from_pin(maps_folder(pin).join("settings")).map_err(error)?;
    let map = Array::<_, Settings>::try_from(Map::Array(map)).map_err(error)?;
    let settings = map.get(&0, 0).map_err(error)?;
    Ok((settings.layout != 0).then_some(settings))
}
