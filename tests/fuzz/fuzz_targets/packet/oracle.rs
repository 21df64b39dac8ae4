//! Headers and checksums once more, written as the RFCs have them and without the code that is tried.

/// Offsets in a frame.
const IP: usize = 14;
const TRANSPORT_V4: usize = IP + 20;
const TRANSPORT_V6: usize = IP + 40;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The first bytes of an IPv4-mapped address (RFC 4291 section 2.5.5.2).
pub const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// What tells a packet from others; addresses of IPv4 are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    pub hop_limit: u8,
}

impl Fields {
    /// Of a packet that goes back.
    pub fn turned(self, hop_limit: u8) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
            hop_limit,
        }
    }
}

/// None: not for forwarding, that is no whole TCP or UDP header right behind an IP header, a fragment, or an
/// address that has no place on the wire.
pub fn fields(frame: &[u8]) -> Option<Fields> {
    let ip = frame.get(IP..)?;
    let is_ipv6 = is_ipv6(frame);
    let header = ip.get(..if is_ipv6 { 40 } else { 20 })?;
    let (protocol, hop_limit, source, destination) = if is_ipv6 {
        if header[0] >> 4 != 6 {
            return None;
        }
        let (source, destination) = (header[8..24].try_into().ok()?, header[24..40].try_into().ok()?);
        if is_mapped(&source) || is_mapped(&destination) {
            return None;
        }
        (header[6], header[7], source, destination)
    } else {
        let is_fragment = be16(header, 6) & 0x3fff != 0;
        if be16(frame, 12) != 0x0800 || header[0] != 0x45 || is_fragment {
            return None;
        }
        (header[9], header[8], mapped(&header[12..16]), mapped(&header[16..20]))
    };
    let transport = &ip[header.len()..];
    let is_whole = match protocol {
        TCP => transport.len() >= 20,
        UDP => transport.len() >= 8,
        _ => false,
    };
    is_whole.then(|| Fields {
        source,
        destination,
        source_port: be16(transport, 0),
        destination_port: be16(transport, 2),
        protocol,
        hop_limit,
    })
}

pub fn is_mapped(address: &[u8; 16]) -> bool {
    address.starts_with(&MAPPED)
}

/// The frame with lengths and checksums that fit its content. None: not for forwarding, or too long for one packet.
pub fn mended(frame: &[u8]) -> Option<Vec<u8>> {
    let Fields { protocol, .. } = fields(frame)?;
    let mut frame = frame.to_vec();
    let at = transport(&frame);
    let length = u16::try_from(frame.len() - at).ok()?;
    if is_ipv6(&frame) {
        put(&mut frame, IP + 4, length);
    } else {
        put(&mut frame, IP + 2, length.checked_add(20)?);
        put(&mut frame, IP + 10, 0);
        let checksum = !sum(&frame[IP..at]);
        put(&mut frame, IP + 10, checksum);
    }
    if protocol == UDP {
        put(&mut frame, at + 4, length);
    }
    let field = at + if protocol == TCP { 16 } else { 6 };
    put(&mut frame, field, 0);
    let checksum = !transport_sum(&frame, protocol);
    // RFC 768: a sum of zero is sent as all ones.
    put(&mut frame, field, if protocol == UDP && checksum == 0 { 0xffff } else { checksum });
    Some(frame)
}

/// Of IPv4; IPv6 has none.
pub fn ip_checksum_is_right(frame: &[u8]) -> bool {
    is_ipv6(frame) || sum(&frame[IP..TRANSPORT_V4]) == 0xffff
}

/// IP's and TCP's or UDP's; a UDP checksum of 0 is none, and stays none. False if not all of the packet is there.
pub fn checksums_are_right(frame: &[u8]) -> bool {
    let Some(Fields { protocol, .. }) = fields(frame) else { return false };
    let at = transport(frame);
    let is_whole = usize::from(be16(frame, if is_ipv6(frame) { IP + 4 } else { IP + 2 }))
        == frame.len() - if is_ipv6(frame) { at } else { IP };
    let has_none = protocol == UDP && be16(frame, at + 6) == 0;
    is_whole && ip_checksum_is_right(frame) && (has_none || transport_sum(frame, protocol) == 0xffff)
}

/// RFC 792: of the message alone; RFC 4443 section 2.3: with the pseudo header.
pub fn icmp_checksum_is_right(frame: &[u8]) -> bool {
    const ICMPV6: u8 = 58;
    let total = if is_ipv6(frame) { transport_sum(frame, ICMPV6) } else { sum(&frame[TRANSPORT_V4..]) };
    total == 0xffff
}

/// Everything from the transport header on and the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1).
fn transport_sum(frame: &[u8], protocol: u8) -> u16 {
    let at = transport(frame);
    let addresses = if is_ipv6(frame) { &frame[IP + 8..at] } else { &frame[IP + 12..at] };
    let length = frame.len() - at;
    fold(u64::from(sum(addresses)) + u64::from(sum(&frame[at..])) + length as u64 + u64::from(protocol))
}

/// RFC 1071: words of 16 bits in network byte order, an odd byte padded by zero.
pub fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
    fold(words.sum())
}

pub fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

fn is_ipv6(frame: &[u8]) -> bool {
    be16(frame, 12) == 0x86dd
}

fn transport(frame: &[u8]) -> usize {
    if is_ipv6(frame) { TRANSPORT_V6 } else { TRANSPORT_V4 }
}

fn mapped(address: &[u8]) -> [u8; 16] {
    let mut mapped = [0; 16];
    mapped[..12].copy_from_slice(&MAPPED);
    mapped[12..].copy_from_slice(address);
    mapped
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
