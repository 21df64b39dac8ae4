//! The pinned maps, declared with BTF. What they hold is in `gateway_common::maps`; the sizes here are those that the
//! agent replaces when it creates them.

use aya_ebpf::{
    btf_maps::{Array, HashMap, PerCpuArray, PerCpuHashMap, ProgramArray, SockMap},
    macros::btf_map,
};
use gateway_common::{
    maps::{
        Address, BackendCounters, Bucket, Device, Endpoint, Frontend, FrontendCounters, FrontendKey, Hop,
        Label, LabelKey, Lease, Peer, PeerMac, PoolAddress, PoolCounters, PortSets, Proxy, Ring, Settings,
        Slot, Split, SteeredCounters,
    },
    reason::ReasonCounters,
};

/// BPF_F_NO_PREALLOC and BPF_F_MMAPABLE of linux/bpf.h.
const NO_PREALLOC: usize = 1;
const MMAPABLE: usize = 1 << 10;

#[btf_map(name = "settings")]
pub static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map(name = "ports")]
pub static PORTS: Array<PortSets, 1> = Array::new();
#[btf_map(name = "devices")]
pub static DEVICES: HashMap<u32, Device, 1024, NO_PREALLOC> = HashMap::new();

#[btf_map(name = "frontends")]
pub static FRONTENDS: HashMap<FrontendKey, Frontend, 16384> = HashMap::new();
#[btf_map(name = "splits")]
pub static SPLITS: Array<Split, 32768> = Array::new();
#[btf_map(name = "rings")]
pub static RINGS: Array<Ring, 16384, MMAPABLE> = Array::new();
#[btf_map(name = "maglev")]
pub static MAGLEV: Array<u32, 1048576, MMAPABLE> = Array::new();
#[btf_map(name = "endpoints")]
pub static ENDPOINTS: Array<Endpoint, 65536, MMAPABLE> = Array::new();
#[btf_map(name = "hops")]
pub static HOPS: Array<Hop, 65536> = Array::new();

#[btf_map(name = "forward")]
pub static FORWARD: Array<Bucket, 1024, MMAPABLE> = Array::new();
#[btf_map(name = "reverse")]
pub static REVERSE: Array<Bucket, 2048, MMAPABLE> = Array::new();
#[btf_map(name = "slots")]
pub static SLOTS: Array<Slot, 8192, MMAPABLE> = Array::new();

#[btf_map(name = "reasons")]
pub static REASONS: PerCpuArray<ReasonCounters, 1> = PerCpuArray::new();
#[btf_map(name = "frontend_stats")]
pub static FRONTEND_STATS: PerCpuArray<FrontendCounters, 16384> = PerCpuArray::new();
#[btf_map(name = "backend_stats")]
pub static BACKEND_STATS: PerCpuArray<BackendCounters, 65536> = PerCpuArray::new();
#[btf_map(name = "labels")]
pub static LABELS: HashMap<LabelKey, Label, 131072, NO_PREALLOC> = HashMap::new();

#[btf_map(name = "steered")]
pub static STEERED: PerCpuHashMap<FrontendKey, SteeredCounters, 16384, NO_PREALLOC> = PerCpuHashMap::new();
#[btf_map(name = "sockets")]
pub static SOCKETS: SockMap<64> = SockMap::new();
#[btf_map(name = "proxy")]
pub static PROXY: Array<Proxy, 1> = Array::new();

#[btf_map(name = "pool")]
pub static POOL: HashMap<Address, PoolAddress, 4096, NO_PREALLOC> = HashMap::new();
#[btf_map(name = "lease")]
pub static LEASE: Array<Lease, 1> = Array::new();
#[btf_map(name = "peers")]
pub static PEERS: Array<Peer, 1024> = Array::new();
#[btf_map(name = "peer_macs")]
pub static PEER_MACS: HashMap<PeerMac, u32, 1024, NO_PREALLOC> = HashMap::new();
#[btf_map(name = "pool_stats")]
pub static POOL_STATS: PerCpuArray<PoolCounters, 1> = PerCpuArray::new();

#[btf_map(name = "stages")]
pub static STAGES: ProgramArray<8> = ProgramArray::new();
