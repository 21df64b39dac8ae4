//! Who has an address on a link: ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861), as far as the gateway
//! takes part for its pool addresses.

use crate::{
    headers::{ETHERNET, Frame, IPV6, Window, mapped},
    maps::Address,
    rewrite::{add, fold, pseudo_header},
};

/// Bytes of an Ethernet frame with an ARP message for IPv4.
pub const ARP_FRAME: usize = ETHERNET + ARP;
/// Bytes of an Ethernet frame with a neighbour advertisement and its one option, the link address.
pub const ADVERTISEMENT_FRAME: usize = ETHERNET + IPV6 + ADVERTISEMENT;
const ARP: usize = 28;
const ADVERTISEMENT: usize = 24 + 8;

/// EtherTypes (IANA) in the byte order of the wire.
const ETHERTYPE_ARP: u16 = 0x0806u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();
/// Hardware type Ethernet with protocol type IPv4, and their addresses' lengths.
const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISES: u8 = 136;
/// RFC 4861 section 7.1: messages that a router has passed on don't count.
const HOP_LIMIT: u8 = 255;
/// Flags of an advertisement.
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

pub type Mac = [u8; 6];
const BROADCAST: Mac = [0xff; 6];
/// All nodes of the link, `ff02::1`, and the address of frames to it (RFC 2464 section 7).
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

/// What a neighbour says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Who has it? Also from one that wants to have it and asks whether it is free.
    Asks,
    /// It has it.
    Claims,
}

/// A neighbour's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub says: Says,
    /// The address that it is about, in words as in [`crate::maps::FlowKey::words`].
    pub address: [u64; 2],
    pub is_ipv6: bool,
    /// The sender's address: for ARP raw in the first word; all zero if it has none yet.
    sender: [u64; 2],
    /// Where the frame came from.
    from: Mac,
    /// ARP: the sender's own word for its link address.
    sender_mac: Mac,
}

/// Whether a frame that is no TCP or UDP packet may be a [`Message`].
#[inline(always)]
pub fn is_candidate(frame: &(impl Frame + ?Sized)) -> bool {
    let Some(head) = frame.window(0, ETHERNET + 8) else { return false };
    match head.raw16(12) {
        ETHERTYPE_ARP => true,
        ETHERTYPE_IPV6 => head.u8(ETHERNET + 6) == ICMPV6 && head.u8(ETHERNET + 7) == HOP_LIMIT,
        _ => false,
    }
}

impl Message {
    /// None: the frame holds none, or an invalid one.
    #[inline(always)]
    pub fn parse(frame: &(impl Frame + ?Sized)) -> Option<Self> {
        let ethernet = frame.window(0, ETHERNET)?;
        let from = mac(&ethernet, 6);
        match ethernet.raw16(12) {
            ETHERTYPE_ARP => Self::parse_arp(frame, from),
            ETHERTYPE_IPV6 => Self::parse_discovery(frame, from),
            _ => None,
        }
    }

    #[inline(always)]
    fn parse_arp(frame: &(impl Frame + ?Sized), from: Mac) -> Option<Self> {
        let arp = frame.window(ETHERNET, ARP)?;
        let mut i = 0;
        while i < ARP_ETHERNET_IPV4.len() {
            if arp.u8(i) != ARP_ETHERNET_IPV4[i] {
                return None;
            }
            i += 1;
        }
        let (sender, target) = (arp.raw32(14), arp.raw32(24));
        let (says, address) = match arp.be16(6) {
            // RFC 5227 section 3: an announcement is a request with both addresses alike.
            ARP_REQUEST if sender != target => (Says::Asks, target),
            ARP_REQUEST | ARP_REPLY => (Says::Claims, sender),
            _ => return None,
        };
        let sender = [sender as u64, 0];
        let sender_mac = mac(&arp, 8);
        Some(Self { says, address: mapped(address), is_ipv6: false, sender, from, sender_mac })
    }

    #[inline(always)]
    fn parse_discovery(frame: &(impl Frame + ?Sized), from: Mac) -> Option<Self> {
        let ip = frame.window(ETHERNET, IPV6)?;
        if ip.u8(0) >> 4 != 6 || ip.u8(6) != ICMPV6 || ip.u8(7) != HOP_LIMIT {
            return None;
        }
        let icmp = frame.window(ETHERNET + IPV6, 24)?;
        let says = match (icmp.u8(0), icmp.u8(1)) {
            (SOLICITATION, 0) => Says::Asks,
            (ADVERTISES, 0) => Says::Claims,
            _ => return None,
        };
        let address = [icmp.raw64(8), icmp.raw64(16)];
        let sender = [ip.raw64(8), ip.raw64(16)];
        Some(Self { says, address, is_ipv6: true, sender, from, sender_mac: from })
    }

    /// The address as the map `pool` has it.
    #[inline(always)]
    pub fn address_key(&self) -> Address {
        bytes(self.address)
    }

    /// The ARP reply that the address is at `own`.
    #[inline(always)]
    pub fn arp_reply(&self, own: Mac) -> [u8; ARP_FRAME] {
        arp(self.from, own, ARP_REPLY, self.address, self.sender_mac, self.sender[0] as u32)
    }

    /// The advertisement that the address is at `own`. Who asks without an address of its own is told with all others
    /// (RFC 4861 section 7.2.4).
    #[inline(always)]
    pub fn advertisement(&self, own: Mac) -> [u8; ADVERTISEMENT_FRAME] {
        if self.sender == [0, 0] {
            return advertisement(ALL_NODES_MAC, own, self.address, ALL_NODES, OVERRIDE);
        }
        advertisement(self.from, own, self.address, bytes(self.sender), SOLICITED | OVERRIDE)
    }
}

/// Tells the link that an IPv4 address, in words, is at `own` from now on (RFC 5227 section 3).
pub fn arp_announcement(own: Mac, address: [u64; 2]) -> [u8; ARP_FRAME] {
    arp(BROADCAST, own, ARP_REQUEST, address, [0; 6], (address[1] >> 32) as u32)
}

/// Tells the link that an IPv6 address, in words, is at `own` from now on (RFC 4861 section 7.2.6).
pub fn unsolicited_advertisement(own: Mac, address: [u64; 2]) -> [u8; ADVERTISEMENT_FRAME] {
    advertisement(ALL_NODES_MAC, own, address, ALL_NODES, OVERRIDE)
}

/// `target` is raw.
#[inline(always)]
fn arp(
    to: Mac,
    own: Mac,
    operation: u16,
    address: [u64; 2],
    target_mac: Mac,
    target: u32,
) -> [u8; ARP_FRAME] {
    let mut frame = [0; ARP_FRAME];
    frame[0..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&own);
    frame[12..14].copy_from_slice(&ETHERTYPE_ARP.to_ne_bytes());
    frame[14..20].copy_from_slice(&ARP_ETHERNET_IPV4);
    frame[20..22].copy_from_slice(&operation.to_be_bytes());
    frame[22..28].copy_from_slice(&own);
    frame[28..32].copy_from_slice(&((address[1] >> 32) as u32).to_ne_bytes());
    frame[32..38].copy_from_slice(&target_mac);
    frame[38..42].copy_from_slice(&target.to_ne_bytes());
    frame
}

#[inline(always)]
fn advertisement(
    to: Mac,
    own: Mac,
    address: [u64; 2],
    receiver: [u8; 16],
    flags: u8,
) -> [u8; ADVERTISEMENT_FRAME] {
    const IP: usize = ETHERNET;
    const ICMP: usize = ETHERNET + IPV6;
    let mut frame = [0; ADVERTISEMENT_FRAME];
    frame[0..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&own);
    frame[12..14].copy_from_slice(&ETHERTYPE_IPV6.to_ne_bytes());
    frame[IP] = 0x60;
    frame[IP + 5] = ADVERTISEMENT as u8;
    frame[IP + 6] = ICMPV6;
    frame[IP + 7] = HOP_LIMIT;
    frame[IP + 8..IP + 24].copy_from_slice(&bytes(address));
    frame[IP + 24..IP + 40].copy_from_slice(&receiver);
    frame[ICMP] = ADVERTISES;
    frame[ICMP + 4] = flags;
    frame[ICMP + 8..ICMP + 24].copy_from_slice(&bytes(address));
    // The option target link-layer address, of one unit of eight bytes.
    frame[ICMP + 24] = 2;
    frame[ICMP + 25] = 1;
    frame[ICMP + 26..ICMP + 32].copy_from_slice(&own);
    let mut sum = pseudo_header(address, words(receiver), ICMPV6, ADVERTISEMENT as u32);
    let mut i = ICMP;
    while i < ADVERTISEMENT_FRAME {
        sum = add(sum, u16::from_ne_bytes([frame[i], frame[i + 1]]) as u32);
        i += 2;
    }
    frame[ICMP + 2..ICMP + 4].copy_from_slice(&(!fold(sum)).to_ne_bytes());
    frame
}

#[inline(always)]
fn mac(window: &impl Window, at: usize) -> Mac {
    [
        window.u8(at),
        window.u8(at + 1),
        window.u8(at + 2),
        window.u8(at + 3),
        window.u8(at + 4),
        window.u8(at + 5),
    ]
}

/// An address in words, the first bytes in the low half of the first: programs run on little-endian machines alone.
#[inline(always)]
pub const fn words(address: Address) -> [u64; 2] {
    let number = u128::from_le_bytes(address);
    [number as u64, (number >> 64) as u64]
}

#[inline(always)]
const fn bytes(words: [u64; 2]) -> Address {
    (words[0] as u128 | (words[1] as u128) << 64).to_le_bytes()
}
