//! The layout of every pinned map. Both sides of the kernel boundary use these types; `bpftool map dump` shows their
//! field names. A change of size, order or meaning here needs a new [`LAYOUT`].
//!
//! | map | kind | key | value | written by |
//! |---|---|---|---|---|
//! | `settings` | array of 1 | 0 | [`Settings`] | agent, once |
//! | `ports` | array of 1 | 0 | [`PortSets`] | agent |
//! | `devices` | hash | ifindex | [`Device`] | agent |
//! | `frontends` | hash | [`FrontendKey`] | [`Frontend`] | agent |
//! | `splits` | array | split id | [`Split`] | agent |
//! | `rings` | array, mmapable | ring id | [`Ring`] | agent |
//! | `maglev` | array, mmapable | place | endpoint id | agent |
//! | `endpoints` | array, mmapable | endpoint id | [`Endpoint`] | agent |
//! | `hops` | array | endpoint id | [`Hop`] | programs |
//! | `forward`, `reverse` | array, mmapable | bucket | [`Bucket`] | programs |
//! | `slots` | array, mmapable | slot | [`Slot`] | programs |
//! | `reasons` | per-CPU array of 1 | 0 | [`crate::reason::ReasonCounters`] | programs |
//! | `frontend_stats` | per-CPU array | frontend id | [`FrontendCounters`] | programs |
//! | `backend_stats` | per-CPU array | backend id | [`BackendCounters`] | programs |
//! | `labels` | hash | [`LabelKey`] | [`Label`] | agent, for `stats` without an agent |
//! | `steered` | per-CPU hash | [`FrontendKey`] | [`SteeredCounters`] | agent; counted by programs |
//! | `sockets` | sockmap | place | socket | agent |
//! | `proxy` | array of 1 | 0 | [`Proxy`] | agent |
//! | `pool` | hash | [`Address`] | [`PoolAddress`] | agent |
//! | `lease` | array of 1 | 0 | [`Lease`] | agent, several times a second |
//! | `peers` | array | peer id | [`Peer`] | agent |
//! | `peer_macs` | hash | [`PeerMac`] | peer id | agent |
//! | `pool_stats` | per-CPU array of 1 | 0 | [`PoolCounters`] | programs |
//! | `stages` | program array | [`Stage`] | program | agent |

/// Version of this layout; stored in [`Settings::layout`].
pub const LAYOUT: u32 = 6;

/// IPv6, or IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), network byte order.
pub type Address = [u8; 16];

/// IP protocol numbers (IANA) that frontends may have.
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// Constants of this installation, read by the programs from the map and not from their own .rodata: a new version
/// of the agent takes the flow table over and must hash as the old one did.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Settings {
    pub layout: u32,
    /// Buckets of `forward`; `slots` has eight times as many entries.
    pub forward_buckets: u32,
    /// Buckets of `reverse`.
    pub reverse_buckets: u32,
    /// Lowest source port towards endpoints on other nodes; a multiple of [`PORT_GROUP`].
    pub snat_first_port: u32,
    /// Number of groups of [`PORT_GROUP`] ports from there on.
    pub snat_groups: u32,
    /// Secret, drawn at random when the tables are made: nobody can compute colliding flows.
    pub flow_key: HashKey,
    /// The same on all nodes, so that each picks the same endpoint for a client.
    pub selection_key: HashKey,
    pub timeouts: Timeouts,
}

/// Ten 32-bit keys of the NH hash (UMAC, RFC 4418 section 5.2), two for each word of a [`FlowKey`].
pub type HashKey = [u32; 10];

/// How long a flow lives without a packet, by what is known of it; in ticks ([`TICK_SHIFT`]).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Timeouts {
    /// TCP before the client acknowledged the endpoint's SYN-ACK.
    pub tcp_opening: u32,
    pub tcp_established: u32,
    /// One side has sent FIN.
    pub tcp_half_closed: u32,
    /// Both have sent FIN, the endpoint first: the endpoint is in TIME-WAIT.
    pub tcp_endpoint_closed: u32,
    /// Both have sent FIN, the client first, or somebody sent RST.
    pub tcp_closed: u32,
    /// UDP until an answer and a further datagram of the client were seen.
    pub udp_opening: u32,
    pub udp_established: u32,
}

/// A tick is 2^26 ns = 67 ms of CLOCK_MONOTONIC_COARSE: 32 bits of ticks last nine years of uptime.
pub const TICK_SHIFT: u32 = 26;

/// Which ports are worth a look-up: two bits decide for most packets of a node that they are not ours.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PortSets {
    /// Destination ports of frontends.
    pub frontend_tcp: PortSet,
    pub frontend_udp: PortSet,
    /// Source ports of endpoints' answers.
    pub endpoint_tcp: PortSet,
    pub endpoint_udp: PortSet,
}

/// Bit `port % 64` of word `port / 64`.
pub type PortSet = [u64; 1024];

/// A device that the programs are attached to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Device {
    /// Where FIB look-ups for its packets start: itself, or its bridge.
    pub l3_ifindex: u32,
    /// [`device_flags`]
    pub flags: u32,
    /// Frames to other addresses are not ours.
    pub mac: [u8; 6],
    pub reserved: [u8; 2],
    /// Preferred source address of packets that leave here; zero: none.
    pub source_v4: Address,
    pub source_v6: Address,
}

/// Bits of [`Device::flags`].
pub mod device_flags {
    /// A veth whose peer is in another network namespace: `bpf_redirect_peer` reaches the pod directly.
    pub const PEER: u32 = 1;
    /// On a link with others, who ask there for pool addresses, and whose packets may be handed on to other nodes.
    pub const UPLINK: u32 = 2;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FrontendKey {
    pub address: Address,
    pub port: u16,
    /// [`TCP`] or [`UDP`]
    pub protocol: u8,
    pub reserved: u8,
}

/// One aligned word, never seen half written. But the hash may hand this entry to another frontend while a program
/// still reads it, so that what it leads to says whose it is: [`Split::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Frontend {
    /// Index in `splits`. A split is never changed while a frontend points at it or a program may read it: a new one
    /// is written beside it and this entry replaced.
    pub split: u32,
}

/// maxItems of backendRefs in the CRDs.
pub const MAX_BACKENDS: usize = 16;

/// A frontend's share of the tables: the weighted backends of its rule. From `count` on, `cumulative` holds the total
/// and `ring` [`RING_REFUSE`]: the program looks at all sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Split {
    /// Whose it is.
    pub key: FrontendKey,
    /// Index in `frontend_stats`.
    pub frontend: u32,
    /// Sum of weights; 0: nothing takes newcomers.
    pub total: u32,
    pub count: u32,
    /// [`split_flags`]
    pub flags: u32,
    /// Sum of the weights up to and including this backend.
    pub cumulative: [u32; MAX_BACKENDS],
    /// Index in `backend_stats`.
    pub backend: [u32; MAX_BACKENDS],
    /// Index in `rings`, or [`RING_REFUSE`].
    pub ring: [u32; MAX_BACKENDS],
}

/// Bits of [`Split::flags`].
pub mod split_flags {
    /// The frontend's address is of a pool: it belongs to the gateway alone, and every node has the frontend.
    pub const POOL: u32 = 1;
}

/// In [`Split::ring`]: the reference is invalid, its share is refused.
pub const RING_REFUSE: u32 = u32::MAX;

/// A region of `maglev`: offset in the low, length in the high half, so that one aligned store switches to a new one.
/// Length 0: no ready endpoint.
pub type Ring = u64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Endpoint {
    pub address: Address,
    pub port: u16,
    /// [`TCP`] or [`UDP`]
    pub protocol: u8,
    /// [`EndpointState`]
    pub state: u8,
    /// Counts the uses of this entry: a flow of an earlier use is one whose endpoint is gone.
    pub generation: u32,
    /// 1: runs on this node, so that its answers pass one of our devices and the client's address is kept.
    pub local: u32,
    /// Index in `peers` of the node that it runs on; 0: this one, or not known.
    pub peer: u32,
}

/// Values of [`Endpoint::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndpointState {
    /// Unused, or its endpoint is no longer listed: its flows are reset.
    Gone = 0,
    /// Keeps its flows, gets no new ones.
    Draining = 1,
    Ready = 2,
}

/// Where packets to an endpoint leave: the FIB's answer, kept for [`HOP_TICKS`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub struct Hop {
    /// Tick until which it holds, or 0 while it is being written. Read before and after the rest.
    pub expires: u32,
    pub ifindex: u32,
    /// [`Endpoint::generation`] that it was looked up for.
    pub generation: u32,
    /// [`device_flags`] of the device.
    pub flags: u32,
    pub next_hop: Address,
}

/// 1 s: the longest time that packets take an outdated route.
pub const HOP_TICKS: u32 = 15;

/// One direction of a flow, as the packet shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct FlowKey {
    pub source: Address,
    pub destination: Address,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    pub reserved: [u8; 3],
}

impl FlowKey {
    /// As the hash and comparisons see it.
    #[inline(always)]
    pub fn words(&self) -> &[u64; 5] {
        // SAFETY: both are 40 bytes without padding, aligned to 8, valid for every bit pattern.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }

    #[inline(always)]
    pub fn from_words(words: &[u64; 5]) -> &Self {
        // SAFETY: as above.
        unsafe { &*core::ptr::from_ref(words).cast() }
    }
}

/// Eight ways: one cache line. What a word means is in [`crate::flow`].
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Bucket {
    pub ways: [u64; WAYS],
}
pub const WAYS: usize = 8;

/// What a flow remembers; two cache lines. The rewrite of one direction is the other direction's key reversed.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Slot {
    /// Client to frontend.
    pub forward: FlowKey,
    /// Endpoint to client, or to the node's own address and port (SNAT).
    pub reverse: FlowKey,
    /// Index in `endpoints`, and its generation when the flow began. With the generation [`OF_PEER`], an index in `peers`:
    /// that node has told of the flow, and this one doesn't know the endpoint. Both are one word to those who change it.
    pub endpoint: u32,
    pub endpoint_generation: u32,
    /// Index in `backend_stats`.
    pub backend: u32,
    /// Where answers leave, the next hop there, and the tick until which both hold.
    pub client_ifindex: u32,
    pub client_next_hop: Address,
    pub client_expires: u32,
    /// While opening: the sequence number after the endpoint's SYN. While closing: after the client's FIN. Of a flow that is
    /// handed on: the tick at which it became one.
    pub sequence: u32,
    /// While closing: the client's last TSval (RFC 7323), if [`slot_flags::TIMESTAMP`].
    pub timestamp: u32,
    /// [`slot_flags`]
    pub flags: u32,
}

/// In place of an endpoint's generation, which takes 2^32 uses of one place to get there.
pub const OF_PEER: u32 = u32::MAX;

/// Bits of [`Slot::flags`].
pub mod slot_flags {
    /// [`super::Slot::timestamp`] is known.
    pub const TIMESTAMP: u32 = 1;
    /// The endpoint has answered.
    pub const ANSWERED: u32 = 2;
    /// The reverse key's destination is the node's own.
    pub const SNAT: u32 = 4;
    /// The endpoint's node has the flow; this one hands its packets on, and sees no answers: there is no reverse key.
    pub const HANDED_ON: u32 = 8;
    /// The connection was there before the flow: it came by another node, or had been silent for too long.
    pub const MIDSTREAM: u32 = 16;
}

/// SNAT ports are handed out from groups of this many, whose state two cache lines show.
pub const PORT_GROUP: u32 = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FrontendCounters {
    /// Newcomers that were given an endpoint.
    pub flows: u64,
    /// Newcomers that were refused, for any reason.
    pub refused: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BackendCounters {
    /// Newcomers that were given an endpoint of it.
    pub flows: u64,
    /// Newcomers that fell to it and were refused, and flows that lost their endpoint.
    pub refused: u64,
    /// Packets from clients to endpoints. What the kernel holds as one, before it is segmented, is one packet.
    pub packets_in: u64,
    /// Bytes of these, without link headers.
    pub bytes_in: u64,
    /// Packets from endpoints to clients.
    pub packets_out: u64,
    /// Bytes of these.
    pub bytes_out: u64,
}

/// Of an address and port whose connections the proxy takes. That an entry is there steers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SteeredCounters {
    /// Connections that began and were given a socket of the proxy.
    pub connections: u64,
    /// SYNs that were reset, because there was none.
    pub refused: u64,
}

/// Whose sockets are in the map `sockets`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Proxy {
    /// Clients are spread over this many places, from the first on; one aligned word, read as a whole.
    pub sockets: u32,
    /// Process id, if an agent started it as its child; 0: not.
    pub pid: u32,
    /// Its start in clock ticks since boot (`proc_pid_stat(5)`, field 22): ids are used again.
    pub started: u64,
}

/// Places in `sockets`: more than a proxy has workers.
pub const MAX_SOCKETS: u32 = 64;

/// An address that Gateways hold of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PoolAddress {
    /// Tick from which on this node announces it, as long as the [`Lease`] lasts; 0: another one does. What was handed on
    /// before decides nothing: clients may have used their ports again by way of other nodes.
    pub since: u32,
    /// Ticks until which TCP segments and UDP datagrams of flows that aren't known are dropped: the address has just come
    /// here, and other nodes are asked which flows they have.
    pub segments_wait_until: u32,
    pub datagrams_wait_until: u32,
}

/// A flow that another node has, as the program `learn` is told.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Told {
    pub key: FlowKey,
    /// Its endpoint, for people.
    pub endpoint: Address,
    pub endpoint_port: u16,
    pub reserved: u16,
    /// For how long it may be silent.
    pub ticks: u32,
    /// As [`Slot::endpoint`] and [`Slot::endpoint_generation`].
    pub target: u32,
    pub target_generation: u32,
}

impl Told {
    pub fn bytes(&self) -> &[u8; size_of::<Self>()] {
        // SAFETY: as long, and without padding.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}

/// A node whose agent is dead or wedged stops announcing by itself, before others take over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Lease {
    /// Tick until which the node may announce.
    pub until: u32,
}

/// Another node, on a link that this one is on. Its name is in `labels`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Peer {
    /// The device that leads to it; 0: none does without a router, so that nothing is handed on.
    pub ifindex: u32,
    /// Its address on the link, and the device's own.
    pub mac: [u8; 6],
    pub own_mac: [u8; 6],
}

/// The link address of a peer, which tells packets that it has handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PeerMac {
    pub mac: [u8; 6],
    pub reserved: [u8; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PoolCounters {
    /// ARP requests and neighbour solicitations for pool addresses that this node answered.
    pub answered: u64,
    /// Packets that were handed on to the endpoint's node, which counts them by their backend.
    pub handed_on: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct LabelKey {
    /// [`LabelKind`]
    pub kind: u32,
    pub id: u32,
}

/// Values of [`LabelKey::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LabelKind {
    Frontend = 1,
    Backend = 2,
    Ring = 3,
    Peer = 4,
}

/// JSON of what an id stands for; unused bytes are 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Label {
    pub text: [u8; LABEL_BYTES],
}
/// Room for the longest names: four of 253 characters and field names.
pub const LABEL_BYTES: usize = 1280;

/// Index in the program array `stages`: what the entry program hands a packet to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// A newcomer of a frontend: pick an endpoint, make a flow.
    Admit = 0,
    /// Answer RST or port unreachable.
    Refuse = 1,
    /// ARP or neighbour discovery: answer for pool addresses.
    Neighbour = 2,
    /// Hand the packet on to its endpoint's node.
    HandOn = 3,
}

#[cfg(feature = "user")]
mod pod {
    //! SAFETY of each: `repr(C)`, made of integers and arrays of them, without padding that a kernel read would leak
    //! (sizes are asserted below), valid for every bit pattern.
    use super::{
        BackendCounters, Bucket, Device, Endpoint, FlowKey, Frontend, FrontendCounters, FrontendKey, Hop,
        Label, LabelKey, Lease, Peer, PeerMac, PoolAddress, PoolCounters, PortSets, Proxy, Settings, Slot,
        Split, SteeredCounters,
    };

    macro_rules! pod {
        ($($type:ty = $size:literal,)+) => {$(
            const _: () = assert!(size_of::<$type>() == $size);
            // SAFETY: see the module.
            unsafe impl aya::Pod for $type {}
        )+};
    }
    pod! {
        Settings = 128,
        PortSets = 32768,
        Device = 48,
        FrontendKey = 20,
        Frontend = 4,
        Split = 228,
        Endpoint = 32,
        Hop = 32,
        FlowKey = 40,
        Bucket = 64,
        Slot = 128,
        FrontendCounters = 16,
        BackendCounters = 48,
        LabelKey = 8,
        Label = 1280,
        SteeredCounters = 16,
        Proxy = 16,
        PoolAddress = 12,
        Lease = 4,
        Peer = 16,
        PeerMac = 8,
        PoolCounters = 16,
        crate::reason::ReasonCounters = 152,
    }
}
