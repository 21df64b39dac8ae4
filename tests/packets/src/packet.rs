//! Packets as values: what they say, and their bytes with right checksums.

use std::net::{IpAddr, SocketAddr};

use crate::checksum;

/// An IP packet with TCP, UDP or ICMP. Methods that change something give a changed copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub hop_limit: u8,
    /// IPv4: identification; don't-fragment is always set.
    pub id: u16,
    /// Type of service or traffic class.
    pub class: u8,
    pub transport: Transport,
    pub payload: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp(Tcp),
    Udp {
        has_checksum: bool,
    },
    /// Type and code; four zero bytes follow the checksum.
    Icmp(u8, u8),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
    pub window: u16,
    pub options: Vec<u8>,
}

/// TCP flags (RFC 9293 section 3.1).
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

pub const ETHERNET: usize = 14;

/// A hop limit that stacks start with, less a few hops.
const ARRIVED: u8 = 61;

pub fn tcp(from: SocketAddr, to: SocketAddr) -> Packet {
    let transport = Transport::Tcp(Tcp { window: 64_000, ..Tcp::default() });
    Packet { from, to, hop_limit: ARRIVED, id: 0x1234, class: 0x28, transport, payload: Vec::new() }
}

pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Packet {
    let transport = Transport::Udp { has_checksum: true };
    Packet { transport, ..tcp(from, to) }.with(payload)
}

pub fn ping(from: IpAddr, to: IpAddr) -> Packet {
    let kind = if from.is_ipv4() { 8 } else { 128 };
    let [from, to] = [from, to].map(|address| SocketAddr::new(address, 0));
    Packet { transport: Transport::Icmp(kind, 0), ..tcp(from, to) }.with(b"ping")
}

/// What the gateway answers by itself: a fresh header, no class, no window.
fn answer(from: SocketAddr, to: SocketAddr, transport: Transport) -> Packet {
    Packet { hop_limit: 64, id: 0, class: 0, transport, ..tcp(from, to) }
}

/// RST as RFC 9293 section 3.5.2 wants it for a segment with ACK.
pub fn reset(from: SocketAddr, to: SocketAddr, sequence: u32) -> Packet {
    answer(from, to, Transport::Tcp(Tcp { sequence, flags: RST, ..Tcp::default() }))
}

/// The same for a segment without ACK.
pub fn reset_and_ack(from: SocketAddr, to: SocketAddr, acknowledgment: u32) -> Packet {
    answer(from, to, Transport::Tcp(Tcp { acknowledgment, flags: RST | ACK, ..Tcp::default() }))
}

/// Port unreachable with the headers of the datagram that caused it (RFC 792, RFC 4443 section 3.1).
pub fn port_unreachable(datagram: &Packet) -> Packet {
    let (kind, code) = if datagram.from.is_ipv4() { (3, 3) } else { (1, 4) };
    let quoted = datagram.bytes();
    let length = quoted.len() - datagram.payload.len();
    answer(datagram.to, datagram.from, Transport::Icmp(kind, code)).with(&quoted[..length])
}

impl Packet {
    #[must_use]
    pub fn from(&self, from: SocketAddr) -> Self {
        Self { from, ..self.clone() }
    }

    #[must_use]
    pub fn to(&self, to: SocketAddr) -> Self {
        Self { to, ..self.clone() }
    }

    #[must_use]
    pub fn hop_limit(&self, hop_limit: u8) -> Self {
        Self { hop_limit, ..self.clone() }
    }

    /// One hop on.
    #[must_use]
    pub fn hopped(&self) -> Self {
        self.hop_limit(self.hop_limit - 1)
    }

    #[must_use]
    pub fn with(&self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self.clone() }
    }

    #[must_use]
    pub fn without_checksum(&self) -> Self {
        Self { transport: Transport::Udp { has_checksum: false }, ..self.clone() }
    }

    #[must_use]
    pub fn syn(&self, sequence: u32) -> Self {
        self.segment(SYN, sequence, 0)
    }

    #[must_use]
    pub fn syn_ack(&self, sequence: u32, acknowledgment: u32) -> Self {
        self.segment(SYN | ACK, sequence, acknowledgment)
    }

    #[must_use]
    pub fn ack(&self, sequence: u32, acknowledgment: u32) -> Self {
        self.segment(ACK, sequence, acknowledgment)
    }

    #[must_use]
    pub fn fin(&self, sequence: u32, acknowledgment: u32) -> Self {
        self.segment(FIN | ACK, sequence, acknowledgment)
    }

    #[must_use]
    pub fn rst(&self, sequence: u32) -> Self {
        self.segment(RST, sequence, 0)
    }

    #[must_use]
    pub fn segment(&self, flags: u8, sequence: u32, acknowledgment: u32) -> Self {
        self.tcp_header(|tcp| {
            (tcp.flags, tcp.sequence, tcp.acknowledgment) = (flags, sequence, acknowledgment);
        })
    }

    /// The timestamps option (RFC 7323) as Linux pads it.
    #[must_use]
    pub fn timestamp(&self, value: u32) -> Self {
        let [a, b, c, d] = value.to_be_bytes();
        self.tcp_header(|tcp| tcp.options = vec![1, 1, 8, 10, a, b, c, d, 0, 0, 0, 0])
    }

    fn tcp_header(&self, change: impl FnOnce(&mut Tcp)) -> Self {
        let mut copy = self.clone();
        let Transport::Tcp(tcp) = &mut copy.transport else { panic!("{self:?} is no TCP segment") };
        change(tcp);
        copy
    }

    pub fn is_ipv4(&self) -> bool {
        self.from.is_ipv4()
    }

    pub fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp(_) => 6,
            Transport::Udp { .. } => 17,
            Transport::Icmp(..) if self.is_ipv4() => 1,
            Transport::Icmp(..) => 58,
        }
    }

    /// The frame between two devices.
    pub fn frame(&self, destination: [u8; 6], source: [u8; 6]) -> Vec<u8> {
        let kind: [u8; 2] = if self.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
        [&destination[..], &source[..], &kind, &self.bytes()].concat()
    }

    /// The IP packet.
    pub fn bytes(&self) -> Vec<u8> {
        let transport = self.transport_bytes();
        let mut bytes = self.ip_header(transport.len());
        bytes.extend(transport);
        bytes
    }

    /// Offset of the transport header in the frame.
    pub fn transport_at(&self) -> usize {
        ETHERNET + if self.is_ipv4() { 20 } else { 40 }
    }

    /// Bytes of all headers of the frame.
    pub fn headers(&self) -> usize {
        ETHERNET + self.bytes().len() - self.payload.len()
    }

    /// The packets that a device cuts a long one into, each with that many bytes of payload.
    pub fn segments(&self, size: usize) -> Vec<Self> {
        let cut = |(n, payload): (u16, &[u8])| {
            let mut segment = self.with(payload);
            segment.id += n;
            if let Transport::Tcp(tcp) = &mut segment.transport {
                tcp.sequence += u32::from(n) * u32::try_from(size).expect("a segment's size");
            }
            segment
        };
        (0..).zip(self.payload.chunks(size)).map(cut).collect()
    }

    fn ip_header(&self, payload: usize) -> Vec<u8> {
        let mut header = Vec::new();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.extend([0x45, self.class]);
                header.extend(word(payload + 20));
                header.extend(self.id.to_be_bytes());
                header.extend([0x40, 0, self.hop_limit, self.protocol(), 0, 0]);
                header.extend(from.octets());
                header.extend(to.octets());
                let sum = checksum::internet(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                header.extend([0x60 | self.class >> 4, self.class << 4, 0, 0]);
                header.extend(word(payload));
                header.extend([self.protocol(), self.hop_limit]);
                header.extend(from.octets());
                header.extend(to.octets());
            }
            _ => panic!("{self:?} mixes address families"),
        }
        header
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let ports = [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        let checksum_at = match &self.transport {
            Transport::Tcp(tcp) => {
                bytes.extend(ports);
                bytes.extend(tcp.sequence.to_be_bytes());
                bytes.extend(tcp.acknowledgment.to_be_bytes());
                let words = u8::try_from(5 + tcp.options.len() / 4).expect("options fit");
                bytes.extend([words << 4, tcp.flags]);
                bytes.extend(tcp.window.to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(&tcp.options);
                Some(16)
            }
            Transport::Udp { has_checksum } => {
                bytes.extend(ports);
                bytes.extend(word(8 + self.payload.len()));
                bytes.extend([0; 2]);
                has_checksum.then_some(6)
            }
            Transport::Icmp(kind, code) => {
                bytes.extend([*kind, *code, 0, 0, 0, 0, 0, 0]);
                Some(2)
            }
        };
        bytes.extend(&self.payload);
        if let Some(at) = checksum_at {
            let sum = self.checksum_of(&bytes);
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    /// Its checksum happens to be what CHECKSUM_PARTIAL leaves in the field, as one in 65,536 is.
    pub fn looks_partial(&self) -> bool {
        let bytes = self.transport_bytes();
        let at = if self.protocol() == 6 { 16 } else { 6 };
        let sum = checksum::partial(self.from.ip(), self.to.ip(), self.protocol(), bytes.len());
        bytes[at..at + 2] == sum.to_be_bytes()
    }

    fn checksum_of(&self, bytes: &[u8]) -> u16 {
        match self.protocol() {
            1 => checksum::internet(bytes),
            protocol => match checksum::transport(self.from.ip(), self.to.ip(), protocol, bytes) {
                // UDP's 0 means that there is none (RFC 768).
                0 if protocol == 17 => 0xffff,
                sum => sum,
            },
        }
    }
}

/// Source and destination of a frame without IP options.
pub fn ends(frame: &[u8]) -> (SocketAddr, SocketAddr) {
    let ip = &frame[ETHERNET..];
    let end = |which: usize| {
        let (address, ports): (IpAddr, usize) = if ip[0] >> 4 == 4 {
            (bytes::<4>(&ip[12 + 4 * which..]).into(), 20)
        } else {
            (bytes::<16>(&ip[8 + 16 * which..]).into(), 40)
        };
        SocketAddr::new(address, u16::from_be_bytes(bytes(&ip[ports + 2 * which..])))
    };
    (end(0), end(1))
}

fn bytes<const N: usize>(slice: &[u8]) -> [u8; N] {
    slice[..N].try_into().expect("as long")
}

fn word(number: usize) -> [u8; 2] {
    u16::try_from(number).expect("the packet is shorter than 64 KiB").to_be_bytes()
}
