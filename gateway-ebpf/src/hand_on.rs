//! Packets to pool addresses whose endpoint is on another node: they go there as they are, and that node answers the
//! client directly. All nodes have the same rings, so it chooses the same endpoint.
//!
//! The flow is remembered here so that it keeps its endpoint when others come. If it is forgotten, or the table is
//! full, the packet's Maglev choice is taken again.

use gateway_common::{
    flow::{Word, handed_on},
    headers::{ETHERNET, Frame as _, Packet, Ports, Timestamp, Window as _},
    maps::{Endpoint, Peer, PeerMac, Settings, device_flags},
    reason::Reason,
};

use crate::{
    atomic, count,
    insert::{self, NewFlow},
    lookup::{self, Found},
    maps::{DEVICES, ENDPOINTS, PEER_MACS, PEERS},
    skb::{Skb, Verdict},
};

/// Indices in cb of what the stage is told: the peer's id; whether its flow is to be made, and then the endpoint's id.
pub const PEER: usize = 1;
pub const IS_NEW: usize = 2;
pub const ENDPOINT: usize = 3;

#[inline(always)]
pub fn process(skb: &Skb) -> Verdict {
    let Some(peer) = PEERS.get(skb.left(PEER)) else { return Verdict::Drop(Reason::TableCorrupt) };
    if peer.ifindex == 0 {
        return Verdict::Drop(Reason::NoNextHop);
    }
    if skb.left(IS_NEW) != 0 {
        remember(skb);
    }
    send(skb, peer)
}

/// How a packet that would begin a flow gets to an endpoint of another node.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Way {
    /// Handed on.
    Peer,
    /// Under this node's own address, since it came from a peer already: two nodes whose tables differ would pass it to and
    /// fro.
    Disputed,
    /// Under this node's own address: no link is shared with the endpoint's node, or it comes from a pod of this node, to
    /// which answers have to come back by this node, as the host's connection tracking expects.
    Own,
}

/// A function of its own to save the caller's stack.
#[inline(never)]
pub fn way(skb: &Skb, endpoint: &Endpoint) -> Way {
    let is_shared = endpoint.peer != 0 && PEERS.get(endpoint.peer).is_some_and(|peer| peer.ifindex != 0);
    // SAFETY: read at once.
    let device = unsafe { DEVICES.get(skb.ifindex()) };
    if device.is_none_or(|device| device.flags & device_flags::UPLINK == 0) {
        return Way::Own;
    }
    match (came_from_peer(skb), is_shared) {
        (true, _) => Way::Disputed,
        (false, true) => Way::Peer,
        (false, false) => Way::Own,
    }
}

/// The frame's sender is another node.
#[inline(always)]
pub fn came_from_peer(skb: &Skb) -> bool {
    let Some(frame) = skb.window(0, ETHERNET) else { return false };
    let mut from = PeerMac { mac: [0; 6], reserved: [0; 2] };
    let mut i = 0;
    while i < 6 {
        from.mac[i] = frame.u8(6 + i);
        i += 1;
    }
    // SAFETY: nothing is kept of the value.
    unsafe { PEER_MACS.get(from) }.is_some()
}

/// Notes a packet of a flow that is handed on. False: the flow's place was given to another one meanwhile.
#[inline(always)]
pub fn note(packet: &Packet, found: &Found, settings: &Settings, now: u32) -> bool {
    let Some(place) = lookup::word_of(found.id) else { return false };
    let word = Word(atomic::load(place));
    if word.generation() != found.word.generation() {
        return false;
    }
    let next = handed_on(found.word, packet.tcp.flags, now, &settings.timeouts);
    if next != found.word {
        // Lost to another packet of the flow: that one has said as much.
        atomic::compare_swap(place, found.word.0, next.0);
    }
    true
}

/// Makes the flow, if there is room.
#[inline(always)]
fn remember(skb: &Skb) {
    let id = skb.left(ENDPOINT);
    let mut packet = Packet::default();
    let Some(endpoint) = ENDPOINTS.get(id) else { return };
    let Some(settings) = lookup::settings() else { return };
    if !packet.read(skb, Ports::of(skb)) {
        return;
    }
    let flow = NewFlow {
        forward: packet.flow_key(),
        endpoint_id: id,
        endpoint,
        backend: 0,
        sequence: 0,
        timestamp: Timestamp::NONE,
    };
    insert::handed_on(&flow, settings, lookup::now());
}

#[inline(always)]
fn send(skb: &Skb, peer: &Peer) -> Verdict {
    let (to, from) = (peer.mac, peer.own_mac);
    let addresses =
        [to[0], to[1], to[2], to[3], to[4], to[5], from[0], from[1], from[2], from[3], from[4], from[5]];
    if let Err(reason) = skb.store(0, &addresses) {
        return Verdict::Drop(reason);
    }
    count::pool(|counters| counters.handed_on += 1);
    skb.send_out(peer.ifindex)
}
