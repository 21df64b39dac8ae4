//! What changes in a packet: addresses, ports, hop limit, and what that does to the checksums (RFC 1624).

use crate::{
    headers::{ETHERNET, IPV4, IPV6, Packet, unmapped},
    maps::FlowKey,
};

/// The new header words and the checksum deltas of one packet: [`Ipv4`] or [`Ipv6`]. Words are of 64 bits, as the
/// kernel copies them; each family has as many as it needs, since programs clear memory byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite<const WORDS: usize> {
    /// Raw, from the word with the hop limit up to and including the ports.
    pub words: [u64; WORDS],
    /// Ones' complement sum of what changed in addresses: in the pseudo header, so also for CHECKSUM_PARTIAL.
    pub pseudo: u32,
    /// The same for ports; 0: they stay.
    pub ports: u32,
}

/// TTL with protocol and checksum, two addresses, two ports.
pub type Ipv4 = Rewrite<2>;
/// Payload length with next header and hop limit, two addresses, two ports.
pub type Ipv6 = Rewrite<5>;

/// The packet as it goes on: `reversed` is the key of the answers that the receiver will send to it, who is the source
/// of those. The hop limit goes down by one; the caller has seen that it is above 1.
impl Ipv4 {
    /// Offset of the words in the frame.
    pub const AT: usize = ETHERNET + 8;

    #[inline(always)]
    pub fn new(packet: &Packet, reversed: &FlowKey) -> Self {
        let to = reversed.words();
        let (source, destination) = ((to[3] >> 32) as u32, (to[1] >> 32) as u32);
        let (old_source, old_destination) = ((packet.key[1] >> 32) as u32, (packet.key[3] >> 32) as u32);
        let pseudo = difference(old_source, old_destination, source, destination);
        // TTL is the first byte of its 16-bit word on the wire; the second, the protocol, stays.
        let hop_limit = packet.hop_limit.wrapping_sub(1);
        let hop = difference(first_byte(packet.hop_limit), 0, first_byte(hop_limit), 0);
        let checksum = !fold(add(add(!packet.ip_checksum as u32, pseudo), hop));
        let head = first_byte(hop_limit) | second_byte(packet.protocol()) | (checksum as u32) << 16;
        let (ports, change) = ports(packet, to[4]);
        Self { words: [word(head, source), word(destination, ports)], pseudo, ports: change }
    }
}

/// As for IPv4.
impl Ipv6 {
    /// Offset of the words in the frame.
    pub const AT: usize = ETHERNET + 4;

    #[inline(always)]
    pub fn new(packet: &Packet, reversed: &FlowKey) -> Self {
        let to = reversed.words();
        let payload = (packet.ip_length.wrapping_sub(IPV6 as u32) as u16).to_be() as u32;
        let tail = first_byte(packet.protocol()) | second_byte(packet.hop_limit.wrapping_sub(1));
        let head = payload | tail << 16;
        let [a, b, c, d] = [to[2], to[3], to[0], to[1]];
        let (ports, change) = ports(packet, to[4]);
        Self {
            words: [
                word(head, a as u32),
                word((a >> 32) as u32, b as u32),
                word((b >> 32) as u32, c as u32),
                word((c >> 32) as u32, d as u32),
                word((d >> 32) as u32, ports),
            ],
            pseudo: add(
                add(halves(packet.key[0], a), halves(packet.key[1], b)),
                add(halves(packet.key[2], c), halves(packet.key[3], d)),
            ),
            ports: change,
        }
    }
}

/// The new ports as they stand on the wire, and what that does to the checksum. `reversed` is the last word of the key
/// of answers.
#[inline(always)]
fn ports(packet: &Packet, reversed: u64) -> (u32, u32) {
    let source = ((reversed >> 16) as u16).to_be() as u32;
    let destination = (reversed as u16).to_be() as u32;
    let old_source = packet.source_port().to_be() as u32;
    let old_destination = packet.destination_port().to_be() as u32;
    let ports = source | destination << 16;
    if ports == old_source | old_destination << 16 {
        return (ports, 0);
    }
    (ports, difference(old_source, old_destination, source, destination))
}

/// What the sum gains when a word of an address is replaced.
#[inline(always)]
const fn halves(old: u64, new: u64) -> u32 {
    difference(old as u32, (old >> 32) as u32, new as u32, (new >> 32) as u32)
}

/// Two words of the packet, the first one first in memory. Programs run on little-endian machines alone.
#[inline(always)]
const fn word(first: u32, second: u32) -> u64 {
    first as u64 | (second as u64) << 32
}

/// Offset of the transport checksum in the frame.
#[inline(always)]
pub const fn checksum_at(packet: &Packet) -> usize {
    packet.transport() + if packet.is_tcp() { 16 } else { 6 }
}

/// Bytes of a raw 16-bit word, in the order of the wire.
const fn first_byte(byte: u8) -> u32 {
    u16::from_ne_bytes([byte, 0]) as u32
}

const fn second_byte(byte: u8) -> u32 {
    u16::from_ne_bytes([0, byte]) as u32
}

/// Ones' complement sum of two 32-bit words.
#[inline(always)]
pub const fn add(a: u32, b: u32) -> u32 {
    let sum = a as u64 + b as u64;
    (sum as u32).wrapping_add((sum >> 32) as u32)
}

/// What the sum of a checksum's words gains when two words are replaced.
#[inline(always)]
const fn difference(old_a: u32, old_b: u32, new_a: u32, new_b: u32) -> u32 {
    add(add(!old_a, !old_b), add(new_a, new_b))
}

/// A 32-bit ones' complement sum in 16 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// Sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1): addresses as key words, protocol, bytes
/// from the transport header on. Not inverted: what CHECKSUM_PARTIAL leaves in the checksum field.
#[inline(always)]
pub const fn pseudo_header(source: [u64; 2], destination: [u64; 2], protocol: u8, length: u32) -> u32 {
    let sum = if let (Some(source), Some(destination)) = (unmapped(source), unmapped(destination)) {
        add(source, destination)
    } else {
        let [a, b] = source;
        let [c, d] = destination;
        add(
            add(add(a as u32, (a >> 32) as u32), add(b as u32, (b >> 32) as u32)),
            add(add(c as u32, (c >> 32) as u32), add(d as u32, (d >> 32) as u32)),
        )
    };
    add(add(sum, length.to_be()), (protocol as u32).to_be())
}

/// Whether the device is still to compute the checksum (CHECKSUM_PARTIAL), which a program can't see otherwise: the
/// field then holds the pseudo header's sum. A finished checksum looks like it once in 65,536 times.
#[inline(always)]
pub fn is_partial(packet: &Packet) -> bool {
    let [a, b, c, d, _] = packet.key;
    let length = packet.ip_length.wrapping_sub(if packet.is_ipv6 { IPV6 } else { IPV4 } as u32);
    fold(pseudo_header([a, b], [c, d], packet.protocol(), length)) == packet.checksum
}
