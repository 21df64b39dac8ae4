//! The pinned maps: which there are, how large they get, and typed access to them.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, SockMap};
use gateway_common::maps::{
    BackendCounters, Bucket, Device, Endpoint, Frontend, FrontendCounters, FrontendKey, Hop, Label, LabelKey,
    Lease, MAX_SOCKETS, Peer, PoolAddress, PoolCounters, PortSets, Proxy, Ring, Settings, Slot, Split,
    SteeredCounters, WAYS,
};
use gateway_common::reason::ReasonCounters;

use crate::mmap::Words;
use crate::options::Sizes;
use crate::peers::{PeerMacs, PeerMap};

/// A map of the pin folder.
#[derive(Debug)]
pub(crate) struct MapKind {
    pub(crate) name: &'static str,
    pub(crate) value_bytes: usize,
    /// Kernel memory of one entry that is taken when the map is made, on each CPU if `per_cpu`.
    pub(crate) entry_bytes: u64,
    pub(crate) per_cpu: bool,
    pub(crate) entries: fn(&Sizes) -> u32,
}

/// Arrays round their values up to 8 bytes. Hashes have 16 bytes for a bucket; those that are preallocated also 48
/// beside key and value of each entry. The others take memory as they fill, which isn't counted here.
macro_rules! kinds {
    ($($name:literal: $kind:ident<$value:ty> = $entries:expr,)+) => {
        [$(MapKind {
            name: $name,
            value_bytes: size_of::<$value>(),
            entry_bytes: kinds!(@bytes $kind $value),
            per_cpu: kinds!(@per_cpu $kind),
            entries: $entries,
        },)+]
    };
    (@bytes Hash $value:ty) => { 16 };
    (@bytes Preallocated $value:ty) => { (16 + 48 + size_of::<FrontendKey>().next_multiple_of(8) + size_of::<$value>().next_multiple_of(8)) as u64 };
    (@bytes $kind:ident $value:ty) => { size_of::<$value>().next_multiple_of(8) as u64 };
    (@per_cpu PerCpu) => { true };
    (@per_cpu $kind:ident) => { false };
}

/// All but `stages`, which each generation of programs has its own of. `settings` comes last: what it says holds of
/// the others.
pub(crate) const MAPS: [MapKind; 24] = kinds! {
    "ports": Array<PortSets> = |_| 1,
    "devices": Hash<Device> = |_| DEVICES,
    "frontends": Preallocated<Frontend> = |s| s.frontends,
    "splits": Array<Split> = Sizes::splits,
    "rings": Array<Ring> = |s| s.services,
    "maglev": Array<u32> = |s| s.ring_places,
    "endpoints": Array<Endpoint> = |s| s.endpoints,
    "hops": Array<Hop> = |s| s.endpoints,
    "forward": Array<Bucket> = Sizes::forward_buckets,
    "reverse": Array<Bucket> = Sizes::reverse_buckets,
    "slots": Array<Slot> = Sizes::slots,
    "reasons": PerCpu<ReasonCounters> = |_| 1,
    "frontend_stats": PerCpu<FrontendCounters> = |s| s.frontends,
    "backend_stats": PerCpu<BackendCounters> = |s| s.backends,
    "labels": Hash<Label> = Sizes::labels,
    "steered": Hash<SteeredCounters> = |s| s.frontends,
    "sockets": Array<u32> = |_| MAX_SOCKETS,
    "proxy": Array<Proxy> = |_| 1,
    "pool": Hash<PoolAddress> = |_| POOL_ADDRESSES,
    "lease": Array<Lease> = |_| 1,
    "peers": Array<Peer> = |_| PEERS,
    "peer_macs": Hash<u32> = |_| PEERS,
    "pool_stats": PerCpu<PoolCounters> = |_| 1,
    "settings": Array<Settings> = |_| 1,
};

/// Devices of a node: more than the 110 pods that Kubernetes recommends, and some bridges.
const DEVICES: u32 = 1024;

/// More than a link has nodes, since each tells all others that it lives.
pub(crate) const PEERS: u32 = 1024;

/// Pool addresses that Gateways hold: a few hundred Gateways with an address of each family, several times over.
const POOL_ADDRESSES: u32 = 4096;

/// The folder of a pin folder that holds the maps.
pub(crate) fn maps_folder(pin: &Path) -> PathBuf {
    pin.join("maps")
}

/// A map that can't be opened or used.
#[derive(Debug, thiserror::Error)]
#[error("map {name}: {}", crate::one_line(cause))]
pub struct StoreError {
    name: &'static str,
    cause: MapError,
}

/// Handles to all maps that user space reads or writes.
pub(crate) struct Store {
    pub(crate) settings: Array<MapData, Settings>,
    pub(crate) ports: Array<MapData, PortSets>,
    pub(crate) devices: HashMap<MapData, u32, Device>,
    pub(crate) frontends: HashMap<MapData, FrontendKey, Frontend>,
    pub(crate) splits: Array<MapData, Split>,
    pub(crate) endpoints: Array<MapData, Endpoint>,
    pub(crate) reasons: PerCpuArray<MapData, ReasonCounters>,
    pub(crate) frontend_stats: PerCpuArray<MapData, FrontendCounters>,
    pub(crate) backend_stats: PerCpuArray<MapData, BackendCounters>,
    pub(crate) labels: HashMap<MapData, LabelKey, Label>,
    pub(crate) steered: PerCpuHashMap<MapData, FrontendKey, SteeredCounters>,
    pub(crate) sockets: SockMap<MapData>,
    pub(crate) proxy: Array<MapData, Proxy>,
    pub(crate) peers: PeerMap,
    pub(crate) peer_macs: PeerMacs,
    pub(crate) pool_stats: PerCpuArray<MapData, PoolCounters>,
    /// A word for each ring: stored as a whole, which a map update doesn't promise.
    pub(crate) rings: Words,
    /// A word for each place; the endpoint's id in its lower half.
    pub(crate) maglev: Words,
    /// A word for each way.
    pub(crate) forward: Words,
    /// One for each way of `forward`.
    pub(crate) slots: Slots,
}

/// The map `slots`.
pub(crate) type Slots = Array<MapData, Slot>;

/// Whether the map is to be written; of the store, only `rings` and `maglev` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    Feed,
}

impl Store {
    /// Opens what is pinned, without looking at its layout.
    pub(crate) fn open(pin: &Path, access: Access) -> Result<Self, StoreError> {
        let folder = maps_folder(pin);
        let map = |name| {
            let map = MapData::from_pin(folder.join(name)).and_then(Map::from_map_data);
            map.map_err(|cause| StoreError { name, cause })
        };
        macro_rules! typed {
            ($name:literal) => {
                map($name)?.try_into().map_err(|cause| StoreError { name: $name, cause })?
            };
        }
        let words = |name: &'static str, words_per_value| {
            let access = if matches!(name, "rings" | "maglev") { access } else { Access::ReadOnly };
            words(pin, name, words_per_value, access).map_err(|cause| StoreError { name, cause })
        };
        Ok(Self {
            settings: typed!("settings"),
            ports: typed!("ports"),
            devices: typed!("devices"),
            frontends: typed!("frontends"),
            splits: typed!("splits"),
            endpoints: typed!("endpoints"),
            reasons: typed!("reasons"),
            frontend_stats: typed!("frontend_stats"),
            backend_stats: typed!("backend_stats"),
            labels: typed!("labels"),
            steered: typed!("steered"),
            sockets: typed!("sockets"),
            proxy: typed!("proxy"),
            peers: typed!("peers"),
            peer_macs: typed!("peer_macs"),
            pool_stats: typed!("pool_stats"),
            rings: words("rings", 1)?,
            maglev: words("maglev", 1)?,
            forward: words("forward", WAYS)?,
            slots: typed!("slots"),
        })
    }
}

/// The values of an array map as memory.
pub(crate) fn words(
    pin: &Path,
    name: &str,
    words_per_value: usize,
    access: Access,
) -> Result<Words, MapError> {
    let data = MapData::from_pin(maps_folder(pin).join(name))?;
    let len = data.info()?.max_entries() as usize * words_per_value;
    let fd = data.fd().as_fd();
    let words = match access {
        Access::Feed => Words::writable(fd, len),
        Access::ReadOnly => Words::read_only(fd, len),
    };
    words.map_err(|error| syscall("mmap", error))
}

fn syscall(call: &'static str, io_error: io::Error) -> MapError {
    MapError::SyscallError(aya::sys::SyscallError { call, io_error })
}
