//! Finding a flow by either of its keys. Both tables have eight words to a bucket and two buckets for each key.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use gateway_common::{
    flow::{ReverseWord, Word},
    hash::{self, Place},
    maps::{FlowKey, Settings, Slot, TICK_SHIFT, WAYS},
};

use crate::{
    atomic,
    maps::{FORWARD, REVERSE, SETTINGS, SLOTS},
};

/// A live flow: its number, what it remembers, and its word as it was when it was found.
#[derive(Clone, Copy)]
pub struct Found {
    pub id: u32,
    pub slot: *mut Slot,
    pub word: Word,
}

#[inline(always)]
pub fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}

/// Ticks of the coarse monotonic clock.
#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: a plain call.
    (unsafe { bpf_ktime_get_coarse_ns() } >> TICK_SHIFT) as u32
}

/// The flow whose client sends packets with this key.
#[inline(always)]
pub fn forward(key: &FlowKey, settings: &Settings, now: u32) -> Option<Found> {
    let place = Place::forward(key, settings);
    in_forward_bucket(place.first, place.tag, key, now)
        .or_else(|| in_forward_bucket(place.second, place.tag, key, now))
}

/// The flow whose endpoint sends packets with this key. SNAT flows stand by their groups, all others by the whole key;
/// few clients have ports in the SNAT range.
#[inline(always)]
pub fn reverse(key: &FlowKey, settings: &Settings, now: u32) -> Option<Found> {
    if hash::in_snat_range(key.destination_port, settings) {
        let place = Place::reverse_in_group(key, settings);
        let found = in_reverse_buckets(&place, key, now);
        if found.is_some() {
            return found;
        }
    }
    in_reverse_buckets(&Place::reverse(key, settings), key, now)
}

#[inline(always)]
fn in_reverse_buckets(place: &Place, key: &FlowKey, now: u32) -> Option<Found> {
    in_reverse_bucket(place.first, place.tag, key, now)
        .or_else(|| in_reverse_bucket(place.second, place.tag, key, now))
}

#[inline(always)]
fn in_forward_bucket(bucket: u32, tag: u16, key: &FlowKey, now: u32) -> Option<Found> {
    let ways = FORWARD.get_ptr(bucket)?;
    let mut way = 0;
    while way < WAYS {
        // SAFETY: inside the bucket's eight words.
        let word = Word(atomic::load(unsafe { &raw const (*ways).ways[way] }));
        if word.tag() == tag && word.is_live(now) {
            let id = bucket * WAYS as u32 + way as u32;
            let slot = SLOTS.get_ptr_mut(id)?;
            // SAFETY: a value of an array map.
            if same(unsafe { &(*slot).forward }, key) {
                return Some(Found { id, slot, word });
            }
        }
        way += 1;
    }
    None
}

#[inline(always)]
fn in_reverse_bucket(bucket: u32, tag: u16, key: &FlowKey, now: u32) -> Option<Found> {
    let ways = REVERSE.get_ptr(bucket)?;
    let mut way = 0;
    while way < WAYS {
        // SAFETY: inside the bucket's eight words.
        let entry = ReverseWord(atomic::load(unsafe { &raw const (*ways).ways[way] }));
        way += 1;
        if entry.tag() != tag || !entry.is_used() {
            continue;
        }
        let id = entry.slot();
        let (Some(place), Some(slot)) = (word_of(id), SLOTS.get_ptr_mut(id)) else { continue };
        let word = Word(atomic::load(place));
        // SAFETY: a value of an array map.
        if word.generation() == entry.generation()
            && word.is_live(now)
            && same(unsafe { &(*slot).reverse }, key)
        {
            return Some(Found { id, slot, word });
        }
    }
    None
}

/// Where a slot's word stands.
#[inline(always)]
pub fn word_of(id: u32) -> Option<*mut u64> {
    let bucket = FORWARD.get_ptr_mut(id / WAYS as u32)?;
    // SAFETY: the index is below eight.
    Some(unsafe { &raw mut (*bucket).ways[id as usize % WAYS] })
}

/// Ends a flow: look-ups stop finding it, its place stays untouched for the grace.
#[inline(always)]
pub fn end(found: &Found, now: u32) {
    if let Some(place) = word_of(found.id) {
        atomic::compare_swap(place, found.word.0, found.word.with_state(found.word.state(), now).0);
    }
}

/// The flow's endpoint and its generation, read as the one word that [`set_target`] writes.
#[inline(always)]
pub fn target(slot: *const Slot) -> (u32, u32) {
    // SAFETY: a value of an array map.
    let word = atomic::load(unsafe { &raw const (*slot).endpoint }.cast());
    (word as u32, (word >> 32) as u32)
}

/// Leads a flow that is handed on to somebody else.
#[inline(always)]
pub fn set_target(slot: *mut Slot, endpoint: u32, generation: u32) {
    // SAFETY: as above; a flow that is handed on has nothing that depends on them.
    unsafe {
        (&raw mut (*slot).endpoint).cast::<u64>().write_volatile(endpoint as u64 | (generation as u64) << 32);
    }
}

/// Ports first: they differ most often.
#[inline(always)]
pub fn same(a: &FlowKey, b: &FlowKey) -> bool {
    let (a, b) = (a.words(), b.words());
    a[4] == b[4] && a[1] == b[1] && a[3] == b[3] && a[0] == b[0] && a[2] == b[2]
}
