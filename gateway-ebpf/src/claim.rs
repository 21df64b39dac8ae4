//! Claiming a way of the forward table for a key that has none.
//!
//! Both of two rivals for one key claim before they look again, so at least one sees the other (Dekker); both may
//! withdraw, never both stay. The scans compute bit masks without branches, since the verifier would walk every
//! combination of eight; functions with scalars or pointers to the stack are verified once, on their own.

use gateway_common::{
    flow::{GRACE, GUARD, State, Word},
    hash::Place,
    maps::{FlowKey, Settings, WAYS},
};

use crate::{
    atomic,
    bits::{count, hide, is_zero, lowest, pick, sign},
    lookup::{same, settings, word_of},
    maps::{FORWARD, SLOTS},
};

/// Answers of [`claim_way`], above [`CLAIM_SHIFT`]; below stands the way's number.
pub const CLAIM_SHIFT: u32 = 32;
pub const CLAIMED: u64 = 0;
pub const EXISTS: u64 = 1;
pub const RIVALLED: u64 = 2;
const CROWDED: u64 = 3;

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn claim_way(key: *const FlowKey, now: u32) -> u64 {
    let Some(settings) = settings() else { return CROWDED << CLAIM_SHIFT };
    if key.is_null() {
        return CROWDED << CLAIM_SHIFT;
    }
    // SAFETY: on the caller's stack.
    let key = unsafe { &*key };
    let place = Place::forward(key, settings);
    let first = Scan(scan(place.first, place.tag as u32, now));
    let second = Scan(scan(place.second, place.tag as u32, now));
    if (first.busy() | second.busy()) != 0 {
        return RIVALLED << CLAIM_SHIFT;
    }
    let mut own = among(place.first, first.tagged(), NOBODY, key);
    if own == NOBODY {
        own = among(place.second, second.tagged(), NOBODY, key);
    }
    let id = if own != NOBODY { own } else { choose(&place, first, second) };
    if id == NOBODY {
        return CROWDED << CLAIM_SHIFT;
    }
    let Some(word) = word_of(id) else { return CROWDED << CLAIM_SHIFT };
    let old = Word(atomic::load(word));
    if own != NOBODY && old.is_live(now) {
        return EXISTS << CLAIM_SHIFT;
    }
    // The way may have changed hands since the scan. The key's own dead flow may be taken over within the grace: whoever
    // still holds the slot serves the same key.
    let may_take = if own == NOBODY {
        old.is_free(now) || is_evictable(old, settings, now)
    } else {
        old.tag() == place.tag && old.state_bits() >= State::Opening as u64
    };
    if !may_take {
        return RIVALLED << CLAIM_SHIFT;
    }
    let generation = old.generation().wrapping_add(1);
    let claimed = Word::new(place.tag, State::Busy, key.protocol, generation, now + GRACE);
    if atomic::compare_swap(word, old.0, claimed.0) != old.0 {
        return RIVALLED << CLAIM_SHIFT;
    }
    if has_rival(&place, id, key, now) {
        atomic::swap(word, claimed.with_state(State::Empty, now).0);
        return RIVALLED << CLAIM_SHIFT;
    }
    CLAIMED << CLAIM_SHIFT | id as u64
}

/// A free way of the bucket that has more of them; else the evictable flow that is nearest to its end.
#[inline(always)]
fn choose(place: &Place, first: Scan, second: Scan) -> u32 {
    let (a, b) = (count(first.free()), count(second.free()));
    if a | b != 0 {
        return if a >= b {
            place.first * WAYS as u32 + lowest(first.free())
        } else {
            place.second * WAYS as u32 + lowest(second.free())
        };
    }
    let (a, b) = (first.victim(), second.victim());
    if a == NO_VICTIM && b == NO_VICTIM {
        return NOBODY;
    }
    if a <= b {
        place.first * WAYS as u32 + (a & 7) as u32
    } else {
        place.second * WAYS as u32 + (b & 7) as u32
    }
}

/// As [`scan`] judges. The word may be another's by now: a flow that somebody has just put there is not idle.
#[inline(always)]
fn is_evictable(word: Word, settings: &Settings, now: u32) -> bool {
    let state = word.state();
    let timeout = state.timeout(word.protocol(), &settings.timeouts);
    let left = word.left(now);
    matches!(state, State::Opening | State::Closed)
        && (left + GUARD as i32 <= timeout as i32 || left > timeout as i32 + GRACE as i32)
}

/// Whether another CPU is making, or has made, a flow of the same key in another way.
#[inline(always)]
fn has_rival(place: &Place, own: u32, key: &FlowKey, now: u32) -> bool {
    if !tag_elsewhere(place.first, place.tag, own) && !tag_elsewhere(place.second, place.tag, own) {
        return false;
    }
    let first = Scan(scan(place.first, place.tag as u32, now));
    let second = Scan(scan(place.second, place.tag as u32, now));
    let mine = 1u64 << (own % WAYS as u32);
    let busy = if own / WAYS as u32 == place.first {
        first.busy() & !mine | second.busy()
    } else {
        first.busy() | second.busy() & !mine
    };
    busy != 0
        || among(place.first, first.tagged(), own, key) != NOBODY
        || among(place.second, second.tagged(), own, key) != NOBODY
}

/// The cheap look: one tag in 65,536 is there by chance, and then the slow look decides. It may branch, as it only
/// returns.
#[inline(always)]
fn tag_elsewhere(bucket: u32, tag: u16, own: u32) -> bool {
    let Some(ways) = FORWARD.get_ptr(bucket) else { return true };
    let mut way = 0;
    while way < WAYS {
        // SAFETY: inside the bucket's eight words.
        let word = atomic::load(unsafe { &raw const (*ways).ways[way] });
        if word as u16 == tag && bucket * WAYS as u32 + way as u32 != own {
            return true;
        }
        way += 1;
    }
    false
}

/// What a scan of a forward bucket found: bits 0..8 free ways, 8..16 ways with the tag that are not free, 16..24 of
/// these the busy ones, 32..64 the best victim as (ticks left + bias) * 8 + way, or [`NO_VICTIM`].
#[derive(Clone, Copy)]
struct Scan(u64);
const NO_VICTIM: u64 = u32::MAX as u64;
/// Deadlines that have passed by less than [`GRACE`] must not go below zero.
const VICTIM_BIAS: i64 = 64;

impl Scan {
    #[inline(always)]
    fn free(self) -> u64 {
        self.0 & 0xff
    }
    #[inline(always)]
    fn tagged(self) -> u64 {
        self.0 >> 8 & 0xff
    }
    #[inline(always)]
    fn busy(self) -> u64 {
        self.0 >> 16 & 0xff
    }
    #[inline(always)]
    fn victim(self) -> u64 {
        self.0 >> 32
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn scan(bucket: u32, tag: u32, now: u32) -> u64 {
    let (Some(ways), Some(settings)) = (FORWARD.get_ptr(bucket), settings()) else { return NO_VICTIM << 32 };
    let timeouts = &settings.timeouts;
    let (mut free, mut tagged, mut busy, mut best) = (0u64, 0u64, 0u64, NO_VICTIM);
    let mut way = 0;
    while way < WAYS {
        // SAFETY: inside the bucket's eight words.
        let word = hide(atomic::load(unsafe { &raw const (*ways).ways[way] }));
        let state = word >> 16 & 7;
        let left = (word >> 32) as i64 - now as i64;
        let is_free = is_zero(state) | sign(left + GRACE as i64 - 1);
        let is_tagged = is_zero((word ^ tag as u64) & 0xffff) & (1 - is_free);
        free |= is_free << way;
        tagged |= is_tagged << way;
        busy |= (is_tagged & is_zero(state ^ State::Busy as u64)) << way;
        let is_opening = is_zero(state ^ State::Opening as u64);
        let is_closed = is_zero(state ^ State::Closed as u64);
        let is_udp = word >> 19 & 1;
        let timeout = pick(is_opening & is_udp, timeouts.udp_opening as u64)
            | pick(is_opening & (1 - is_udp), timeouts.tcp_opening as u64)
            | pick(is_closed, timeouts.tcp_closed as u64);
        // Idle for GUARD: left <= timeout - GUARD. Or handed on: its time-out is longer than its class has, its slot is
        // never written, and whoever reads it looks at the word again.
        let is_idle = sign(left + GUARD as i64 - 1 - timeout as i64);
        let is_handed_on = sign(timeout as i64 + GRACE as i64 - left);
        let is_victim = (is_opening | is_closed) & (1 - is_free) & (is_idle | is_handed_on);
        let value = ((left + VICTIM_BIAS) as u64) << 3 | way as u64;
        let candidate = pick(is_victim, value) | pick(1 - is_victim, NO_VICTIM);
        let gain = candidate as i64 - best as i64;
        best = best.wrapping_add((gain & gain >> 63) as u64);
        way += 1;
    }
    free | tagged << 8 | busy << 16 | (best & NO_VICTIM) << 32
}

/// Slot number among the ways in `mask` whose key is `key`, other than `own`.
#[inline(always)]
fn among(bucket: u32, mask: u64, own: u32, key: &FlowKey) -> u32 {
    if mask == 0 { NOBODY } else { among_ways(bucket, mask as u32, own, key) }
}
const NOBODY: u32 = u32::MAX;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn among_ways(bucket: u32, mask: u32, own: u32, key: *const FlowKey) -> u32 {
    if key.is_null() {
        return NOBODY;
    }
    let mut way = 0;
    while way < WAYS as u32 {
        let id = bucket * WAYS as u32 + way;
        if mask >> way & 1 == 1
            && id != own
            && let Some(slot) = SLOTS.get_ptr(id)
            // SAFETY: the key is on the caller's stack; the slot is a value of an array map.
            && same(unsafe { &(*slot).forward }, unsafe { &*key })
        {
            return id;
        }
        way += 1;
    }
    NOBODY
}
