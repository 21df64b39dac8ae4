//! What changes in a packet: addresses, ports, hop limit, and what that does to the checksums (RFC 1624).

use crate::{
    headers::{ETHERNET, IPV4, IPV6, Packet, unmapped},
    maps::FlowKey,
};

/// The new header bytes and the checksum deltas of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// From the hop limit's byte up to and including the ports; `length` of them count.
    pub bytes: [u8; Self::MAX],
    /// Offset in the frame.
    pub offset: usize,
    pub length: usize,
    /// Offset of the TCP or UDP checksum in the frame.
    pub checksum: usize,
    /// Ones' complement sum of what changed in addresses: in the pseudo header, so also for CHECKSUM_PARTIAL.
    pub pseudo: u32,
    /// The same for ports.
    pub ports: u32,
}

impl Rewrite {
    /// IPv6: hop limit, two addresses, two ports.
    pub const MAX: usize = 1 + 32 + 4;
    /// IPv4: TTL, protocol, checksum, two addresses, two ports.
    pub const LENGTH_V4: usize = 4 + 8 + 4;
    pub const LENGTH_V6: usize = Self::MAX;

    /// The packet as it goes on: `reversed` is the key of the answers that the receiver will send to it. The hop
    /// limit goes down by one; the caller has seen that it is above 1.
    #[inline(always)]
    pub fn new(packet: &Packet, reversed: &FlowKey) -> Self {
        let to = reversed.words();
        // Whoever receives the packet is the source of its answers.
        let (source, destination) = ([to[2], to[3]], [to[0], to[1]]);
        let (source_port, destination_port) = ((to[4] >> 16) as u16, to[4] as u16);
        let mut rewrite = Self {
            bytes: [0; Self::MAX],
            offset: 0,
            length: 0,
            checksum: packet.transport() + if packet.is_tcp() { 16 } else { 6 },
            pseudo: 0,
            ports: difference(
                packet.source_port().to_be() as u32,
                packet.destination_port().to_be() as u32,
                source_port.to_be() as u32,
                destination_port.to_be() as u32,
            ),
        };
        let ports = source_port.to_be() as u32 | (destination_port.to_be() as u32) << 16;
        if packet.is_ipv6 {
            rewrite.ipv6(packet, source, destination, ports);
        } else {
            rewrite.ipv4(packet, source, destination, ports);
        }
        rewrite
    }

    #[inline(always)]
    fn ipv4(&mut self, packet: &Packet, source: [u64; 2], destination: [u64; 2], ports: u32) {
        let (source, destination) = ((source[1] >> 32) as u32, (destination[1] >> 32) as u32);
        self.pseudo = difference(
            (packet.key[1] >> 32) as u32,
            (packet.key[3] >> 32) as u32,
            source,
            destination,
        );
        // TTL is the first byte of its 16-bit word on the wire.
        let hop = difference(u16::from_ne_bytes([packet.hop_limit, 0]) as u32, 0, hop_word(packet.hop_limit), 0);
        let sum = add(add(!packet.ip_checksum as u32, self.pseudo), hop);
        let checksum = !fold(sum);
        self.offset = ETHERNET + 8;
        self.length = Self::LENGTH_V4;
        let protocol = packet.protocol();
        self.bytes[0] = packet.hop_limit.wrapping_sub(1);
        self.bytes[1] = protocol;
        put(&mut self.bytes, 2, &checksum.to_ne_bytes());
        put(&mut self.bytes, 4, &source.to_ne_bytes());
        put(&mut self.bytes, 8, &destination.to_ne_bytes());
        put(&mut self.bytes, 12, &ports.to_ne_bytes());
    }

    #[inline(always)]
    fn ipv6(&mut self, packet: &Packet, source: [u64; 2], destination: [u64; 2], ports: u32) {
        let mut sum = 0;
        let new = [source[0], source[1], destination[0], destination[1]];
        let mut i = 0;
        while i < 4 {
            let old = packet.key[i];
            sum = add(sum, difference(old as u32, (old >> 32) as u32, new[i] as u32, (new[i] >> 32) as u32));
            i += 1;
        }
        self.pseudo = sum;
        self.offset = ETHERNET + 7;
        self.length = Self::LENGTH_V6;
        self.bytes[0] = packet.hop_limit.wrapping_sub(1);
        put(&mut self.bytes, 1, &new[0].to_ne_bytes());
        put(&mut self.bytes, 9, &new[1].to_ne_bytes());
        put(&mut self.bytes, 17, &new[2].to_ne_bytes());
        put(&mut self.bytes, 25, &new[3].to_ne_bytes());
        put(&mut self.bytes, 33, &ports.to_ne_bytes());
    }
}

const fn hop_word(hop_limit: u8) -> u32 {
    u16::from_ne_bytes([hop_limit.wrapping_sub(1), 0]) as u32
}

#[inline(always)]
fn put<const N: usize>(bytes: &mut [u8; Rewrite::MAX], at: usize, value: &[u8; N]) {
    let mut i = 0;
    while i < N {
        bytes[at + i] = value[i];
        i += 1;
    }
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
    let sum = match (unmapped(source), unmapped(destination)) {
        (Some(source), Some(destination)) => add(source, destination),
        _ => {
            let [a, b] = source;
            let [c, d] = destination;
            add(
                add(add(a as u32, (a >> 32) as u32), add(b as u32, (b >> 32) as u32)),
                add(add(c as u32, (c >> 32) as u32), add(d as u32, (d >> 32) as u32)),
            )
        }
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
