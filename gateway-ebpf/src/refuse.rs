//! Answers to packets that can't go on: RST, or port unreachable for a datagram whose flow has lost its endpoint.

use aya_ebpf::{
    bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    helpers::generated::{bpf_skb_adjust_room, bpf_skb_change_tail},
};
use gateway_common::{
    answer,
    headers::{ETHERNET, Frame as _, IPV4, IPV6, Packet, Ports, TCP_HEADER, UDP_HEADER, Window as _},
    maps::TCP,
    reason::Reason,
};

use crate::{
    count,
    deliver::REASON,
    skb::{Skb, Verdict},
};

#[inline(always)]
pub fn process(skb: &Skb) -> Verdict {
    let reason = skb.left(REASON);
    let mut packet = Packet::default();
    if !packet.read(skb, Ports::of(skb)) {
        return Verdict::Pass;
    }
    let answered = if packet.is_tcp() {
        reset(skb, &packet)
    } else if reason == Reason::EndpointGone as u32 {
        unreachable(skb, &packet)
    } else {
        // The share of a backend that refuses: datagrams are dropped in silence, as the specification has it.
        Some(Verdict::Counted)
    };
    let Some(verdict) = answered else { return Verdict::Drop(Reason::SkbError) };
    count_by_number(reason);
    verdict
}

/// The program that refused has left its reason as a number.
#[inline(always)]
fn count_by_number(number: u32) {
    let mut i = 0;
    while i < Reason::ALL.len() {
        if Reason::ALL[i] as u32 == number {
            count::reason(Reason::ALL[i]);
        }
        i += 1;
    }
}

#[inline(always)]
fn reset(skb: &Skb, packet: &Packet) -> Option<Verdict> {
    let Some(header) = answer::reset(packet) else { return Some(Verdict::Counted) };
    shorten(skb, packet.transport() + TCP_HEADER)?;
    turn_frame(skb)?;
    if packet.is_ipv6 {
        skb.store(ETHERNET, &answer::ipv6(packet, TCP, TCP_HEADER)).ok()?;
        skb.store(ETHERNET + IPV6, &header).ok()?;
    } else {
        skb.store(ETHERNET, &answer::ipv4(packet, TCP, TCP_HEADER)).ok()?;
        skb.store(ETHERNET + IPV4, &header).ok()?;
    }
    Some(skb.send_back())
}

#[inline(always)]
fn unreachable(skb: &Skb, packet: &Packet) -> Option<Verdict> {
    shorten(skb, packet.transport() + UDP_HEADER)?;
    turn_frame(skb)?;
    let protocol = answer::icmp_protocol(packet);
    if packet.is_ipv6 {
        let quoted: [u8; IPV6 + UDP_HEADER] = read(skb)?;
        let icmp = answer::unreachable(packet, &quoted);
        grow(skb, IPV6 + icmp.len())?;
        skb.store(ETHERNET, &answer::ipv6(packet, protocol, answer::UNREACHABLE_V6)).ok()?;
        skb.store(ETHERNET + IPV6, &icmp).ok()?;
    } else {
        let quoted: [u8; IPV4 + UDP_HEADER] = read(skb)?;
        let icmp = answer::unreachable(packet, &quoted);
        grow(skb, IPV4 + icmp.len())?;
        skb.store(ETHERNET, &answer::ipv4(packet, protocol, answer::UNREACHABLE_V4)).ok()?;
        skb.store(ETHERNET + IPV4, &icmp).ok()?;
    }
    Some(skb.send_back())
}

#[inline(always)]
fn shorten(skb: &Skb, length: usize) -> Option<()> {
    // SAFETY: the context is valid; no packet pointer is kept across the call.
    let error = unsafe { bpf_skb_change_tail(skb.raw(), length as u32, 0) };
    (error == 0).then_some(())
}

/// Room between the link header and the network header.
#[inline(always)]
fn grow(skb: &Skb, bytes: usize) -> Option<()> {
    // SAFETY: as above.
    let error = unsafe { bpf_skb_adjust_room(skb.raw(), bytes as i32, BPF_ADJ_ROOM_MAC, 0) };
    (error == 0).then_some(())
}

/// Back to the frame's sender.
#[inline(always)]
fn turn_frame(skb: &Skb) -> Option<()> {
    let frame = skb.window(0, ETHERNET)?;
    let mut addresses = [0; 12];
    let mut i = 0;
    while i < 6 {
        addresses[i] = frame.u8(i + 6);
        addresses[i + 6] = frame.u8(i);
        i += 1;
    }
    skb.store(0, &addresses).ok()
}

/// The network and transport headers.
#[inline(always)]
fn read<const N: usize>(skb: &Skb) -> Option<[u8; N]> {
    let window = skb.window(ETHERNET, N)?;
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = window.u8(i);
        i += 1;
    }
    Some(bytes)
}
