//! Making a flow: claim a way of the forward table (and with it the slot of the same number), reserve the reverse
//! key, publish. Several CPUs do this at once without locks.

use gateway_common::{
    flow::{State, Word},
    hash::{self, GROUP_MASK},
    headers::Timestamp,
    maps::{Address, Endpoint, FlowKey, PORT_GROUP, Settings, Slot, slot_flags},
    reason::Reason,
};

use crate::{
    atomic,
    bits::hide,
    claim::{CLAIM_SHIFT, CLAIMED, EXISTS, RIVALLED, claim_way},
    hop,
    lookup::word_of,
    maps::SLOTS,
    reserve::{CONTENDED, FULL, RESERVED, TAKEN, reserve_exact, reserve_in_group},
};

/// What a new flow will remember.
pub struct NewFlow<'a> {
    pub forward: &'a FlowKey,
    pub endpoint_id: u32,
    pub endpoint: &'a Endpoint,
    pub backend: u32,
    /// Sequence number and TSval of the SYN: an endpoint judges by them whether a port may be used again.
    pub sequence: u32,
    pub timestamp: Timestamp,
}

/// Why no flow was made.
pub enum Blocked {
    /// Another CPU made the same flow first.
    Exists,
    For(Reason),
}

/// Makes the flow under the client's own address and port, or another port if the endpoint has a flow with those.
#[inline(always)]
pub fn keeping_client(flow: &NewFlow, settings: &Settings, now: u32) -> Result<*mut Slot, Blocked> {
    let claim = claim(flow, now)?;
    // SAFETY: the slot is ours until it is published.
    unsafe {
        hop::copy(&flow.forward.source, &raw mut (*claim.slot).reverse.destination);
        (*claim.slot).reverse.destination_port = flow.forward.source_port;
    }
    let mut outcome = reserve_exact(claim.id, claim.template.generation() as u32, now);
    let hash = hash::hash(flow.forward.words(), &settings.flow_key, hash::PORTS);
    let mut probe = 0;
    // The client has a flow from this port to the same endpoint by another frontend.
    while outcome == TAKEN && probe < PROBES {
        let port = FIRST_PORT + hash::scale((hash as u32).wrapping_add(probe.wrapping_mul(SPREAD)), PORTS);
        // SAFETY: as above.
        unsafe { (*claim.slot).reverse.destination_port = port as u16 };
        outcome = reserve_exact(claim.id, claim.template.generation() as u32, now);
        probe += 1;
    }
    publish(flow, &claim, outcome, settings, now)
}

/// Makes the flow under the node's `source` address and a port of the SNAT range.
#[inline(always)]
pub fn with_source(
    flow: &NewFlow,
    source: &Address,
    settings: &Settings,
    now: u32,
) -> Result<*mut Slot, Blocked> {
    let claim = claim(flow, now)?;
    // SAFETY: the slot is ours until it is published.
    unsafe {
        hop::copy(source, &raw mut (*claim.slot).reverse.destination);
        (*claim.slot).flags = slot_flags::SNAT;
    }
    let outcome = search_port(flow, &claim, settings, now);
    publish(flow, &claim, outcome, settings, now)
}

/// Makes a flow whose packets another node translates: its answers don't come by here, so it takes no reverse key.
/// Whether there was room makes no difference to the packet.
#[inline(always)]
pub fn handed_on(flow: &NewFlow, settings: &Settings, now: u32) {
    let Ok(claim) = claim(flow, now) else { return };
    // SAFETY: the slot is ours until it is published.
    unsafe {
        hop::copy(&flow.forward.source, &raw mut (*claim.slot).reverse.destination);
        (*claim.slot).reverse.destination_port = flow.forward.source_port;
        (*claim.slot).sequence = now;
        (*claim.slot).flags = slot_flags::HANDED_ON;
    }
    let _ = publish(flow, &claim, RESERVED, settings, now);
}

/// A way that is ours and that look-ups don't see yet.
struct Claim {
    id: u32,
    slot: *mut Slot,
    word: *mut u64,
    /// As it will be published, but for state and deadline.
    template: Word,
}

/// Claims a way and fills its slot, but for where answers go.
#[inline(always)]
fn claim(flow: &NewFlow, now: u32) -> Result<Claim, Blocked> {
    let answer = claim_way(flow.forward, now);
    let id = answer as u32;
    match answer >> CLAIM_SHIFT {
        CLAIMED => (),
        EXISTS => return Err(Blocked::Exists),
        RIVALLED => return Err(Blocked::For(Reason::Busy)),
        _ => return Err(Blocked::For(Reason::FlowsFull)),
    }
    let (Some(word), Some(slot)) = (word_of(id), SLOTS.get_ptr_mut(id)) else {
        return Err(Blocked::For(Reason::TableCorrupt));
    };
    // SAFETY: the slot is ours until it is published.
    unsafe {
        (*slot).forward = *flow.forward;
        hop::copy(&flow.endpoint.address, &raw mut (*slot).reverse.source);
        let reverse: *mut [u64; 5] = (&raw mut (*slot).reverse).cast();
        (*reverse)[4] = flow.endpoint.port as u64 | (flow.forward.protocol as u64) << 32;
        (*slot).endpoint = flow.endpoint_id;
        (*slot).endpoint_generation = flow.endpoint.generation;
        (*slot).backend = flow.backend;
        // As in `Exit::unknown`.
        let zero = hide(0) as u32;
        (*slot).client_expires = zero;
        (*slot).sequence = zero;
        (*slot).timestamp = zero;
        (*slot).flags = zero;
    }
    Ok(Claim { id, slot, word, template: Word(atomic::load(word)) })
}

/// Shows the flow to look-ups, or gives the way back.
#[inline(always)]
fn publish(
    flow: &NewFlow,
    claim: &Claim,
    outcome: u32,
    settings: &Settings,
    now: u32,
) -> Result<*mut Slot, Blocked> {
    if outcome != RESERVED {
        atomic::swap(claim.word, claim.template.with_state(State::Empty, now).0);
        return Err(Blocked::For(match outcome {
            TAKEN => Reason::PortsExhausted,
            CONTENDED => Reason::Busy,
            _ => Reason::ReverseFull,
        }));
    }
    let deadline = now.wrapping_add(State::Opening.timeout(flow.forward.protocol, &settings.timeouts));
    atomic::swap(claim.word, claim.template.with_state(State::Opening, deadline).0);
    Ok(claim.slot)
}

/// Ports that a client may be given instead of its own: all that need no privilege (RFC 6335).
const FIRST_PORT: u32 = 1024;
const PORTS: u32 = 65_536 - FIRST_PORT;
/// 2^32 divided by the golden ratio: successive multiples lie far apart, so that probes of even a small range seldom
/// meet (Knuth, TAOCP 6.4).
const SPREAD: u32 = 0x9e37_79b9;

/// Ports, or groups of ports, that are looked at before giving up: with 95 % of a range in use, one newcomer in 256 finds none.
const PROBES: u32 = 32;

#[inline(always)]
fn search_port(flow: &NewFlow, claim: &Claim, settings: &Settings, now: u32) -> u32 {
    let start = hash::hash(flow.forward.words(), &settings.flow_key, hash::PORTS) as u32;
    let newcomer = [flow.sequence, flow.timestamp.value(), flow.timestamp.is_known() as u32];
    let generation = claim.template.generation() as u32;
    let mut probe = 0;
    let mut outcome = TAKEN;
    while probe < PROBES {
        let group = hash::scale(start.wrapping_add(probe.wrapping_mul(SPREAD)), settings.snat_groups);
        let port = settings.snat_first_port + group * PORT_GROUP + (start & GROUP_MASK as u32);
        // SAFETY: the slot is ours until it is published.
        unsafe { (*claim.slot).reverse.destination_port = port as u16 };
        outcome = reserve_in_group(claim.id, generation, now, &newcomer);
        if outcome == RESERVED || outcome == FULL {
            break;
        }
        probe += 1;
    }
    outcome
}
