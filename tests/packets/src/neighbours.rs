//! ARP and neighbour discovery messages as frames, built from nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum;

pub type Mac = [u8; 6];

pub const BROADCAST: Mac = [0xff; 6];
pub const ARP_REQUEST: u16 = 1;
pub const ARP_REPLY: u16 = 2;

/// An ARP message for Ethernet and IPv4 (RFC 826).
#[derive(Clone, Copy, Debug)]
pub struct Arp {
    pub operation: u16,
    pub sender: (Mac, Ipv4Addr),
    pub target: (Mac, Ipv4Addr),
}

impl Arp {
    pub fn frame(self, to: Mac, from: Mac) -> Vec<u8> {
        let mut frame = [&to[..], &from, &[0x08, 0x06, 0, 1, 8, 0, 6, 4]].concat();
        frame.extend(self.operation.to_be_bytes());
        for (mac, address) in [self.sender, self.target] {
            frame.extend(mac);
            frame.extend(address.octets());
        }
        frame
    }
}

/// A neighbour discovery message about one address (RFC 4861 section 4.3 and 4.4).
#[derive(Clone, Copy, Debug)]
pub struct Discovery {
    pub kind: Kind,
    pub from: Ipv6Addr,
    pub to: Ipv6Addr,
    pub target: Ipv6Addr,
    /// The option that tells the sender's (solicitation) or target's (advertisement) link address.
    pub option: Option<Mac>,
    pub hop_limit: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Solicitation,
    /// With its flags.
    Advertisement(u8),
}

pub const SOLICITED: u8 = 0x40;
pub const OVERRIDE: u8 = 0x20;

impl Discovery {
    pub fn frame(self, to: Mac, from: Mac) -> Vec<u8> {
        let (number, flags, option) = match self.kind {
            Kind::Solicitation => (135, 0, 1),
            Kind::Advertisement(flags) => (136, flags, 2),
        };
        let mut message = vec![number, 0, 0, 0, flags, 0, 0, 0];
        message.extend(self.target.octets());
        if let Some(mac) = self.option {
            message.extend([option, 1]);
            message.extend(mac);
        }
        let sum = checksum::transport(IpAddr::V6(self.from), IpAddr::V6(self.to), 58, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let length = u8::try_from(message.len()).expect("a short message");
        let mut frame =
            [&to[..], &from, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, length, 58, self.hop_limit]].concat();
        frame.extend(self.from.octets());
        frame.extend(self.to.octets());
        frame.extend(message);
        frame
    }
}

/// The group that is asked for an address (RFC 4291 section 2.7.1), and the address of frames to it (RFC 2464).
pub fn solicited_node(address: Ipv6Addr) -> (Ipv6Addr, Mac) {
    let [.., a, b, c] = address.octets();
    let [high, low] = [u16::from_be_bytes([0xff, a]), u16::from_be_bytes([b, c])];
    (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, high, low), [0x33, 0x33, 0xff, a, b, c])
}

/// All nodes of the link, and the address of frames to them.
pub const ALL_NODES: (Ipv6Addr, Mac) = (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), [0x33, 0x33, 0, 0, 0, 1]);
