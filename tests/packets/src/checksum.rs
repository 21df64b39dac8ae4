//! The Internet checksum (RFC 1071), word by word as the RFC has it and sharing nothing with the code under test.

use std::net::IpAddr;

/// The checksum of a header whose own field is zero; 0 for one that holds its checksum.
pub fn internet(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// The same over the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1) and the transport's bytes.
pub fn transport(source: IpAddr, destination: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let mut covered = pseudo_header(source, destination, protocol, bytes.len());
    covered.extend_from_slice(bytes);
    internet(&covered)
}

/// What CHECKSUM_PARTIAL leaves in the checksum field for the device to finish.
pub fn partial(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u16 {
    !internet(&pseudo_header(source, destination, protocol, length))
}

fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(internet(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(internet(&[0xff]), 0x00ff);
    }
}
