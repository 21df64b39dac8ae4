//! Answers that the gateway gives itself: RST to TCP (RFC 9293 section 3.5.2), port unreachable to UDP (RFC 792, RFC
//! 4443 section 3.1).

use crate::{
    headers::{ACK, IPV4, IPV6, Packet, RST, TCP_HEADER, UDP_HEADER},
    maps::TCP,
    rewrite::{add, fold, is_partial, pseudo_header},
};

/// A usual initial hop limit (RFC 1700).
const HOP_LIMIT: u8 = 64;
/// Protocol numbers (IANA).
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const ICMP_HEADER: usize = 8;

/// The RST header that ends the connection which `packet` belongs to, from the packet's destination to its source.
/// None: never answer RST with RST.
#[inline(always)]
pub fn reset(packet: &Packet) -> Option<[u8; TCP_HEADER]> {
    if packet.tcp.flags & RST != 0 {
        return None;
    }
    let (sequence, acknowledgment, flags) = if packet.tcp.flags & ACK != 0 {
        (packet.tcp.acknowledgment, 0, RST)
    } else {
        (0, packet.next_sequence(), RST | ACK)
    };
    let mut header = [0; TCP_HEADER];
    header[0..2].copy_from_slice(&packet.destination_port().to_be_bytes());
    header[2..4].copy_from_slice(&packet.source_port().to_be_bytes());
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
    header[12] = (TCP_HEADER as u8 / 4) << 4;
    header[13] = flags;
    let [a, b, c, d, _] = packet.key;
    let pseudo = pseudo_header([c, d], [a, b], TCP, TCP_HEADER as u32);
    // If the device was to compute the request's checksum, it will compute this one's.
    let checksum = if is_partial(packet) { fold(pseudo) } else { !fold(sum(&header, pseudo)) };
    header[16..18].copy_from_slice(&checksum.to_ne_bytes());
    Some(header)
}

/// An IPv4 header of a packet from the packet's destination to its source.
#[inline(always)]
pub fn ipv4(packet: &Packet, protocol: u8, payload: usize) -> [u8; IPV4] {
    let mut header = [0; IPV4];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((IPV4 + payload) as u16).to_be_bytes());
    // Don't fragment: such a packet needs no identification (RFC 6864).
    header[6] = 0x40;
    header[8] = HOP_LIMIT;
    header[9] = protocol;
    header[12..16].copy_from_slice(&((packet.key[3] >> 32) as u32).to_ne_bytes());
    header[16..20].copy_from_slice(&((packet.key[1] >> 32) as u32).to_ne_bytes());
    let checksum = !fold(sum(&header, 0));
    header[10..12].copy_from_slice(&checksum.to_ne_bytes());
    header
}

/// An IPv6 header of a packet from the packet's destination to its source.
#[inline(always)]
pub fn ipv6(packet: &Packet, protocol: u8, payload: usize) -> [u8; IPV6] {
    let [a, b, c, d, _] = packet.key;
    let mut header = [0; IPV6];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
    header[6] = protocol;
    header[7] = HOP_LIMIT;
    header[8..16].copy_from_slice(&c.to_ne_bytes());
    header[16..24].copy_from_slice(&d.to_ne_bytes());
    header[24..32].copy_from_slice(&a.to_ne_bytes());
    header[32..40].copy_from_slice(&b.to_ne_bytes());
    header
}

/// Protocol number of the answer to a datagram.
#[inline(always)]
pub const fn icmp_protocol(packet: &Packet) -> u8 {
    if packet.is_ipv6 { ICMPV6 } else { ICMP }
}

/// Bytes of an unreachable message: its header, then the datagram's headers.
pub const UNREACHABLE_V4: usize = ICMP_HEADER + IPV4 + UDP_HEADER;
pub const UNREACHABLE_V6: usize = ICMP_HEADER + IPV6 + UDP_HEADER;

/// The ICMP header of port unreachable; `quoted` are the headers of the datagram, which follow it in the answer.
#[inline(always)]
pub fn unreachable<const N: usize>(packet: &Packet, quoted: &[u8; N]) -> [u8; ICMP_HEADER] {
    let mut header = [0; ICMP_HEADER];
    // Destination unreachable, port unreachable.
    (header[0], header[1]) = if packet.is_ipv6 { (1, 4) } else { (3, 3) };
    let key = &packet.key;
    let (from, to) = ([key[2], key[3]], [key[0], key[1]]);
    let pseudo = if packet.is_ipv6 { pseudo_header(from, to, ICMPV6, UNREACHABLE_V6 as u32) } else { 0 };
    let network = N - UDP_HEADER;
    // A device that still computes the quoted datagram's checksum makes its words sum to the inverse of what stands
    // in the field now, whatever they are.
    let datagram = if is_partial(packet) {
        !packet.checksum as u32
    } else {
        let mut total = 0;
        let mut i = network;
        while i < N {
            total += u16::from_ne_bytes([quoted[i], quoted[i + 1]]) as u32;
            i += 2;
        }
        total
    };
    let mut total = 0;
    let mut i = 0;
    while i < network {
        total += u16::from_ne_bytes([quoted[i], quoted[i + 1]]) as u32;
        i += 2;
    }
    let checksum = !fold(sum(&header, add(pseudo, add(total, datagram))));
    header[2..4].copy_from_slice(&checksum.to_ne_bytes());
    header
}

/// Ones' complement sum of the words, on top of `start`.
#[inline(always)]
fn sum<const N: usize>(bytes: &[u8; N], start: u32) -> u32 {
    let mut total = 0;
    let mut i = 0;
    while i < N {
        total += u16::from_ne_bytes([bytes[i], bytes[i + 1]]) as u32;
        i += 2;
    }
    add(start, total)
}
