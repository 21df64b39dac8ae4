//! What changes in a packet: addresses, ports, hop limit, and what that does to the checksums (RFC 1624).

use crate::{
    headers::{ETHERNET, IPV4, IPV6, Packet, unmapped},
    maps::FlowKey,
};

/// The new header words and the checksum deltas of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Raw, up to and including the ports. IPv4: from the TTL's word on, [`Self::WORDS_V4`]; IPv6: from the hop limit's
    /// word on, [`Self::WORDS_V6`].
    pub words: [u32; Self::WORDS_V6],
    /// Ones' complement sum of what changed in addresses: in the pseudo header, so also for CHECKSUM_PARTIAL.
    pub pseudo: u32,
    /// The same for ports.
    pub ports: u32,
}

impl Rewrite {
    /// TTL with protocol and checksum, two addresses, two ports.
    pub const WORDS_V4: usize = 1 + 2 + 1;
    /// Payload length with next header and hop limit, two addresses, two ports.
    pub const WORDS_V6: usize = 1 + 8 + 1;
    /// Offsets in the frame.
    pub const AT_V4: usize = ETHERNET + 8;
    pub const AT_V6: usize = ETHERNET + 4;

    /// The packet as it goes on: `reversed` is the key of the answers that the receiver will send to it. The hop
    /// limit goes down by one; the caller has seen that it is above 1.
    #[inline(always)]
    pub fn new(packet: &Packet, reversed: &FlowKey) -> Self {
        // Whoever receives the packet is the source of its answers.
        let to = reversed.words();
        let source_port = ((to[4] >> 16) as u16).to_be() as u32;
        let destination_port = (to[4] as u16).to_be() as u32;
        let mut rewrite = Self {
            ports: difference(
                packet.source_port().to_be() as u32,
                packet.destination_port().to_be() as u32,
                source_port,
                destination_port,
            ),
            ..Self::default()
        };
        let ports = source_port | destination_port << 16;
        let hop_limit = packet.hop_limit.wrapping_sub(1);
        if packet.is_ipv6 {
            rewrite.ipv6(packet, [to[2], to[3], to[0], to[1]], hop_limit);
            rewrite.words[9] = ports;
        } else {
            rewrite.ipv4(packet, (to[3] >> 32) as u32, (to[1] >> 32) as u32, hop_limit);
            rewrite.words[3] = ports;
        }
        rewrite
    }

    #[inline(always)]
    fn ipv4(&mut self, packet: &Packet, source: u32, destination: u32, hop_limit: u8) {
        let (old_source, old_destination) = ((packet.key[1] >> 32) as u32, (packet.key[3] >> 32) as u32);
        self.pseudo = difference(old_source, old_destination, source, destination);
        // TTL is the first byte of its 16-bit word on the wire; the second, the protocol, stays.
        let hop = difference(first_byte(packet.hop_limit), 0, first_byte(hop_limit), 0);
        let checksum = !fold(add(add(!packet.ip_checksum as u32, self.pseudo), hop));
        let head = first_byte(hop_limit) | second_byte(packet.protocol());
        self.words[0] = head | (checksum as u32) << 16;
        self.words[1] = source;
        self.words[2] = destination;
    }

    #[inline(always)]
    fn ipv6(&mut self, packet: &Packet, addresses: [u64; 4], hop_limit: u8) {
        let payload = (packet.ip_length.wrapping_sub(IPV6 as u32) as u16).to_be() as u32;
        let tail = first_byte(packet.protocol()) | second_byte(hop_limit);
        self.words[0] = payload | tail << 16;
        let mut i = 0;
        while i < 4 {
            let (old, new) = (packet.key[i], addresses[i]);
            let change = difference(old as u32, (old >> 32) as u32, new as u32, (new >> 32) as u32);
            self.pseudo = add(self.pseudo, change);
            self.words[1 + 2 * i] = new as u32;
            self.words[2 + 2 * i] = (new >> 32) as u32;
            i += 1;
        }
    }
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
