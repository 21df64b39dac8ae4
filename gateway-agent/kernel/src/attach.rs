use std::net::{Ipv4Addr, Ipv6Addr};

/// A network device whose arriving packets the programs see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub ifindex: u32,
    pub name: String,
    /// Where routes for its packets are looked up: itself, or its bridge.
    pub l3_ifindex: u32,
    /// Frames to other addresses are not ours. All zero: it has no link layer.
    pub mac: [u8; 6],
    pub kind: DeviceKind,
    /// Preferred source of packets that leave here, if the device has an address of that family.
    pub source_v4: Option<Ipv4Addr>,
    pub source_v6: Option<Ipv6Addr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    Ordinary,
    /// A veth whose peer is in another network namespace: packets can be handed to the peer directly.
    Pod,
}

#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("x")]
    X,
}
