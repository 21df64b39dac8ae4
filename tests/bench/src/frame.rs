//! TCP segments as frames: Ethernet, IPv4, no options, no payload.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Flags of the TCP header (RFC 9293 section 3.1).
pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) device: [u8; 6],
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
}

/// Headers without options (IEEE 802.3, RFC 791, RFC 9293), and the shortest frame without its checksum.
const ETHERNET: usize = 14;
const IP: usize = 20;
const TCP: usize = 20;
pub(crate) const FRAME: usize = 60;
const TCP_PROTOCOL: u8 = 6;
/// Bytes of the packet; and of the TCP header in words, in the upper half of its byte.
const LENGTH: u8 = 40;
const OFFSET: u8 = 5 << 4;

impl Segment {
    pub(crate) fn frame(&self) -> [u8; FRAME] {
        let mut frame = [0; FRAME];
        frame[..6].copy_from_slice(&self.device);
        frame[6] = 2;
        frame[12..14].copy_from_slice(&[8, 0]);
        self.ip(&mut frame[ETHERNET..][..IP]);
        self.tcp(&mut frame[ETHERNET + IP..][..TCP]);
        frame
    }

    fn ip(&self, header: &mut [u8]) {
        header[0] = 0x45;
        header[3] = LENGTH;
        // As long a way as can be: each repetition takes one off.
        header[8] = 255;
        header[9] = TCP_PROTOCOL;
        header[12..16].copy_from_slice(&self.source.ip().octets());
        header[16..20].copy_from_slice(&self.destination.ip().octets());
        let sum = checksum(0, header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    fn tcp(&self, header: &mut [u8]) {
        header[..2].copy_from_slice(&self.source.port().to_be_bytes());
        header[2..4].copy_from_slice(&self.destination.port().to_be_bytes());
        header[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        header[8..12].copy_from_slice(&self.acknowledgment.to_be_bytes());
        header[12] = OFFSET;
        header[13] = self.flags;
        header[14..16].copy_from_slice(&[255, 255]);
        let addresses = [self.source.ip().octets(), self.destination.ip().octets()].concat();
        let pseudo = sum(u32::from(TCP_PROTOCOL) + 20, &addresses);
        let sum = checksum(pseudo, header);
        header[16..18].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Where a frame made here goes, after whatever has been done to it.
pub(crate) fn destination(frame: &[u8; FRAME]) -> SocketAddrV4 {
    end(frame, ETHERNET + 16, ETHERNET + IP + 2)
}

/// Where it comes from.
pub(crate) fn source(frame: &[u8; FRAME]) -> SocketAddrV4 {
    end(frame, ETHERNET + 12, ETHERNET + IP)
}

fn end(frame: &[u8; FRAME], address: usize, port: usize) -> SocketAddrV4 {
    let byte = |at: usize| frame[at];
    let address = Ipv4Addr::from([0, 1, 2, 3].map(|i| byte(address + i)));
    SocketAddrV4::new(address, u16::from_be_bytes([byte(port), byte(port + 1)]))
}

/// RFC 1071.
fn checksum(start: u32, bytes: &[u8]) -> u16 {
    let sum = sum(start, bytes);
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    // Two folds leave 16 bits.
    !u16::try_from(fold(fold(sum))).unwrap_or(0)
}

fn sum(start: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(start, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair[1]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_checksums_are_right() {
        let (source_end, destination_end) = (([10, 0, 0, 1], 1234), ([10, 0, 0, 2], 80));
        let make = |(address, port): ([u8; 4], u16)| SocketAddrV4::new(address.into(), port);
        let segment = Segment {
            device: [2, 0, 0, 0, 0, 1],
            source: make(source_end),
            destination: make(destination_end),
            flags: SYN,
            sequence: 7,
            acknowledgment: 0,
        };
        let frame = segment.frame();
        assert_eq!((source(&frame), destination(&frame)), (segment.source, segment.destination));
        // A header that holds its checksum sums to all ones.
        assert_eq!(checksum(0, &frame[14..34]), 0);
        let pseudo = sum(26, &frame[26..34]);
        assert_eq!(checksum(pseudo, &frame[34..54]), 0);
    }
}
