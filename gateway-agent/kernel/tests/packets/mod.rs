//! Frames made by hand.

/// Where the node's frames go.
pub(crate) const LAN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// RFC 9293 section 3.1.
pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

/// An Ethernet frame with IPv4 (RFC 791) and TCP (RFC 9293) headers and nothing else.
pub(crate) fn segment(source: ([u8; 4], u16), destination: ([u8; 4], u16), flags: u8) -> Vec<u8> {
    let mut frame = vec![0; 54];
    frame[..6].copy_from_slice(&LAN_MAC);
    frame[12] = 0x08;
    frame[14] = 0x45;
    frame[17] = 40;
    frame[22] = 64;
    frame[23] = 6;
    frame[26..30].copy_from_slice(&source.0);
    frame[30..34].copy_from_slice(&destination.0);
    frame[34..36].copy_from_slice(&source.1.to_be_bytes());
    frame[36..38].copy_from_slice(&destination.1.to_be_bytes());
    // Acknowledges the sequence number 0.
    frame[45] = u8::from(flags & ACK != 0);
    frame[46] = 0x50;
    frame[47] = flags;
    frame
}
