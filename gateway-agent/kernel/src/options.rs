//! What an agent chooses when it opens its part of the kernel.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use gateway_common::maps;
use thiserror::Error;

use crate::store::{MAPS, MapKind, PEERS};

/// How [`crate::Kernel::open`] sets the kernel up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder on a bpffs for everything pinned. One agent at a time feeds it.
    pub pin: PathBuf,
    /// This node's name: endpoints whose slice names it are local.
    pub node: String,
    pub sizes: Sizes,
    /// Source ports towards endpoints on other nodes.
    pub snat_ports: PortRange,
    /// The same on all nodes, so that each picks the same endpoint for a client.
    pub selection_seed: String,
    pub timeouts: Timeouts,
}

impl Options {
    /// Everything by default.
    pub fn new(pin: impl Into<PathBuf>, node: impl Into<String>) -> Self {
        Self {
            pin: pin.into(),
            node: node.into(),
            sizes: Sizes::default(),
            snat_ports: PortRange::default(),
            selection_seed: String::new(),
            timeouts: Timeouts::default(),
        }
    }
}

/// Source ports from `first` to `last`, both included; whole groups of [`maps::PORT_GROUP`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A port range that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PortRangeError {
    #[error("`{0}` is no port range; write FIRST-LAST, such as 2048-29999")]
    Syntax(String),
    #[error(
        "ports {first}-{last} hold no whole group of {group} ports from a multiple of {group} on; choose 1024-65535 or a part of it that does",
        group = maps::PORT_GROUP
    )]
    Empty { first: u16, last: u16 },
    #[error("port {0} is reserved (IANA system ports); begin at 1024 or above")]
    System(u16),
}

impl PortRange {
    /// Narrowed to whole groups.
    pub fn new(first: u16, last: u16) -> Result<Self, PortRangeError> {
        if first < FIRST_USER_PORT {
            return Err(PortRangeError::System(first));
        }
        let group = maps::PORT_GROUP;
        let begin = u32::from(first).next_multiple_of(group);
        let end = (u32::from(last) + 1) / group * group;
        match (u16::try_from(begin), u16::try_from(end.saturating_sub(1))) {
            (Ok(low), Ok(high)) if begin < end => Ok(Self { first: low, last: high }),
            _ => Err(PortRangeError::Empty { first, last }),
        }
    }

    pub fn first(self) -> u16 {
        self.first
    }

    pub fn last(self) -> u16 {
        self.last
    }

    /// Number of groups of [`maps::PORT_GROUP`] ports.
    pub fn groups(self) -> u32 {
        (u32::from(self.last) + 1 - u32::from(self.first)) / maps::PORT_GROUP
    }
}

/// RFC 6335 section 6: system ports end at 1023.
const FIRST_USER_PORT: u16 = 1024;

impl Default for PortRange {
    /// 2048-29999: below Kubernetes' node ports (30000-32767) and Linux's ephemeral ports (32768-60999).
    fn default() -> Self {
        Self { first: 2048, last: 29_999 }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || PortRangeError::Syntax(text.to_owned());
        let (first, last) = text.split_once('-').ok_or_else(syntax)?;
        let port = |part: &str| part.trim().parse::<u16>().map_err(|_| syntax());
        Self::new(port(first)?, port(last)?)
    }
}

/// How long a flow lives without a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP before the client acknowledged the endpoint's SYN-ACK.
    pub tcp_opening: Duration,
    pub tcp_established: Duration,
    /// One side has sent FIN.
    pub tcp_half_closed: Duration,
    /// Both have sent FIN, the endpoint first: it is in TIME-WAIT.
    pub tcp_endpoint_closed: Duration,
    /// Both have sent FIN, the client first, or somebody sent RST.
    pub tcp_closed: Duration,
    /// UDP until an answer and a further datagram of the client were seen.
    pub udp_opening: Duration,
    pub udp_established: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // A SYN, its repetition after 1 s and another one 2 s later (RFC 6298) find the same flow.
            tcp_opening: Duration::from_secs(5),
            // RFC 5382 REQ-5: at least 2 hours and 4 minutes.
            tcp_established: Duration::from_mins(124),
            // RFC 5382 REQ-5: at least 4 minutes for partially closed connections.
            tcp_half_closed: Duration::from_mins(4),
            // TCP_TIMEWAIT_LEN of Linux.
            tcp_endpoint_closed: Duration::from_mins(1),
            // The last ACKs pass; the ports may be used again at once.
            tcp_closed: Duration::from_secs(5),
            // nf_conntrack_udp_timeout of Linux.
            udp_opening: Duration::from_secs(30),
            // RFC 4787 REQ-5: at least 2 minutes.
            udp_established: Duration::from_mins(2),
        }
    }
}

/// A time-out that can't be set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimeoutError {
    #[error("there is no time-out `{name}`; the names are {}", Timeouts::NAMES.join(", "))]
    Unknown { name: String },
    #[error("time-out {name} of {value:?} is out of range; choose 100 ms to 30 days")]
    Range { name: &'static str, value: Duration },
}

impl Timeouts {
    /// What `--timeout NAME=DURATION` may name.
    pub const NAMES: [&'static str; 7] = [
        "tcp-opening",
        "tcp-established",
        "tcp-half-closed",
        "tcp-endpoint-closed",
        "tcp-closed",
        "udp-opening",
        "udp-established",
    ];

    /// Sets one by its name in [`Self::NAMES`]; 100 ms (more than a tick) to 30 days.
    pub fn set(&mut self, name: &str, value: Duration) -> Result<(), TimeoutError> {
        let unknown = || TimeoutError::Unknown { name: name.to_owned() };
        let index = Self::NAMES.iter().position(|n| *n == name).ok_or_else(unknown)?;
        if !(SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&value) {
            return Err(TimeoutError::Range { name: Self::NAMES[index], value });
        }
        *self.fields_mut()[index] = value;
        Ok(())
    }

    fn fields_mut(&mut self) -> [&mut Duration; 7] {
        [
            &mut self.tcp_opening,
            &mut self.tcp_established,
            &mut self.tcp_half_closed,
            &mut self.tcp_endpoint_closed,
            &mut self.tcp_closed,
            &mut self.udp_opening,
            &mut self.udp_established,
        ]
    }

    pub(crate) fn ticks(&self) -> maps::Timeouts {
        maps::Timeouts {
            tcp_opening: ticks(self.tcp_opening),
            tcp_established: ticks(self.tcp_established),
            tcp_half_closed: ticks(self.tcp_half_closed),
            tcp_endpoint_closed: ticks(self.tcp_endpoint_closed),
            tcp_closed: ticks(self.tcp_closed),
            udp_opening: ticks(self.udp_opening),
            udp_established: ticks(self.udp_established),
        }
    }
}

/// More than a tick of 67 ms, so that rounding can't make it nothing.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);
/// Far from the sign bit of a difference of ticks (4 years).
const LONGEST_TIMEOUT: Duration = Duration::from_hours(30 * 24);

/// Rounded up.
fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1 << maps::TICK_SHIFT)).unwrap_or(u32::MAX / 2)
}

/// How much the maps hold. Memory for all of it is taken when the maps are made ([`Self::memory`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Flows that are held at once; 253 bytes each (152 bytes per place, places filled to 0.6).
    pub flows: u32,
    /// Listeners' addresses and ports; about 500 bytes each, and 16 per CPU.
    pub frontends: u32,
    /// backendRefs of all rules, once for each frontend; 48 bytes each per CPU.
    pub backends: u32,
    /// Service ports, once for each address family; 8 bytes each.
    pub services: u32,
    /// Ready or draining endpoints; 64 bytes each.
    pub endpoints: u32,
    /// Places of all Maglev rings, 8 bytes each; a ring takes 100 to 200 for each endpoint, at most 65,537.
    pub ring_places: u32,
}

impl Default for Sizes {
    /// For a small node: 131,072 flows, 33 MB for these and 19 MB for the rest.
    fn default() -> Self {
        Self {
            flows: 131_072,
            frontends: 16_384,
            backends: 16_384,
            services: 16_384,
            endpoints: 16_384,
            ring_places: 1 << 20,
        }
    }
}

/// A size that can't be set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SizeError {
    #[error("there is no size `{name}`; the names are {}", Sizes::NAMES.join(", "))]
    Unknown { name: String },
    #[error("size {name} of {value} is out of range; choose 1 to {LARGEST_SIZE}")]
    Range { name: &'static str, value: u32 },
}

/// Far from what a u32 of bytes, ids or places twice over can hold.
const LARGEST_SIZE: u32 = 100_000_000;

impl Sizes {
    /// What `--size NAME=NUMBER` may name.
    pub const NAMES: [&'static str; 5] = ["frontends", "backends", "services", "endpoints", "ring-places"];

    /// Sets one by its name in [`Self::NAMES`].
    pub fn set(&mut self, name: &str, value: u32) -> Result<(), SizeError> {
        let unknown = || SizeError::Unknown { name: name.to_owned() };
        let index = Self::NAMES.iter().position(|n| *n == name).ok_or_else(unknown)?;
        if !(1..=LARGEST_SIZE).contains(&value) {
            return Err(SizeError::Range { name: Self::NAMES[index], value });
        }
        let Self { flows: _, frontends, backends, services, endpoints, ring_places } = self;
        *[frontends, backends, services, endpoints, ring_places][index] = value;
        Ok(())
    }

    /// One 64th of the node's memory for flows, between 16,384 and [`Self::MOST_FLOWS`] of them.
    pub fn for_memory(bytes: u64) -> Self {
        let flows = u32::try_from(bytes / 64 / FLOW_BYTES).unwrap_or(u32::MAX);
        Self { flows: flows.clamp(16_384, Self::MOST_FLOWS), ..Self::default() }
    }

    /// What nodes of 10 GB and more get unless they are told otherwise: 2^20 places, 160 MB. A place is taken for a
    /// minute by a connection that its endpoint closed, so these last for 10,000 such connections in a second.
    pub const MOST_FLOWS: u32 = (1 << 20) / 10 * 6;

    /// Buckets of `forward`: filled to 0.6, about 1 newcomer in 70,000 finds no place.
    pub fn forward_buckets(&self) -> u32 {
        let places = u64::from(self.flows) * 10 / 6;
        u32::try_from(places.div_ceil(maps::WAYS as u64)).unwrap_or(MAX_BUCKETS).clamp(2, MAX_BUCKETS)
    }

    /// Buckets of `reverse`.
    pub fn reverse_buckets(&self) -> u32 {
        self.forward_buckets() * 2
    }

    /// Entries of `slots`.
    pub fn slots(&self) -> u32 {
        self.forward_buckets() * 8
    }

    /// Splits, twice the frontends: a new one is written before the old one is free.
    pub(crate) fn splits(&self) -> u32 {
        self.frontends.saturating_mul(2)
    }

    pub(crate) fn labels(&self) -> u32 {
        self.frontends.saturating_add(self.backends).saturating_add(self.services).saturating_add(PEERS)
    }

    /// Bytes of kernel memory for all maps on a machine with that many possible CPUs, without labels (about 1.4 kB
    /// for each frontend, backend and Service port in use) and hash table overhead.
    pub fn memory(&self, cpus: u32) -> u64 {
        let of_map = |map: &MapKind| {
            let copies = if map.per_cpu { u64::from(cpus) } else { 1 };
            u64::from((map.entries)(self)) * map.entry_bytes * copies
        };
        MAPS.iter().map(of_map).sum()
    }
}

/// (128 slot + 8 forward word + 2 x 8 reverse words) / 0.6.
const FLOW_BYTES: u64 = 253;
/// 2^31 / 64: `slots` stays below 2^32 bytes x 64 and every index in 32 bits.
const MAX_BUCKETS: u32 = 1 << 25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges_are_whole_groups() {
        for (text, expected) in [
            ("2048-29999", Ok((2048, 29_999, 3494))),
            ("1025-1050", Ok((1032, 1047, 2))),
            ("1024-65535", Ok((1024, 65_535, 8064))),
            ("65535-65535", Err(PortRangeError::Empty { first: 65_535, last: 65_535 })),
            ("3000-2000", Err(PortRangeError::Empty { first: 3000, last: 2000 })),
            ("80-9000", Err(PortRangeError::System(80))),
            ("2048", Err(PortRangeError::Syntax("2048".into()))),
            ("2048-70000", Err(PortRangeError::Syntax("2048-70000".into()))),
        ] {
            let range = text.parse::<PortRange>().map(|r| (r.first(), r.last(), r.groups()));
            assert_eq!(range, expected, "{text}");
        }
    }

    #[test]
    fn memory_decides_the_number_of_flows_up_to_a_cap() {
        for (gigabytes, flows) in [(0, 16_384), (2, 132_626), (8, 530_504), (10, 629_142), (1000, 629_142)] {
            assert_eq!(Sizes::for_memory(gigabytes << 30).flows, flows, "{gigabytes} GB");
        }
        let sizes = Sizes::for_memory(u64::MAX);
        assert_eq!(sizes.slots(), 1 << 20);
    }

    #[test]
    fn every_timeout_has_a_name() {
        for name in Timeouts::NAMES {
            let mut timeouts = Timeouts::default();
            timeouts.set(name, Duration::from_millis(300)).unwrap();
            assert_ne!(timeouts, Timeouts::default(), "{name}");
        }
        let mut timeouts = Timeouts::default();
        let unknown = timeouts.set("tcp", Duration::from_secs(1)).unwrap_err();
        assert!(unknown.to_string().contains("udp-established"), "{unknown}");
        assert!(timeouts.set("tcp-closed", Duration::ZERO).is_err());
        assert_eq!(timeouts, Timeouts::default());
    }

    #[test]
    fn timeouts_round_up_to_ticks() {
        assert_eq!(ticks(Duration::from_millis(100)), 2);
        assert_eq!(ticks(Duration::from_secs(1)), 15);
        assert_eq!(ticks(LONGEST_TIMEOUT), 38_623_810);
    }

    #[test]
    fn places_for_flows_are_filled_to_0_6() {
        let sizes = Sizes { flows: 1_000_000, ..Sizes::default() };
        assert_eq!(sizes.forward_buckets(), 208_334);
        assert_eq!(sizes.slots(), 208_334 * 8);
        let of_flows = sizes.memory(1) - Sizes { flows: 0, ..sizes }.memory(1);
        assert!((253_000_000..254_000_000).contains(&of_flows), "{of_flows}");
    }
}
