//! Which pool addresses this node announces, and for how long: written several times a second by a thread of its own,
//! so that no work of the agent delays it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions};
use gateway_common::maps::{self, Address, Lease, PoolAddress, TICK_SHIFT, WAYS, device_flags};
use gateway_common::neighbour::{arp_announcement, unsolicited_advertisement, words};
use thiserror::Error;

use crate::address::{mapped, unmapped};
use crate::learn::{ENDPOINT_WORDS, LEARN};
use crate::mmap::Words;
use crate::peers::PeerMacs;
use crate::store::{self, Access, Slots, maps_folder};
use crate::{Kernel, OpenError, former, sys};

/// The maps `pool` and `lease`, the program that sends announcements, and what there is to tell and to learn of flows when
/// an address moves (`learn`).
pub struct Announcements {
    pub(crate) programs: Ebpf,
    pool: HashMap<MapData, Address, PoolAddress>,
    lease: Array<MapData, Lease>,
    /// Of maps that were set aside.
    former: Option<Lease>,
    devices: HashMap<MapData, u32, maps::Device>,
    pub(crate) peer_macs: PeerMacs,
    pub(crate) endpoints: Words,
    pub(crate) forward: Words,
    pub(crate) slots: Slots,
}

/// Who announces a pool address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Another node.
    Elsewhere,
    /// This one. If it didn't before, nobody can be asked, and what it remembers is the best there is.
    Here,
    /// This one from now on, so that what it handed on before decides nothing. For so long, or until
    /// [`Announcements::settle`], packets of flows that aren't known wait.
    Arriving { segments: Duration, datagrams: Duration },
}

/// What could not be announced.
#[derive(Debug, Error)]
pub enum AnnounceError {
    #[error("map {map}: {}", crate::one_line(cause))]
    Map { map: &'static str, cause: MapError },
    #[error("{address} can't be announced through device {ifindex}: {}", crate::one_line(cause))]
    Send { address: IpAddr, ifindex: u32, cause: ProgramError },
    #[error("{address} can't be announced through device {ifindex}: the kernel answers {answer}")]
    Refused { address: IpAddr, ifindex: u32, answer: i32 },
    #[error("the flow of {client} can't be learnt: {}", crate::one_line(cause))]
    Learn { client: SocketAddr, cause: ProgramError },
    #[error("the object has no program {0}; build it again: `cargo xtask build`")]
    NoProgram(&'static str),
}

/// How long a node may announce without saying so again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// Not at all, from now on.
    Over,
    /// Rounded down to ticks of 67 ms.
    For(Duration),
    /// Until somebody says otherwise: no other node could take over.
    Endless,
}

const ANNOUNCE: &str = "announce";

impl Kernel {
    /// A further handle for the thread that announces.
    pub fn announcements(&self, object: &[u8]) -> Result<Announcements, OpenError> {
        let mut programs = self.load(object)?;
        for name in [ANNOUNCE, LEARN] {
            let program: &mut SchedClassifier = programs
                .program_mut(name)
                .and_then(|program| program.try_into().ok())
                .ok_or(OpenError::NoProgram(name))?;
            program.load().map_err(|cause| OpenError::Program { name, cause })?;
        }
        Announcements::open(self.pin(), programs)
            .map_err(|cause| OpenError::Map { what: "the maps of pool addresses", cause })
    }
}

impl Announcements {
    fn open(pin: &Path, programs: Ebpf) -> Result<Self, MapError> {
        let map =
            |name| MapData::from_pin(maps_folder(pin).join(name)).and_then(aya::maps::Map::from_map_data);
        Ok(Self {
            programs,
            pool: map("pool")?.try_into()?,
            lease: map("lease")?.try_into()?,
            former: former::lease(pin),
            devices: map("devices")?.try_into()?,
            peer_macs: map("peer_macs")?.try_into()?,
            endpoints: store::words(pin, "endpoints", ENDPOINT_WORDS, Access::ReadOnly)?,
            forward: store::words(pin, "forward", WAYS, Access::ReadOnly)?,
            slots: map("slots")?.try_into()?,
        })
    }

    /// Pool addresses, and who announces them. Of all others nothing is answered or dropped any more.
    pub fn set(&mut self, addresses: &BTreeMap<IpAddr, Role>) -> Result<(), AnnounceError> {
        let present = self.present()?;
        for address in present.keys().filter(|address| !addresses.contains_key(address)) {
            self.pool.remove(&mapped(*address)).map_err(of_pool)?;
        }
        for (address, role) in addresses {
            let former = present.get(address).copied();
            let until = |time: &Duration| sys::tick().wrapping_add(ticks(*time));
            let value = match role {
                Role::Elsewhere => PoolAddress::default(),
                Role::Here => match former {
                    Some(here) if here.since != 0 => here,
                    _ => PoolAddress {
                        since: not_zero(sys::tick().wrapping_sub(ENDLESS)),
                        ..PoolAddress::default()
                    },
                },
                Role::Arriving { segments, datagrams } => PoolAddress {
                    since: not_zero(sys::tick()),
                    segments_wait_until: until(segments),
                    datagrams_wait_until: until(datagrams),
                },
            };
            if former != Some(value) {
                self.pool.insert(mapped(*address), value, 0).map_err(of_pool)?;
            }
        }
        Ok(())
    }

    /// Nobody is left to be asked about an address that has arrived.
    pub fn settle(&mut self, address: IpAddr) -> Result<(), AnnounceError> {
        let Some(entry) = self.present()?.remove(&address) else { return Ok(()) };
        let settled = PoolAddress { since: entry.since, ..PoolAddress::default() };
        self.pool.insert(mapped(address), settled, 0).map_err(of_pool)
    }

    /// What this node announced when its agent came: by an agent before it whose last term still lasts.
    pub fn inherited(&self) -> Result<BTreeSet<IpAddr>, AnnounceError> {
        if !self.is_leased()? {
            return Ok(BTreeSet::new());
        }
        let announced = self.present()?.into_iter().filter(|(_, entry)| entry.since != 0);
        Ok(announced.map(|(address, _)| address).collect())
    }

    fn present(&self) -> Result<BTreeMap<IpAddr, PoolAddress>, AnnounceError> {
        let entries = self.pool.iter().map(|entry| entry.map(|(address, value)| (unmapped(address), value)));
        entries.collect::<Result<_, _>>().map_err(of_pool)
    }

    /// From now on, and until this is called again.
    pub fn set_term(&mut self, term: Term) -> Result<(), AnnounceError> {
        let ticks = match term {
            Term::Over => 0,
            Term::For(time) => ticks(time),
            Term::Endless => ENDLESS,
        };
        let lease = Lease { until: sys::tick().wrapping_add(ticks) };
        self.lease.set(0, lease, 0).map_err(|cause| AnnounceError::Map { map: "lease", cause })
    }

    /// Whether the last term that was set still lasts, by this agent or one before it.
    pub fn is_leased(&self) -> Result<bool, AnnounceError> {
        let lease = self.lease.get(&0, 0).map_err(|cause| AnnounceError::Map { map: "lease", cause })?;
        let lasts = |lease: Lease| lease.until.wrapping_sub(sys::tick()).cast_signed() > 0;
        Ok(lasts(lease) || self.former.is_some_and(lasts))
    }

    /// Tells the neighbours on every uplink that this node has the address. What fails on one is told after all others.
    pub fn send(&self, address: IpAddr) -> Result<(), AnnounceError> {
        let program = self.program(ANNOUNCE)?;
        let uplinks = self.uplinks().map_err(|cause| AnnounceError::Map { map: "devices", cause })?;
        let sent = uplinks.into_iter().map(|(ifindex, mac)| {
            let frame = frame(address, mac);
            let context = context(ifindex);
            let options =
                TestRunOptions { data_in: Some(&frame), ctx_in: Some(&context), ..TestRunOptions::default() };
            let result =
                program.test_run(options).map_err(|cause| AnnounceError::Send { address, ifindex, cause })?;
            match result.return_value.cast_signed() {
                0 => Ok(()),
                answer => Err(AnnounceError::Refused { address, ifindex, answer }),
            }
        });
        sent.fold(Ok(()), Result::and)
    }

    pub(crate) fn program(&self, name: &'static str) -> Result<&SchedClassifier, AnnounceError> {
        let program = self.programs.program(name).and_then(|program| program.try_into().ok());
        program.ok_or(AnnounceError::NoProgram(name))
    }

    /// Devices that announcements leave by, with their link addresses: those with routes, once for all their ports.
    pub fn uplinks(&self) -> Result<BTreeSet<(u32, [u8; 6])>, MapError> {
        let mut uplinks = BTreeSet::new();
        for entry in &self.devices {
            let (_, device) = entry?;
            if device.flags & device_flags::UPLINK != 0 && device.mac != [0; 6] {
                uplinks.insert((device.l3_ifindex, device.mac));
            }
        }
        Ok(uplinks)
    }
}

impl fmt::Debug for Announcements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcements").finish_non_exhaustive()
    }
}

/// Two years, far from the sign bit of a difference of ticks.
const ENDLESS: u32 = 1 << 30;

/// Rounded down.
pub(crate) fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() >> TICK_SHIFT).unwrap_or(ENDLESS)
}

/// Tick 0 stands for no time.
fn not_zero(tick: u32) -> u32 {
    tick.max(1)
}

fn of_pool(cause: MapError) -> AnnounceError {
    AnnounceError::Map { map: "pool", cause }
}

fn frame(address: IpAddr, mac: [u8; 6]) -> Vec<u8> {
    let words = words(mapped(address));
    match address {
        IpAddr::V4(_) => arp_announcement(mac, words).to_vec(),
        IpAddr::V6(_) => unsolicited_advertisement(mac, words).to_vec(),
    }
}

/// `struct __sk_buff` of linux/bpf.h, at a device.
fn context(ifindex: u32) -> [u8; 192] {
    /// Offset of `ifindex`.
    const IFINDEX: usize = 40;
    let mut context = [0; 192];
    context[IFINDEX..IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
    context
}
