//! A flow that another node has, and that comes by here from now on, since its address has moved: packets go to that node,
//! whatever the ring would choose. The agent runs this by `BPF_PROG_TEST_RUN` on each flow that it is told of.

use gateway_common::{
    flow::State,
    headers::{ETHERNET, Frame as _, Timestamp, Window as _},
    maps::{Endpoint, EndpointState, Told, slot_flags},
};

use crate::{
    arrival, atomic,
    insert::{self, NewFlow},
    lookup::{self, Found},
    maps::ENDPOINTS,
    skb::Skb,
};

/// [`Told`] in words.
const WORDS: usize = size_of::<Told>() / 8;

/// 1: the flow is known. 0: there is no room for it, or this node has it itself.
#[inline(always)]
pub fn process(skb: &Skb) -> i32 {
    let Some(settings) = lookup::settings() else { return 0 };
    let Some(window) = skb.window(ETHERNET, size_of::<Told>()) else { return 0 };
    let mut words = [0; WORDS];
    let mut i = 0;
    while i < WORDS {
        words[i] = window.raw64(8 * i);
        i += 1;
    }
    // SAFETY: of the same size and alignment, and valid for every bit pattern.
    let told = unsafe { &*(&raw const words).cast::<Told>() };
    let now = lookup::now();
    let known = lookup::forward(&told.key, settings, now).filter(|known| !gives_way(known, now));
    if known.is_none() {
        let flow = NewFlow {
            forward: &told.key,
            endpoint_id: told.target,
            endpoint: &endpoint(told),
            backend: 0,
            sequence: 0,
            timestamp: Timestamp::NONE,
        };
        insert::handed_on(&flow, settings, now);
    }
    let Some(found) = known.or_else(|| lookup::forward(&told.key, settings, now)) else { return 0 };
    lead(&found, told, now) as i32
}

/// Ends what is remembered of former connections on the same ports: those handed on before the address came here, and of this
/// node's own those that it has seen closed, and those whose endpoints are gone.
#[inline(always)]
fn gives_way(known: &Found, now: u32) -> bool {
    let is_former = if is_handed_on(known) {
        arrival::is_former(known.slot)
    } else {
        known.word.state().is_closed() || is_gone(known)
    };
    if is_former {
        lookup::end(known, now);
    }
    is_former
}

#[inline(always)]
fn is_gone(known: &Found) -> bool {
    let (id, generation) = lookup::target(known.slot);
    ENDPOINTS.get(id).is_none_or(|endpoint| {
        endpoint.generation != generation || endpoint.state == EndpointState::Gone as u8
    })
}

#[inline(always)]
fn is_handed_on(found: &Found) -> bool {
    // SAFETY: a value of an array map.
    unsafe { (*found.slot).flags & slot_flags::HANDED_ON != 0 }
}

/// Leads the flow to the node that told of it, unless what is remembered here was seen later: a port that is used again
/// may have a former connection whose client has gone without a word.
#[inline(always)]
fn lead(found: &Found, told: &Told, now: u32) -> bool {
    if !is_handed_on(found) {
        return false;
    }
    let ticks = told.ticks;
    if found.word.left(now) <= ticks as i32
        && let Some(place) = lookup::word_of(found.id)
    {
        lookup::set_target(found.slot, told.target, told.target_generation);
        // Lost to a packet of the flow: that one has said as much.
        let word = found.word.with_state(State::Opening, now.wrapping_add(ticks));
        atomic::compare_swap(place, found.word.0, word.0);
    }
    true
}

#[inline(always)]
fn endpoint(told: &Told) -> Endpoint {
    Endpoint {
        address: told.endpoint,
        port: told.endpoint_port,
        protocol: told.key.protocol,
        state: EndpointState::Ready as u8,
        generation: told.target_generation,
        local: 0,
        peer: 0,
    }
}
