//! What a packet says: Ethernet, IPv4 or IPv6, TCP or UDP, read through a [`Frame`], so that the same code parses an
//! skb in a program and a slice of bytes in a test or under the fuzzer.

use crate::maps::{FlowKey, TCP, UDP};

/// Bytes of a packet. `window` is the only check; reads inside a window are free.
pub trait Frame {
    type Window: Window;
    /// `length` bytes from `offset` on, or None if the packet is shorter.
    fn window(&self, offset: usize, length: usize) -> Option<Self::Window>;
}

/// Bytes that are known to be there. Reads outside are a bug of the caller. Names say the byte order of the result:
/// `raw` leaves the bytes as they lie in memory.
pub trait Window {
    fn u8(&self, at: usize) -> u8;
    fn raw16(&self, at: usize) -> u16;
    fn raw32(&self, at: usize) -> u32;

    #[inline(always)]
    fn be16(&self, at: usize) -> u16 {
        u16::from_be(self.raw16(at))
    }

    #[inline(always)]
    fn be32(&self, at: usize) -> u32 {
        u32::from_be(self.raw32(at))
    }

    #[inline(always)]
    fn raw64(&self, at: usize) -> u64 {
        self.raw32(at) as u64 | (self.raw32(at + 4) as u64) << 32
    }
}

/// Ethernet header without VLAN tag; the kernel takes one tag out of the frame.
pub const ETHERNET: usize = 14;
pub const IPV4: usize = 20;
pub const IPV6: usize = 40;
pub const TCP_HEADER: usize = 20;
pub const UDP_HEADER: usize = 8;

/// EtherTypes (IANA) in the byte order of the wire.
const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();

/// TCP flags (RFC 9293 section 3.1).
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// Ports and protocol: the last word of a flow key. Most packets of a node are told apart by these alone, and each
/// pays for the look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports(u64);

impl Ports {
    const UNKNOWN: Self = Self(0);

    /// Unknown if the packet is not TCP or UDP over IP. Fragments, IPv4 options and IPv6 extension headers are not
    /// read yet, so such packets are the host's.
    #[inline(always)]
    pub fn of(frame: &(impl Frame + ?Sized)) -> Self {
        const VERSION_4_WITHOUT_OPTIONS: u8 = 0x45;
        /// More-fragments and the offset (RFC 791), raw.
        const FRAGMENT: u16 = 0x3fffu16.to_be();
        let Some(head) = frame.window(0, ETHERNET + IPV4) else { return Self::UNKNOWN };
        let ip = ETHERNET;
        match head.raw16(12) {
            ETHERTYPE_IPV4
                if head.u8(ip) == VERSION_4_WITHOUT_OPTIONS && head.raw16(ip + 6) & FRAGMENT == 0 =>
            {
                Self::at(frame, ip + IPV4, head.u8(ip + 9))
            }
            ETHERTYPE_IPV6 if head.u8(ip) >> 4 == 6 => Self::at(frame, ip + IPV6, head.u8(ip + 6)),
            _ => Self::UNKNOWN,
        }
    }

    #[inline(always)]
    fn at(frame: &(impl Frame + ?Sized), offset: usize, protocol: u8) -> Self {
        if protocol != TCP && protocol != UDP {
            return Self::UNKNOWN;
        }
        let Some(header) = frame.window(offset, UDP_HEADER) else { return Self::UNKNOWN };
        let (source, destination) = (header.be16(0), header.be16(2));
        Self(source as u64 | (destination as u64) << 16 | (protocol as u64) << 32)
    }

    #[inline(always)]
    pub const fn is_known(self) -> bool {
        self.0 != 0
    }

    #[inline(always)]
    pub const fn is_tcp(self) -> bool {
        (self.0 >> 32) as u8 == TCP
    }

    #[inline(always)]
    pub const fn source(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    pub const fn destination(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// A TCP or UDP packet over IP that forwarding understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// As [`FlowKey::words`].
    pub key: [u64; 5],
    pub is_ipv6: bool,
    pub hop_limit: u8,
    /// Raw: IPv4 header checksum; 0 for IPv6.
    pub ip_checksum: u16,
    /// Bytes of the IP packet as its header says. Of a segmented packet: of all segments.
    pub ip_length: u32,
    /// Raw: TCP or UDP checksum.
    pub checksum: u16,
    pub tcp: Tcp,
}

/// The TCP header's part; zeros for UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
    /// Bytes of header and options, as the header says: 20 to 60 when valid.
    pub header: u8,
}

impl Packet {
    /// None: not for forwarding.
    #[inline(always)]
    pub fn parse(frame: &(impl Frame + ?Sized)) -> Option<Self> {
        let mut packet = Self::default();
        let ports = Ports::of(frame);
        (ports.is_known() && packet.read(frame, ports)).then_some(packet)
    }

    /// As [`Self::parse`] after a first look, for programs: every field always has a value, since the verifier refuses
    /// what an `Option` leaves unset. False: not for forwarding.
    #[inline(always)]
    pub fn read(&mut self, frame: &(impl Frame + ?Sized), ports: Ports) -> bool {
        let Some(ethernet) = frame.window(0, ETHERNET + IPV4) else { return false };
        let ip = ETHERNET;
        if ethernet.raw16(12) == ETHERTYPE_IPV4 {
            [self.key[0], self.key[1]] = mapped(ethernet.raw32(ip + 12));
            [self.key[2], self.key[3]] = mapped(ethernet.raw32(ip + 16));
            self.hop_limit = ethernet.u8(ip + 8);
            self.ip_checksum = ethernet.raw16(ip + 10);
            self.ip_length = ethernet.be16(ip + 2) as u32;
        } else {
            let Some(header) = frame.window(ip, IPV6) else { return false };
            [self.key[0], self.key[1]] = [header.raw64(8), header.raw64(16)];
            [self.key[2], self.key[3]] = [header.raw64(24), header.raw64(32)];
            // An IPv4-mapped address has no place on the wire (RFC 4291, RFC 8504); here it would pass for IPv4.
            if is_mapped([self.key[0], self.key[1]]) || is_mapped([self.key[2], self.key[3]]) {
                return false;
            }
            self.is_ipv6 = true;
            self.hop_limit = header.u8(7);
            self.ip_length = header.be16(4) as u32 + IPV6 as u32;
        }
        self.key[4] = ports.0;
        self.read_transport(frame)
    }

    #[inline(always)]
    fn read_transport(&mut self, frame: &(impl Frame + ?Sized)) -> bool {
        if !self.is_tcp() {
            let Some(header) = frame.window(self.transport(), UDP_HEADER) else { return false };
            self.checksum = header.raw16(6);
            return true;
        }
        let Some(header) = frame.window(self.transport(), TCP_HEADER) else { return false };
        self.tcp = Tcp {
            sequence: header.be32(4),
            acknowledgment: header.be32(8),
            flags: header.u8(13),
            header: (header.u8(12) >> 4) * 4,
        };
        self.checksum = header.raw16(16);
        true
    }

    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        (self.key[4] >> 32) as u8
    }

    #[inline(always)]
    pub const fn is_tcp(&self) -> bool {
        self.protocol() == TCP
    }

    #[inline(always)]
    pub const fn source_port(&self) -> u16 {
        self.key[4] as u16
    }

    #[inline(always)]
    pub const fn destination_port(&self) -> u16 {
        (self.key[4] >> 16) as u16
    }

    #[inline(always)]
    pub fn flow_key(&self) -> &FlowKey {
        FlowKey::from_words(&self.key)
    }

    /// Offset of the TCP or UDP header in the frame.
    #[inline(always)]
    pub const fn transport(&self) -> usize {
        ETHERNET + if self.is_ipv6 { IPV6 } else { IPV4 }
    }

    /// SYN without ACK, FIN or RST: the only TCP packet that may start a flow.
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.tcp.flags & (SYN | ACK | FIN | RST) == SYN
    }

    /// The sequence number after this segment: its payload, SYN and FIN counted.
    #[inline(always)]
    pub const fn next_sequence(&self) -> u32 {
        let headers = (self.transport() - ETHERNET) as u32 + self.tcp.header as u32;
        let payload = self.ip_length.saturating_sub(headers);
        let counted = (self.tcp.flags & SYN != 0) as u32 + (self.tcp.flags & FIN != 0) as u32;
        self.tcp.sequence.wrapping_add(payload).wrapping_add(counted)
    }
}

/// The words of an IPv4-mapped address.
#[inline(always)]
pub const fn mapped(raw: u32) -> [u64; 2] {
    [0, 0xffff_0000 | (raw as u64) << 32]
}

/// The IPv4 address of a mapped one, raw; None for IPv6.
#[inline(always)]
pub const fn unmapped(words: [u64; 2]) -> Option<u32> {
    if is_mapped(words) { Some((words[1] >> 32) as u32) } else { None }
}

#[inline(always)]
const fn is_mapped(words: [u64; 2]) -> bool {
    words[0] == 0 && words[1] as u32 == 0xffff_0000
}

/// TSval of the timestamps option (RFC 7323 section 3.2) in the options of a TCP header. Looks at the two layouts that
/// stacks send: alone and padded, or behind maximum segment size and SACK-permitted in a SYN; a walk over any
/// layout would cost every verified instruction, and a timestamp that is missed only makes reuse stricter.
#[inline(always)]
pub fn timestamp(frame: &(impl Frame + ?Sized), packet: &Packet) -> Timestamp {
    /// Kind 8, length 10.
    const TIMESTAMP: u16 = 0x080au16.to_be();
    /// Two no-operations.
    const PADDING: u16 = 0x0101u16.to_be();
    /// Kind 4, length 2.
    const SACK_PERMITTED: u16 = 0x0402u16.to_be();
    if packet.tcp.header < 32 {
        return Timestamp::NONE;
    }
    let Some(options) = frame.window(packet.transport() + TCP_HEADER, 12) else { return Timestamp::NONE };
    if options.raw16(0) == PADDING && options.raw16(2) == TIMESTAMP {
        return Timestamp::new(options.be32(4));
    }
    if packet.tcp.header < 36 {
        return Timestamp::NONE;
    }
    let Some(options) = frame.window(packet.transport() + TCP_HEADER, 16) else { return Timestamp::NONE };
    if options.raw16(4) == SACK_PERMITTED && options.raw16(6) == TIMESTAMP {
        return Timestamp::new(options.be32(8));
    }
    Timestamp::NONE
}

/// A TSval, if there is one. A plain word: the verifier refuses what an `Option` leaves unset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const NONE: Self = Self(0);

    #[inline(always)]
    pub const fn new(value: u32) -> Self {
        Self(1 << 32 | value as u64)
    }

    #[inline(always)]
    pub const fn from_parts(value: u32, is_known: bool) -> Self {
        Self((is_known as u64) << 32 | value as u64)
    }

    #[inline(always)]
    pub const fn is_known(self) -> bool {
        self.0 >> 32 != 0
    }

    /// Meaningful only if it is known.
    #[inline(always)]
    pub const fn value(self) -> u32 {
        self.0 as u32
    }
}

/// A frame in memory: for tests, fixtures and the fuzzer.
impl Frame for [u8] {
    type Window = Bytes;

    fn window(&self, offset: usize, length: usize) -> Option<Bytes> {
        let bytes = self.get(offset..offset.checked_add(length)?)?;
        let mut copy = [0; Bytes::MAX];
        copy.get_mut(..length)?.copy_from_slice(bytes);
        Some(Bytes(copy))
    }
}

/// A window's copy.
#[derive(Clone, Copy, Debug)]
pub struct Bytes([u8; Bytes::MAX]);

impl Bytes {
    /// The largest window that the parsers ask for: an IPv6 header.
    const MAX: usize = IPV6;
}

impl Window for Bytes {
    fn u8(&self, at: usize) -> u8 {
        self.0[at]
    }

    fn raw16(&self, at: usize) -> u16 {
        u16::from_ne_bytes([self.0[at], self.0[at + 1]])
    }

    fn raw32(&self, at: usize) -> u32 {
        u32::from_ne_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }
}
