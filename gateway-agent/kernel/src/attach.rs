//! Links between devices and the entry program, pinned so that packets flow without an agent.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, MapData, MapError};
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use aya::util::KernelVersion;
use gateway_common::maps::{self, device_flags};
use thiserror::Error;

use crate::address::mapped;
use crate::{former, sys};

/// A network device whose arriving packets the programs see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub ifindex: u32,
    pub name: String,
    /// Where routes for its packets are looked up: itself, or its bridge.
    pub l3_ifindex: u32,
    /// Frames to other addresses are not ours.
    pub mac: [u8; 6],
    pub kind: DeviceKind,
    /// Preferred source of packets that leave here, if the device has an address of that family.
    pub source_v4: Option<Ipv4Addr>,
    pub source_v6: Option<Ipv6Addr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    Ordinary,
    /// On a link with others: neighbours ask there for pool addresses, and clients' packets may be handed on from there.
    Uplink,
    /// A veth whose peer is in another network namespace: packets can be handed to the peer directly.
    Pod,
}

/// Why a device is not attached or detached.
#[derive(Debug, Error)]
pub enum AttachError {
    #[error("device {name} (ifindex {ifindex}) has vanished")]
    Vanished { name: String, ifindex: u32 },
    #[error("device {name}: Linux {kernel} has no tcx hooks; 6.6 or newer is needed")]
    NoTcx { name: String, kernel: String },
    #[error("device {name}: {}", crate::one_line(cause))]
    Program { name: String, cause: ProgramError },
    #[error("link {}: {}", path.display(), crate::one_line(cause))]
    Link { path: PathBuf, cause: LinkError },
    #[error("link {} can't be pinned: {}", path.display(), crate::one_line(cause))]
    Pin { path: PathBuf, cause: aya::pin::PinError },
    #[error("map devices, entry {ifindex}: {}", crate::one_line(cause))]
    Map { ifindex: u32, cause: MapError },
    #[error("{}: {cause}", path.display())]
    Folder { path: PathBuf, cause: io::Error },
    #[error("the object has no entry program; build it again: `cargo xtask build`")]
    NoProgram,
}

type Devices = HashMap<MapData, u32, maps::Device>;

pub(crate) fn links_folder(pin: &Path) -> PathBuf {
    pin.join("links")
}

pub(crate) fn link_path(pin: &Path, ifindex: u32) -> PathBuf {
    links_folder(pin).join(ifindex.to_string())
}

/// Ifindexes of pinned links, in ascending order.
pub(crate) fn attached(pin: &Path) -> Result<Vec<u32>, AttachError> {
    let folder = links_folder(pin);
    let error = |cause| AttachError::Folder { path: folder.clone(), cause };
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(error)? {
        found.extend(entry.map_err(error)?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// The map entry comes first: a program that finds none for its device lets packets pass.
pub(crate) fn attach(
    pin: &Path,
    program: &mut SchedClassifier,
    devices: &mut Devices,
    device: &Device,
) -> Result<(), AttachError> {
    let ifindex = device.ifindex;
    let mut insert = |ifindex, entry| {
        devices.insert(ifindex, entry, 0).map_err(|cause| AttachError::Map { ifindex, cause })
    };
    if device.l3_ifindex != ifindex {
        // Packets leave by the bridge, and answers come in by its ports.
        insert(device.l3_ifindex, maps::Device { flags: 0, ..entry(device) })?;
    }
    insert(ifindex, entry(device))?;
    if replace(pin, program, ifindex)? {
        return Ok(());
    }
    // Looked up last, since the device may have been renamed.
    let Some(name) = sys::device_name(ifindex) else {
        remove_entry(devices, ifindex)?;
        return Err(AttachError::Vanished { name: device.name.clone(), ifindex });
    };
    create(pin, program, ifindex, &name)
}

pub(crate) fn detach(pin: &Path, devices: &mut Devices, ifindex: u32) -> Result<(), AttachError> {
    unlink(&link_path(pin, ifindex))?;
    remove_entry(devices, ifindex)?;
    remove_others(devices, &attached(pin)?)
}

/// Puts the program into every pinned link. Links and entries of devices that have vanished are removed.
pub(crate) fn replace_all(
    pin: &Path,
    program: &mut SchedClassifier,
    devices: &mut Devices,
) -> Result<(), AttachError> {
    let mut live = Vec::new();
    for ifindex in attached(pin)? {
        if replace(pin, program, ifindex)? {
            live.push(ifindex);
        }
    }
    remove_others(devices, &live)
}

/// Removes a pinned link, and with it the attachment, before it returns. What is open of it keeps nothing: not the
/// descriptor here, and no copy that a child has until it executes its program.
pub(crate) fn unlink(path: &Path) -> Result<(), AttachError> {
    let removed = sys::open_pinned(path).and_then(|link| {
        sys::detach_link(link.as_fd())?;
        fs::remove_file(path)
    });
    match removed {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(AttachError::Folder { path: path.to_owned(), cause })
        }
        _ => Ok(()),
    }
}

/// Puts the program into the pinned link; false: there is none, or its device has vanished.
fn replace(pin: &Path, program: &mut SchedClassifier, ifindex: u32) -> Result<bool, AttachError> {
    let path = link_path(pin, ifindex);
    let link_error = |cause| AttachError::Link { path: path.clone(), cause };
    let link = match PinnedLink::from_pin(&path) {
        Ok(link) => link,
        Err(error) if is_missing(&error) => return Ok(false),
        Err(cause) => return Err(link_error(cause)),
    };
    let link = SchedClassifierLink::try_from(FdLink::from(link)).map_err(link_error)?;
    match program.attach_to_link(link) {
        Ok(id) => {
            // Closes the descriptor; the pin keeps the link.
            program
                .take_link(id)
                .map_err(|cause| AttachError::Program { name: ifindex.to_string(), cause })?;
            Ok(true)
        }
        Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOLINK) => {
            unlink(&path)?;
            Ok(false)
        }
        Err(cause) => Err(AttachError::Program { name: ifindex.to_string(), cause }),
    }
}

fn create(pin: &Path, program: &mut SchedClassifier, ifindex: u32, name: &str) -> Result<(), AttachError> {
    check_tcx(name)?;
    let error = |cause| AttachError::Program { name: name.to_owned(), cause };
    let path = link_path(pin, ifindex);
    // An order names a link's descriptor, which has to stay open until then.
    let former = former::link(pin, ifindex)?;
    let order = former.as_ref().map_or_else(|| Ok(LinkOrder::first()), LinkOrder::after_link);
    let order = order.map_err(|cause| AttachError::Link { path: path.clone(), cause })?;
    let order = TcAttachOptions::TcxOrder(order);
    let id = program.attach_with_options(name, TcAttachType::Ingress, order).map_err(error)?;
    let link = FdLink::try_from(program.take_link(id).map_err(error)?);
    let link = link.map_err(|cause| AttachError::Link { path: path.clone(), cause })?;
    link.pin(&path).map_err(|cause| AttachError::Pin { path, cause })?;
    Ok(())
}

/// tcx came with Linux 6.6. Before, clsact filters with fixed priority and handle would do, re-owned by every agent.
fn check_tcx(name: &str) -> Result<(), AttachError> {
    if KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(6, 6, 0)) {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        return Err(AttachError::NoTcx { name: name.to_owned(), kernel: kernel.trim().to_owned() });
    }
    Ok(())
}

fn entry(device: &Device) -> maps::Device {
    let address = |a: Option<IpAddr>| a.map_or([0; 16], mapped);
    maps::Device {
        l3_ifindex: device.l3_ifindex,
        flags: match device.kind {
            DeviceKind::Ordinary => 0,
            DeviceKind::Uplink => device_flags::UPLINK,
            DeviceKind::Pod => device_flags::PEER,
        },
        mac: device.mac,
        source_v4: address(device.source_v4.map(IpAddr::V4)),
        source_v6: address(device.source_v6.map(IpAddr::V6)),
        ..maps::Device::default()
    }
}

/// Removes entries of devices that are neither attached nor the bridge of one that is.
fn remove_others(devices: &mut Devices, attached: &[u32]) -> Result<(), AttachError> {
    let known: Vec<(u32, maps::Device)> = devices.iter().filter_map(Result::ok).collect();
    let is_attached = |ifindex: &u32| attached.contains(ifindex);
    let bridges: Vec<u32> =
        known.iter().filter(|(port, _)| is_attached(port)).map(|(_, device)| device.l3_ifindex).collect();
    let others = known.iter().map(|(ifindex, _)| ifindex);
    for ifindex in others.filter(|ifindex| !is_attached(ifindex) && !bridges.contains(ifindex)) {
        remove_entry(devices, *ifindex)?;
    }
    Ok(())
}

fn remove_entry(devices: &mut Devices, ifindex: u32) -> Result<(), AttachError> {
    match devices.remove(&ifindex) {
        Ok(()) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(AttachError::Map { ifindex, cause }),
    }
}

pub(crate) fn is_missing(error: &LinkError) -> bool {
    matches!(error, LinkError::SyscallError(error) if error.io_error.kind() == io::ErrorKind::NotFound)
}
