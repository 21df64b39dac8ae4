//! A flow that another node has, and that comes by here from now on, since its address has moved: packets go to that node,
//! whatever the ring would choose. The agent runs this by `BPF_PROG_TEST_RUN` on each flow that it is told of.

use gateway_common::{
    flow::State,
    headers::{ETHERNET, Frame as _, Timestamp, Window as _},
    maps::{Endpoint, EndpointState, OF_PEER, Told, slot_flags},
};

use crate::{
    atomic,
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
    let known = lookup::forward(&told.key, settings, now);
    if known.is_none() {
        let flow = NewFlow {
            forward: &told.key,
            endpoint_id: told.peer,
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

/// Leads the flow to the node that told of it, unless what is remembered here was seen later: a port that is used again
/// may have a former connection whose client has gone without a word.
#[inline(always)]
fn lead(found: &Found, told: &Told, now: u32) -> bool {
    // SAFETY: a value of an array map.
    if unsafe { (*found.slot).flags } & slot_flags::HANDED_ON == 0 {
        return false;
    }
    let ticks = told.ticks;
    let (id, generation) = lookup::target(found.slot);
    let endpoint = ENDPOINTS.get(if generation == OF_PEER { 0 } else { id });
    // Its own endpoint says also when that is gone.
    let is_led =
        endpoint.is_some_and(|endpoint| endpoint.generation == generation && endpoint.peer == told.peer);
    if found.word.left(now) <= ticks as i32
        && let Some(place) = lookup::word_of(found.id)
    {
        if !is_led {
            lookup::set_target(found.slot, told.peer, OF_PEER);
        }
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
        generation: OF_PEER,
        local: 0,
        peer: told.peer,
    }
}
