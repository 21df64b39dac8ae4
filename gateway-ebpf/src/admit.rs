//! A newcomer of a frontend: pick a backend by weight and an endpoint by hash, make a flow, send the packet on.

use core::ptr;

use gateway_common::{
    hash,
    headers::{ETHERNET, Packet, Ports, timestamp, unmapped},
    maps::{
        Address, Device, Endpoint, EndpointState, FlowKey, MAX_BACKENDS, RING_REFUSE, Settings, Slot, Split,
        Stage, slot_flags, split_flags,
    },
    reason::Reason,
    select,
};

use crate::{
    arrival,
    bits::hide,
    count,
    deliver::{deliver, hand_to, refuse},
    hand_on::{self, Way},
    hop::{self, Exit},
    ingress::frontend_key,
    insert::{self, Blocked, NewFlow},
    lookup,
    maps::{DEVICES, ENDPOINTS, FRONTENDS, MAGLEV, RINGS, SPLITS},
    skb::{Skb, Verdict},
};

#[inline(always)]
pub fn process(skb: &Skb) -> Verdict {
    let mut packet = Packet::default();
    let Some(settings) = lookup::settings() else { return Verdict::Pass };
    if !packet.read(skb, Ports::of(skb)) {
        return Verdict::Pass;
    }
    let Some(id) = split_of(&packet) else { return Verdict::Pass };
    let Some(split) = SPLITS.get(id) else { return Verdict::Drop(Reason::TableCorrupt) };
    if !select::is_for(split, &packet) {
        return Verdict::Drop(Reason::TablesChanging);
    }
    let now = lookup::now();
    if !packet.opens() {
        if split.flags & split_flags::POOL != 0 {
            if arrival::is_asking(&packet, now) && !hand_on::came_from_peer(skb) {
                return Verdict::Drop(Reason::PoolMoving);
            }
        } else if packet.is_tcp() {
            return Verdict::Pass;
        }
    }
    if packet.hop_limit <= 1 {
        return Verdict::Drop(Reason::HopLimit);
    }
    let choice = match choose(&packet, id, split, settings) {
        Ok(choice) => choice,
        Err(refusal) => return refused(skb, split, refusal),
    };
    if split.flags & split_flags::POOL != 0 && choice.endpoint.local == 0 {
        match hand_on::way(skb, choice.endpoint) {
            Way::Peer => {
                skb.leave(hand_on::PEER, choice.endpoint.peer);
                skb.leave(hand_on::IS_NEW, 1);
                skb.leave(hand_on::ENDPOINT, choice.endpoint_id);
                return hand_to(skb, Stage::HandOn);
            }
            // The node that handed it on has other tables than this one, or soon will have the same.
            Way::Disputed if is_midstream(&packet) => {
                let (backend, reason) = (Some(choice.backend), Reason::TablesChanging);
                return refused(skb, split, Refusal { backend, reason });
            }
            Way::Disputed | Way::Own => (),
        }
    }
    let mut exit = Exit::unknown();
    match connect(skb, &packet, &choice, settings, now, &mut exit) {
        Ok(slot) => {
            let bytes = skb.length() - ETHERNET as u32;
            count::frontend(split.frontend, |counters| counters.flows += 1);
            count::backend(choice.backend, |counters| {
                counters.flows += 1;
                counters.packets_in += 1;
                counters.bytes_in += bytes as u64;
            });
            if is_midstream(&packet) {
                // SAFETY: a value of an array map; no answer comes before this packet has left.
                unsafe { (*slot).flags |= slot_flags::MIDSTREAM };
            }
            // SAFETY: a value of an array map; keys don't change while the flow lives.
            send(skb, &packet, unsafe { &(*slot).reverse }, &exit)
        }
        Err(reason) => refused(skb, split, Refusal { backend: Some(choice.backend), reason }),
    }
}

/// No packet to begin a connection with. A node address has connections of its own; to an address of a pool, it belongs
/// to one that another node had.
#[inline(always)]
fn is_midstream(packet: &Packet) -> bool {
    packet.is_tcp() && !packet.opens()
}

/// What the entry of the packet's frontend names.
#[inline(always)]
fn split_of(packet: &Packet) -> Option<u32> {
    // SAFETY: an aligned word that is read at once.
    unsafe { FRONTENDS.get(frontend_key(packet)).map(|entry| ptr::read_volatile(&raw const entry.split)) }
}

/// A function of its own: what it needs of the stack is then not needed while the flow is made.
#[inline(never)]
fn send(skb: &Skb, packet: &Packet, reversed: &FlowKey, exit: &Exit) -> Verdict {
    deliver(skb, packet, reversed, exit)
}

struct Choice<'a> {
    backend: u32,
    endpoint_id: u32,
    endpoint: &'a Endpoint,
}

struct Refusal {
    backend: Option<u32>,
    reason: Reason,
}

#[inline(always)]
fn choose<'a>(packet: &Packet, id: u32, split: &Split, settings: &Settings) -> Result<Choice<'a>, Refusal> {
    const CORRUPT: Refusal = Refusal { backend: None, reason: Reason::TableCorrupt };
    let hash = hash::hash(packet.flow_key().words(), &settings.selection_key, hash::SELECTION);
    let Some(ticket) = select::ticket(split.total, hash) else {
        return Err(Refusal { backend: None, reason: Reason::NoRoute });
    };
    let index = hide(pick_backend(id, ticket) as u64) as usize & (MAX_BACKENDS - 1);
    let (backend, ring) = (split.backend[index], split.ring[index]);
    let refusal = |reason| Refusal { backend: Some(backend), reason };
    if ring == RING_REFUSE {
        return Err(refusal(Reason::InvalidBackend));
    }
    let Some(ring) = RINGS.get(ring) else { return Err(CORRUPT) };
    // SAFETY: an aligned word that user space replaces as a whole.
    let ring = unsafe { ptr::read_volatile(ring) };
    let Some(place) = select::place(ring, hash) else { return Err(refusal(Reason::NoEndpoint)) };
    let Some(&endpoint_id) = MAGLEV.get(place) else { return Err(CORRUPT) };
    let Some(endpoint) = ENDPOINTS.get(endpoint_id) else { return Err(CORRUPT) };
    if endpoint.state == EndpointState::Gone as u8 {
        // Its ring is about to be replaced.
        return Err(refusal(Reason::TablesChanging));
    }
    Ok(Choice { backend, endpoint_id, endpoint })
}

/// Verified once, so that sixteen ways out of the loop don't multiply what comes after.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pick_backend(split: u32, ticket: u32) -> u32 {
    SPLITS.get(split).map_or(0, |split| select::backend(split, ticket) as u32)
}

/// Finds the way to the endpoint and makes the flow.
#[inline(always)]
fn connect(
    skb: &Skb,
    packet: &Packet,
    choice: &Choice,
    settings: &Settings,
    now: u32,
    exit: &mut Exit,
) -> Result<*mut Slot, Reason> {
    hop::to_endpoint(skb, choice.endpoint_id, choice.endpoint, now, exit)?;
    // The answers must come in by a device of ours, else nobody would translate them.
    // SAFETY: read at once.
    let Some(device) = (unsafe { DEVICES.get(exit.ifindex) }) else { return Err(Reason::NoSource) };
    let flow = NewFlow {
        forward: packet.flow_key(),
        endpoint_id: choice.endpoint_id,
        endpoint: choice.endpoint,
        backend: choice.backend,
        sequence: packet.tcp.sequence,
        timestamp: timestamp(skb, packet),
    };
    let made = if choice.endpoint.local != 0 {
        insert::keeping_client(&flow, settings, now)
    } else {
        insert::with_source(&flow, source(device, packet).ok_or(Reason::NoSource)?, settings, now)
    };
    match made {
        Ok(slot) => Ok(slot),
        // The sender repeats its packet and meets the flow.
        Err(Blocked::Exists) => Err(Reason::Busy),
        Err(Blocked::For(reason)) => Err(reason),
    }
}

#[inline(always)]
fn source<'a>(device: &'a Device, packet: &Packet) -> Option<&'a Address> {
    let source = if packet.is_ipv6 { &device.source_v6 } else { &device.source_v4 };
    let words = hop::words(source);
    (unmapped(words).is_some() || words != [0, 0]).then_some(source)
}

#[inline(always)]
fn refused(skb: &Skb, split: &Split, refusal: Refusal) -> Verdict {
    count::frontend(split.frontend, |counters| counters.refused += 1);
    if let Some(backend) = refusal.backend {
        count::backend(backend, |counters| counters.refused += 1);
    }
    match refusal.reason {
        // A moment's trouble, or the node's own: the sender repeats its packet.
        Reason::Busy
        | Reason::NoNextHop
        | Reason::NoSource
        | Reason::TableCorrupt
        | Reason::TablesChanging => Verdict::Drop(refusal.reason),
        reason => refuse(skb, reason),
    }
}
