//! Reserving a key of the reverse table for a claimed slot. The table is the allocator of SNAT ports: a key that no
//! live slot has is free. Rivals are met as in [`crate::claim`].

use core::ptr;

use gateway_common::{
    flow::{Closing, GUARD, ReverseWord, State, Word, may_reuse},
    hash::{GROUP_MASK, Place},
    headers::Timestamp,
    maps::{FlowKey, Settings, WAYS, slot_flags},
};

use crate::{
    atomic,
    bits::{count, hide, is_zero, lowest},
    lookup::{same, settings, word_of},
    maps::{REVERSE, SLOTS},
};

/// Answers of the functions that reserve a reverse key.
pub const RESERVED: u32 = 0;
/// Another flow has the key.
pub const TAKEN: u32 = 1;
/// Another CPU was quicker at the same place.
pub const CONTENDED: u32 = 2;
pub const FULL: u32 = 3;

/// Reserves the reverse key that stands in the slot.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn reserve_exact(id: u32, generation: u32, now: u32) -> u32 {
    let (Some(settings), Some(slot)) = (settings(), SLOTS.get_ptr(id)) else { return FULL };
    // SAFETY: the caller has claimed the slot and not published it.
    let key = unsafe { &(*slot).reverse };
    let place = Place::reverse(key, settings);
    let first = scan_reverse(place.first, place.tag as u32);
    let second = scan_reverse(place.second, place.tag as u32);
    if is_reserved(place.first, first >> 8 & 0xff, id, key, now)
        || is_reserved(place.second, second >> 8 & 0xff, id, key, now)
    {
        return TAKEN;
    }
    let Some((bucket, way)) = choose_reverse(&place, first & 0xff, second & 0xff, now) else { return FULL };
    take(&place, bucket, way, id, generation, key, now)
}

/// Reserves one of the eight ports of the group that the slot's reverse key is in, that port first; writes it there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn reserve_in_group(id: u32, generation: u32, now: u32, newcomer: *const [u32; 3]) -> u32 {
    let (Some(settings), Some(slot)) = (settings(), SLOTS.get_ptr_mut(id)) else { return FULL };
    if newcomer.is_null() {
        return FULL;
    }
    // SAFETY: the caller has claimed the slot and not published it; the newcomer is on the caller's stack.
    let (key, newcomer) = unsafe { (&mut (*slot).reverse, &*newcomer) };
    let mut place = Place::reverse_in_group(key, settings);
    let group = place.tag & !(GROUP_MASK as u16);
    let hint = key.destination_port as u64 & GROUP_MASK;
    let first = scan_group(place.first, group as u32);
    let second = scan_group(place.second, group as u32);
    let unused = !(first >> 8 | second >> 8) & 0xff;
    let (port, bucket, way) = if unused != 0 {
        let turned = (unused >> hint | unused << (8 - hint)) & 0xff;
        let port = (lowest(turned) as u64 + hint) & GROUP_MASK;
        let Some((bucket, way)) = choose_reverse(&place, first & 0xff, second & 0xff, now) else {
            return FULL;
        };
        (port, bucket, way)
    } else {
        let mut bucket = place.first;
        let mut found = reusable(bucket, group as u32, now, newcomer);
        if found == NO_WAY {
            bucket = place.second;
            found = reusable(bucket, group as u32, now, newcomer);
        }
        if found == NO_WAY {
            return TAKEN;
        }
        (found as u64 >> 3 & GROUP_MASK, bucket, found & 7)
    };
    let port = hide(port) & GROUP_MASK;
    key.destination_port = key.destination_port & !(GROUP_MASK as u16) | port as u16;
    place.tag = group | port as u16;
    take(&place, bucket, way, id, generation, key, now)
}

/// An empty way of the bucket that has more of them; else one whose flow is gone.
#[inline(always)]
fn choose_reverse(place: &Place, first: u64, second: u64, now: u32) -> Option<(u32, u32)> {
    let (a, b) = (count(first), count(second));
    if a | b != 0 {
        return Some(if a >= b { (place.first, lowest(first)) } else { (place.second, lowest(second)) });
    }
    let way = stale_way(place.first, now);
    if way < WAYS as u32 {
        return Some((place.first, way));
    }
    let way = stale_way(place.second, now);
    if way < WAYS as u32 { Some((place.second, way)) } else { None }
}

/// Claims a way of the reverse table, looks again for rivals, and withdraws before one.
#[inline(always)]
fn take(place: &Place, bucket: u32, way: u32, id: u32, generation: u32, key: &FlowKey, now: u32) -> u32 {
    let way = hide(way as u64) as usize & (WAYS - 1);
    let Some(ways) = REVERSE.get_ptr_mut(bucket) else { return FULL };
    // SAFETY: the index is below eight.
    let word = unsafe { &raw mut (*ways).ways[way] };
    let old = atomic::load(word);
    if old != 0 && !is_stale(ReverseWord(old), now) {
        return CONTENDED;
    }
    let entry = ReverseWord::new(place.tag, generation as u16, id);
    if atomic::compare_swap(word, old, entry.0) != old {
        return CONTENDED;
    }
    let first = scan_reverse(place.first, place.tag as u32);
    let second = scan_reverse(place.second, place.tag as u32);
    if is_reserved(place.first, first >> 8 & 0xff, id, key, now)
        || is_reserved(place.second, second >> 8 & 0xff, id, key, now)
    {
        atomic::compare_swap(word, entry.0, 0);
        return CONTENDED;
    }
    RESERVED
}

/// Bits 0..8: empty ways; 8..16: ways with the tag.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn scan_reverse(bucket: u32, tag: u32) -> u64 {
    let Some(ways) = REVERSE.get_ptr(bucket) else { return 0 };
    let (mut empty, mut tagged) = (0u64, 0u64);
    let mut way = 0;
    while way < WAYS {
        // SAFETY: inside the bucket's eight words.
        let word = hide(atomic::load(unsafe { &raw const (*ways).ways[way] }));
        let is_empty = is_zero(word >> 28 & 1);
        empty |= is_empty << way;
        tagged |= (is_zero((word ^ tag as u64) & 0xffff) & (1 - is_empty)) << way;
        way += 1;
    }
    empty | tagged << 8
}

/// Bits 0..8: empty ways; 8..16: ports of the group that have a way, in use or not any more.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn scan_group(bucket: u32, group: u32) -> u64 {
    let Some(ways) = REVERSE.get_ptr(bucket) else { return 0xff00 };
    let (mut empty, mut ports) = (0u64, 0u64);
    let mut way = 0;
    while way < WAYS {
        // SAFETY: inside the bucket's eight words.
        let word = hide(atomic::load(unsafe { &raw const (*ways).ways[way] }));
        let is_empty = is_zero(word >> 28 & 1);
        empty |= is_empty << way;
        let is_member = is_zero((word ^ group as u64) & (0xffff & !GROUP_MASK)) & (1 - is_empty);
        ports |= is_member << (word & GROUP_MASK);
        way += 1;
    }
    empty | ports << 8
}

/// Whether one of the ways in `mask` stands for a flow, other than `id`'s, with this key.
#[inline(always)]
fn is_reserved(bucket: u32, mask: u64, id: u32, key: &FlowKey, now: u32) -> bool {
    mask != 0 && is_reserved_in(bucket, mask as u32, id, now, key) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_reserved_in(bucket: u32, mask: u32, id: u32, now: u32, key: *const FlowKey) -> u32 {
    let Some(ways) = REVERSE.get_ptr(bucket) else { return 1 };
    if key.is_null() {
        return 1;
    }
    let mut way = 0;
    while way < WAYS {
        // SAFETY: inside the bucket's eight words.
        let entry = ReverseWord(atomic::load(unsafe { &raw const (*ways).ways[way] }));
        if mask >> way & 1 == 1
            && entry.slot() != id
            && !is_stale(entry, now)
            && let Some(slot) = SLOTS.get_ptr(entry.slot())
            // SAFETY: the key is on the caller's stack; the slot is a value of an array map.
            && same(unsafe { &(*slot).reverse }, unsafe { &*key })
        {
            return 1;
        }
        way += 1;
    }
    0
}

/// The entry's slot serves another flow by now, or none.
#[inline(always)]
fn is_stale(entry: ReverseWord, now: u32) -> bool {
    let Some(place) = word_of(entry.slot()) else { return true };
    let word = Word(atomic::load(place));
    word.generation() != entry.generation() || word.is_free(now)
}

/// First stale way of a bucket, or 8.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stale_way(bucket: u32, now: u32) -> u32 {
    let Some(ways) = REVERSE.get_ptr(bucket) else { return WAYS as u32 };
    let mut way = 0;
    while way < WAYS {
        // SAFETY: inside the bucket's eight words.
        if is_stale(ReverseWord(atomic::load(unsafe { &raw const (*ways).ways[way] })), now) {
            return way as u32;
        }
        way += 1;
    }
    WAYS as u32
}

const NO_WAY: u32 = u32::MAX;

/// A way of the group whose port may serve the newcomer: its flow is gone, or closed in a way that the endpoint
/// accepts a new SYN after; that flow ends here. Port's low bits * 8 + way, or [`NO_WAY`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn reusable(bucket: u32, group: u32, now: u32, newcomer: *const [u32; 3]) -> u32 {
    let (Some(ways), Some(settings)) = (REVERSE.get_ptr(bucket), settings()) else { return NO_WAY };
    if newcomer.is_null() {
        return NO_WAY;
    }
    // SAFETY: on the caller's stack.
    let [sequence, timestamp, has_timestamp] = unsafe { *newcomer };
    let timestamp = Timestamp::from_parts(timestamp, has_timestamp != 0);
    let mut way = 0;
    while way < WAYS as u32 {
        // SAFETY: inside the bucket's eight words.
        let entry = ReverseWord(atomic::load(unsafe { &raw const (*ways).ways[way as usize] }));
        if entry.is_used() && (entry.tag() as u64 ^ group as u64) & !GROUP_MASK == 0 {
            let found = (entry.tag() as u32 & GROUP_MASK as u32) << 3 | way;
            if is_stale(entry, now) || end_closed(entry, settings, now, sequence, timestamp) {
                return found;
            }
        }
        way += 1;
    }
    NO_WAY
}

/// Ends the entry's flow if it is closed, idle and its port may be used again.
#[inline(always)]
fn end_closed(
    entry: ReverseWord,
    settings: &Settings,
    now: u32,
    sequence: u32,
    timestamp: Timestamp,
) -> bool {
    let (Some(place), Some(slot)) = (word_of(entry.slot()), SLOTS.get_ptr(entry.slot())) else {
        return false;
    };
    let word = Word(atomic::load(place));
    let state = word.state();
    if word.generation() != entry.generation() || !state.is_closed() {
        return false;
    }
    // SAFETY: a value of an array map.
    let (protocol, last, known, seen) = unsafe {
        (
            (*slot).forward.protocol,
            (*slot).sequence,
            (*slot).flags & slot_flags::TIMESTAMP != 0,
            ptr::read_volatile(&raw const (*slot).timestamp),
        )
    };
    let idle = state.timeout(protocol, &settings.timeouts) as i32 - word.left(now);
    let closing = Closing { sequence: last, timestamp: Timestamp::from_parts(seen, known) };
    idle >= GUARD as i32
        && may_reuse(state, closing, sequence, timestamp)
        && atomic::compare_swap(place, word.0, word.with_state(State::Empty, now).0) == word.0
}
