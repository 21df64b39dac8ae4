//! Every packet that a device receives: an answer of an endpoint, a packet of a client's flow, a newcomer, or none of
//! ours. Most are none of ours, and two bits tell.

use gateway_common::{
    flow::{Event, Sender, State, after},
    headers::{ACK, ETHERNET, FIN, Packet, Ports, RST, SYN, timestamp},
    maps::{EndpointState, FlowKey, FrontendKey, OF_PEER, PortSet, Settings, Slot, Stage, slot_flags},
    neighbour,
    reason::Reason,
};

use crate::{
    arrival, atomic, count,
    deliver::{deliver, hand_to, refuse},
    hand_on,
    hop::{self, Exit},
    lookup::{self, Found},
    maps::{DEVICES, ENDPOINTS, FRONTENDS, PORTS},
    skb::{Skb, Verdict},
};

#[inline(always)]
pub fn process(skb: &Skb) -> Verdict {
    skb.pull_headers();
    let (seen, Some(sets)) = (Ports::of(skb), PORTS.get(0)) else { return Verdict::Pass };
    if !seen.is_known() {
        return if neighbour::is_candidate(skb) { hand_to(skb, Stage::Neighbour) } else { Verdict::Pass };
    }
    let (frontends, endpoints) = if seen.is_tcp() {
        (&sets.frontend_tcp, &sets.endpoint_tcp)
    } else {
        (&sets.frontend_udp, &sets.endpoint_udp)
    };
    let may_answer = contains(endpoints, seen.source());
    let may_ask = contains(frontends, seen.destination());
    if !may_answer && !may_ask || !is_ours(skb) {
        return Verdict::Pass;
    }
    let mut packet = Packet::default();
    if !packet.read(skb, seen) {
        return Verdict::Pass;
    }
    let Some(settings) = lookup::settings() else { return Verdict::Pass };
    let now = lookup::now();
    let key = packet.flow_key();
    let mut exit = Exit::unknown();
    let mut reversed = None;
    if may_answer && let Some(found) = lookup::reverse(key, settings, now) {
        match answer(skb, &packet, &found, settings, now, &mut exit) {
            Ok(key) => reversed = Some(key),
            Err(verdict) => return verdict,
        }
    } else if may_ask && let Some(found) = lookup::forward(key, settings, now) {
        match request(skb, &packet, &found, settings, now, &mut exit) {
            Ok(key) => reversed = Some(key),
            Err(verdict) => return verdict,
        }
    }
    if let Some(reversed) = reversed {
        return deliver(skb, &packet, reversed, &exit);
    }
    if may_ask && is_frontend(&packet) {
        return hand_to(skb, Stage::Admit);
    }
    Verdict::Pass
}

/// A packet of a client's flow: the key of its answers, and where it leaves.
#[inline(always)]
fn request(
    skb: &Skb,
    packet: &Packet,
    found: &Found,
    settings: &Settings,
    now: u32,
    exit: &mut Exit,
) -> Result<&'static FlowKey, Verdict> {
    let slot = found.slot;
    // SAFETY: a value of an array map.
    let is_handed_on = unsafe { (*slot).flags } & slot_flags::HANDED_ON != 0;
    // The address has moved away, or has come back since: it chooses anew.
    if is_handed_on && (hand_on::came_from_peer(skb) || arrival::is_former(slot)) {
        lookup::end(found, now);
        return Err(hand_to(skb, Stage::Admit));
    }
    let (id, generation) = lookup::target(slot);
    let is_peers = generation == OF_PEER;
    let Some(endpoint) = ENDPOINTS.get(if is_peers { 0 } else { id }) else {
        return Err(Verdict::Drop(Reason::TableCorrupt));
    };
    let is_gone =
        !is_peers && (endpoint.generation != generation || endpoint.state == EndpointState::Gone as u8);
    if packet.opens() && (is_gone || found.word.state().is_closed()) {
        // A new connection on old ports: it gets an endpoint by today's weights.
        lookup::end(found, now);
        return Err(if is_frontend(packet) { hand_to(skb, Stage::Admit) } else { Verdict::Pass });
    }
    // Its port may be used again, by way of another node so far.
    if !is_handed_on
        && (is_gone || found.word.state().is_closed())
        && arrival::is_asking(packet, now)
        && !hand_on::came_from_peer(skb)
    {
        return Err(Verdict::Drop(Reason::PoolMoving));
    }
    if is_gone {
        lookup::end(found, now);
        // SAFETY: a value of an array map.
        count::backend(unsafe { (*slot).backend }, |counters| counters.refused += 1);
        return Err(refuse(skb, Reason::EndpointGone));
    }
    if is_handed_on {
        let peer = if is_peers { id } else { endpoint.peer };
        return Err(to_other_node(skb, packet, found, peer, settings, now));
    }
    advance(skb, packet, found, settings, now, Sender::Client);
    hop::to_endpoint(skb, id, endpoint, now, exit).map_err(Verdict::Drop)?;
    let bytes = skb.length() - ETHERNET as u32;
    // SAFETY: as above.
    count::backend(unsafe { (*slot).backend }, |counters| {
        counters.packets_in += 1;
        counters.bytes_in += bytes as u64;
    });
    // SAFETY: a value of an array map; keys don't change while the flow lives.
    Ok(unsafe { &(*slot).reverse })
}

/// A packet of a flow that another node serves.
#[inline(always)]
fn to_other_node(
    skb: &Skb,
    packet: &Packet,
    found: &Found,
    peer: u32,
    settings: &Settings,
    now: u32,
) -> Verdict {
    if !hand_on::note(packet, found, settings, now) {
        return Verdict::Drop(Reason::Busy);
    }
    skb.leave(hand_on::PEER, peer);
    skb.leave(hand_on::IS_NEW, 0);
    hand_to(skb, Stage::HandOn)
}

/// A packet of a flow's endpoint. One that is gone from the tables may still say its last words.
#[inline(always)]
fn answer(
    skb: &Skb,
    packet: &Packet,
    found: &Found,
    settings: &Settings,
    now: u32,
    exit: &mut Exit,
) -> Result<&'static FlowKey, Verdict> {
    let slot = found.slot;
    advance(skb, packet, found, settings, now, Sender::Endpoint);
    hop::to_client(skb, slot, now, exit).map_err(Verdict::Drop)?;
    let bytes = skb.length() - ETHERNET as u32;
    // SAFETY: a value of an array map.
    count::backend(unsafe { (*slot).backend }, |counters| {
        counters.packets_out += 1;
        counters.bytes_out += bytes as u64;
    });
    // SAFETY: as above; keys don't change while the flow lives.
    Ok(unsafe { &(*slot).forward })
}

/// What the packet says about its flow: remembered in the slot, then in the word.
#[inline(always)]
fn advance(skb: &Skb, packet: &Packet, found: &Found, settings: &Settings, now: u32, sender: Sender) {
    let old = found.word.state();
    let state = if packet.is_tcp() {
        tcp_state(skb, packet, found.slot, old, sender)
    } else {
        udp_state(found.slot, old, sender)
    };
    let timeout = state.timeout(packet.protocol(), &settings.timeouts);
    let word = if state == old {
        found.word.refreshed(now, timeout)
    } else {
        found.word.with_state(state, now.wrapping_add(timeout))
    };
    if word != found.word
        && let Some(place) = lookup::word_of(found.id)
    {
        // Lost to another packet of the flow: that one has said as much, or the sender will repeat.
        atomic::compare_swap(place, found.word.0, word.0);
    }
}

#[inline(always)]
fn tcp_state(skb: &Skb, packet: &Packet, slot: *mut Slot, old: State, sender: Sender) -> State {
    let flags = packet.tcp.flags;
    if old == State::Established && flags & (FIN | RST) == 0 {
        return old;
    }
    if sender == Sender::Endpoint {
        if old == State::Opening && flags & (SYN | ACK) == SYN | ACK {
            // SAFETY: a value of an array map; the sequence number is there before the flag says so.
            unsafe {
                (*slot).sequence = packet.tcp.sequence.wrapping_add(1);
                (*slot).flags |= slot_flags::ANSWERED;
            }
        }
        if old == State::Opening && knows_connection(flags, slot) {
            return after(old, Event::Confirmed, sender);
        }
        return after(old, closing(flags), sender);
    }
    let mut state = old;
    if state == State::Opening && is_confirmation(packet, slot) {
        state = after(state, Event::Confirmed, sender);
    }
    if flags & FIN != 0 && state != State::Opening {
        let timestamp = timestamp(skb, packet);
        // SAFETY: as above; the client's packets alone write these.
        unsafe {
            (*slot).sequence = packet.next_sequence();
            if timestamp.is_known() {
                (*slot).timestamp = timestamp.value();
                (*slot).flags |= slot_flags::TIMESTAMP;
            }
        }
    }
    after(state, closing(flags), sender)
}

#[inline(always)]
fn closing(flags: u8) -> Event {
    if flags & RST != 0 {
        Event::Rst
    } else if flags & FIN != 0 {
        Event::Fin
    } else {
        Event::Other
    }
}

/// The endpoint goes on with a connection that is older than the flow, so there is one.
#[inline(always)]
fn knows_connection(flags: u8, slot: *mut Slot) -> bool {
    // SAFETY: a value of an array map.
    flags & (SYN | FIN | RST | ACK) == ACK && unsafe { (*slot).flags } & slot_flags::MIDSTREAM != 0
}

/// The client acknowledges the endpoint's SYN: it is where it says it is. Data that was sent early (RFC 7413) may be
/// acknowledged with it, so a window of 64 kB counts; guessing into it takes 65,536 tries.
#[inline(always)]
fn is_confirmation(packet: &Packet, slot: *mut Slot) -> bool {
    const WINDOW: u32 = 1 << 16;
    // SAFETY: a value of an array map.
    let (sequence, flags) = unsafe { ((*slot).sequence, (*slot).flags) };
    packet.tcp.flags & ACK != 0
        && flags & slot_flags::ANSWERED != 0
        && packet.tcp.acknowledgment.wrapping_sub(sequence) < WINDOW
}

#[inline(always)]
fn udp_state(slot: *mut Slot, old: State, sender: Sender) -> State {
    if old != State::Opening {
        return old;
    }
    // SAFETY: a value of an array map.
    unsafe {
        if sender == Sender::Endpoint {
            (*slot).flags |= slot_flags::ANSWERED;
        } else if (*slot).flags & slot_flags::ANSWERED != 0 {
            return after(old, Event::Confirmed, sender);
        }
    }
    old
}

#[inline(always)]
fn is_frontend(packet: &Packet) -> bool {
    // SAFETY: nothing is kept of the value.
    unsafe { FRONTENDS.get(frontend_key(packet)) }.is_some()
}

#[inline(always)]
pub fn frontend_key(packet: &Packet) -> FrontendKey {
    FrontendKey {
        address: packet.flow_key().destination,
        port: packet.destination_port(),
        protocol: packet.protocol(),
        reserved: 0,
    }
}

/// The frame is addressed to the node. One that the device flooded or sniffed is not; that of a bridge's port is
/// addressed to the bridge.
#[inline(always)]
fn is_ours(skb: &Skb) -> bool {
    use gateway_common::headers::{Frame as _, Window as _};
    if skb.is_to_device() {
        return true;
    }
    // SAFETY: nothing is kept of the value.
    let (Some(device), Some(frame)) = (unsafe { DEVICES.get(skb.ifindex()) }, skb.window(0, ETHERNET)) else {
        return false;
    };
    let mut i = 0;
    while i < 6 {
        if device.mac[i] != frame.u8(i) {
            return false;
        }
        i += 1;
    }
    true
}

#[inline(always)]
fn contains(ports: &PortSet, port: u16) -> bool {
    ports[port as usize >> 6] >> (port & 63) & 1 == 1
}
