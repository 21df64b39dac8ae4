//! A frame of any content: what is read from it is what stands there, and what the gateway writes in its place, or
//! answers with, has the checksums that an independent sum gives.
//!
//! The first bytes say where the packet goes on to, the rest is the frame. The laws are tried on the frame as it is
//! and on a copy whose lengths and checksums are right, which random bytes hardly ever are.
#![no_main]

mod oracle;

use gateway_common::answer;
use gateway_common::headers::{
    ACK, ETHERNET, FIN, IPV4, IPV6, Packet, Ports, RST, SYN, TCP_HEADER, UDP_HEADER, timestamp,
};
use gateway_common::maps::{Address, FlowKey, TCP};
use gateway_common::rewrite::{Ipv4, Ipv6, Rewrite, checksum_at, fold, is_partial, pseudo_header};
use libfuzzer_sys::fuzz_target;

use oracle::Fields;

/// Bytes that name the new source and destination: addresses, then ports.
const ENDS: usize = 16 + 16 + 2 + 2;

fuzz_target!(|data: &[u8]| {
    let Some((ends, frame)) = data.split_first_chunk::<ENDS>() else { return };
    laws(frame, ends);
    if let Some(mended) = oracle::mended(frame) {
        assert!(oracle::checksums_are_right(&mended), "the oracle accepts what it mended");
        laws(&mended, ends);
    }
});

fn laws(frame: &[u8], ends: &[u8; ENDS]) {
    let parsed = Packet::parse(frame);
    assert_eq!(parsed.as_ref().map(fields), oracle::fields(frame));
    let Some(packet) = parsed else { return };
    let ports = Ports::of(frame);
    assert!(ports.is_known());
    assert_eq!((ports.source(), ports.destination()), (packet.source_port(), packet.destination_port()));
    assert_eq!(ports.is_tcp(), packet.is_tcp());
    if packet.is_tcp() {
        timestamp_stands_in_the_header(frame, &packet);
        reset_is_right(&packet);
    } else {
        unreachable_is_right(frame, &packet);
    }
    if packet.hop_limit > 1 {
        rewrite_is_right(frame, &packet, ends);
    }
}

fn fields(packet: &Packet) -> Fields {
    let key = packet.flow_key();
    Fields {
        source: key.source,
        destination: key.destination,
        source_port: key.source_port,
        destination_port: key.destination_port,
        protocol: key.protocol,
        hop_limit: packet.hop_limit,
    }
}

fn timestamp_stands_in_the_header(frame: &[u8], packet: &Packet) {
    let stamp = timestamp(frame, packet);
    if !stamp.is_known() {
        return;
    }
    let end = packet.transport() + usize::from(packet.tcp.header);
    let options = &frame[packet.transport() + TCP_HEADER..end.min(frame.len())];
    // Kind, length, TSval; TSecr must have its place too.
    let begin: Vec<u8> = [8, 10].into_iter().chain(stamp.value().to_be_bytes()).collect();
    assert!(options.windows(10).any(|option| option.starts_with(&begin)), "{stamp:?} is none of the options");
}

/// RFC 9293 section 3.10.7.1.
fn reset_is_right(packet: &Packet) {
    let Some(header) = answer::reset(packet) else {
        assert_ne!(packet.tcp.flags & RST, 0, "only RST gets no answer");
        return;
    };
    assert_eq!(packet.tcp.flags & RST, 0, "RST is never answered");
    let frame = answer_frame(packet, TCP, &header);
    let reply = Packet::parse(frame.as_slice()).expect("the answer is a packet");
    assert_eq!(fields(&reply), fields(packet).turned(reply.hop_limit));
    assert_eq!(usize::from(reply.tcp.header), TCP_HEADER);
    if packet.tcp.flags & ACK != 0 {
        assert_eq!((reply.tcp.flags, reply.tcp.sequence), (RST, packet.tcp.acknowledgment));
    } else {
        let next = packet.next_sequence();
        assert_eq!((reply.tcp.flags, reply.tcp.sequence), (RST | ACK, 0));
        assert_eq!(reply.tcp.acknowledgment, next);
        let counted = u32::from(packet.tcp.flags & SYN != 0) + u32::from(packet.tcp.flags & FIN != 0);
        assert!(next.wrapping_sub(packet.tcp.sequence) <= packet.ip_length + counted);
    }
    if is_partial(packet) {
        assert!(oracle::ip_checksum_is_right(&frame));
        assert!(is_partial(&reply), "the device goes on to compute the checksum");
    } else {
        assert!(oracle::checksums_are_right(&frame));
    }
}

/// RFC 792 and RFC 4443 section 3.1.
fn unreachable_is_right(frame: &[u8], packet: &Packet) {
    let end = packet.transport() + UDP_HEADER;
    let mut quoted = frame[ETHERNET..end].to_vec();
    let icmp = if packet.is_ipv6 {
        answer::unreachable::<{ IPV6 + UDP_HEADER }>(packet, quoted.as_slice().try_into().expect("as long"))
    } else {
        answer::unreachable::<{ IPV4 + UDP_HEADER }>(packet, quoted.as_slice().try_into().expect("as long"))
    };
    assert_eq!(icmp[..2], if packet.is_ipv6 { [1, 4] } else { [3, 3] });
    if is_partial(packet) {
        // What the device does to the datagram in the quotation.
        let datagram = quoted.len() - UDP_HEADER;
        let checksum = !oracle::sum(&quoted[datagram..]);
        quoted[datagram + 6..].copy_from_slice(&checksum.to_be_bytes());
    }
    let message = [icmp.as_slice(), &quoted].concat();
    let length = if packet.is_ipv6 { answer::UNREACHABLE_V6 } else { answer::UNREACHABLE_V4 };
    assert_eq!(message.len(), length);
    let reply = answer_frame(packet, answer::icmp_protocol(packet), &message);
    assert!(oracle::ip_checksum_is_right(&reply));
    assert!(oracle::icmp_checksum_is_right(&reply), "ICMP checksum of {reply:02x?}");
}

fn answer_frame(packet: &Packet, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (ethertype, network) = if packet.is_ipv6 {
        ([0x86, 0xdd], answer::ipv6(packet, protocol, payload.len()).to_vec())
    } else {
        ([0x08, 0x00], answer::ipv4(packet, protocol, payload.len()).to_vec())
    };
    [&[0; ETHERNET - 2], ethertype.as_slice(), &network, payload].concat()
}

/// Writes the words as the programs do and looks at the packet anew.
fn rewrite_is_right(frame: &[u8], packet: &Packet, ends: &[u8; ENDS]) {
    let Some(reversed) = reversed_key(packet, ends) else { return };
    if packet.is_ipv6 {
        written_is_right(frame, packet, &reversed, Ipv6::AT, &Ipv6::new(packet, &reversed));
    } else {
        written_is_right(frame, packet, &reversed, Ipv4::AT, &Ipv4::new(packet, &reversed));
    }
}

fn written_is_right<const WORDS: usize>(
    frame: &[u8],
    packet: &Packet,
    reversed: &FlowKey,
    at: usize,
    rewrite: &Rewrite<WORDS>,
) {
    let mut written = frame.to_vec();
    for (bytes, word) in written[at..].chunks_exact_mut(size_of::<u64>()).zip(&rewrite.words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    let checksum = checksum_at(packet);
    let mended = mend(mend(packet.checksum, rewrite.pseudo, packet), rewrite.ports, packet);
    written[checksum..checksum + 2].copy_from_slice(&mended.to_ne_bytes());

    let expected = Fields {
        source: reversed.destination,
        destination: reversed.source,
        source_port: reversed.destination_port,
        destination_port: reversed.source_port,
        protocol: packet.protocol(),
        hop_limit: packet.hop_limit - 1,
    };
    assert_eq!(oracle::fields(&written), Some(expected));
    if oracle::ip_checksum_is_right(frame) {
        assert!(oracle::ip_checksum_is_right(&written), "IP checksum of {written:02x?}");
    }
    if oracle::checksums_are_right(frame) {
        assert!(oracle::checksums_are_right(&written), "transport checksum of {written:02x?}");
    }
    let end = at + size_of_val(&rewrite.words);
    assert_eq!(frame[..at], written[..at]);
    assert_eq!(frame[end..checksum], written[end..checksum]);
    assert_eq!(frame[checksum + 2..], written[checksum + 2..]);
    partial_stays_partial(packet, reversed, rewrite);
}

/// In the packet's own family. None: an IPv4-mapped address in an IPv6 packet, which no flow has.
fn reversed_key(packet: &Packet, ends: &[u8; ENDS]) -> Option<FlowKey> {
    let address = |at: usize| -> Option<Address> {
        let mut address: Address = ends[at..at + 16].try_into().ok()?;
        if !packet.is_ipv6 {
            address[..12].copy_from_slice(&oracle::MAPPED);
        }
        (oracle::is_mapped(&address) != packet.is_ipv6).then_some(address)
    };
    Some(FlowKey {
        source: address(0)?,
        destination: address(16)?,
        source_port: u16::from_be_bytes([ends[32], ends[33]]),
        destination_port: u16::from_be_bytes([ends[34], ends[35]]),
        protocol: packet.protocol(),
        reserved: [0; 3],
    })
}

/// What `bpf_l4_csum_replace` does to a finished checksum; raw.
fn mend(checksum: u16, delta: u32, packet: &Packet) -> u16 {
    if !packet.is_tcp() && checksum == 0 {
        return 0;
    }
    let total = u64::from(!checksum) + u64::from(delta);
    let mended = !oracle::fold(total);
    if !packet.is_tcp() && mended == 0 { 0xffff } else { mended }
}

/// CHECKSUM_PARTIAL: the field holds the pseudo header's sum before and after. 0 and 0xffff are the same number.
fn partial_stays_partial<const WORDS: usize>(packet: &Packet, reversed: &FlowKey, rewrite: &Rewrite<WORDS>) {
    let to = reversed.words();
    let length = packet.ip_length.wrapping_sub(packet.transport() as u32 - ETHERNET as u32);
    let [a, b, c, d, _] = packet.key;
    let before = fold(pseudo_header([a, b], [c, d], packet.protocol(), length));
    let after = fold(pseudo_header([to[2], to[3]], [to[0], to[1]], packet.protocol(), length));
    let mended = oracle::fold(u64::from(before) + u64::from(rewrite.pseudo));
    assert_eq!(mended % 0xffff, after % 0xffff);
}
