//! Making a flow: claim a way of the forward table (and with it the slot of the same number), reserve the reverse
//! key, publish. Several CPUs do this at once without locks.
//!
//! Both of two rivals for one key claim before they look again, so at least one sees the other (Dekker); both may
//! withdraw, never both stay. The scans compute bit masks without branches, since the verifier would walk every
//! combination of eight; functions with scalars or pointers to the stack are verified once, on their own.

use core::ptr;

use gateway_common::{
    flow::{Closing, GRACE, GUARD, ReverseWord, State, Word, may_reuse},
    hash::{self, GROUP_MASK, Place},
    headers::Timestamp,
    maps::{Address, Endpoint, FlowKey, PORT_GROUP, Settings, Slot, WAYS, slot_flags},
    reason::Reason,
};

use crate::{
    atomic,
    bits::{count, hide, is_zero, lowest, pick, sign},
    lookup::{same, settings, word_of},
    maps::{FORWARD, REVERSE, SLOTS},
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
        (*claim.slot).reverse.destination = flow.forward.source;
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
        (*claim.slot).reverse.destination = *source;
        (*claim.slot).flags = slot_flags::SNAT;
    }
    let outcome = search_port(flow, &claim, settings, now);
    publish(flow, &claim, outcome, settings, now)
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
        (*slot).reverse.source = flow.endpoint.address;
        (*slot).reverse.source_port = flow.endpoint.port;
        (*slot).reverse.protocol = flow.forward.protocol;
        (*slot).reverse.reserved = [0; 3];
        (*slot).endpoint = flow.endpoint_id;
        (*slot).endpoint_generation = flow.endpoint.generation;
        (*slot).backend = flow.backend;
        (*slot).client_expires = 0;
        (*slot).sequence = 0;
        (*slot).timestamp = 0;
        (*slot).flags = 0;
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

/// Answers of the functions that reserve a reverse key.
const RESERVED: u32 = 0;
/// Another flow has the key.
const TAKEN: u32 = 1;
/// Another CPU was quicker at the same place.
const CONTENDED: u32 = 2;
const FULL: u32 = 3;

/// Answers of [`claim_way`], above [`CLAIM_SHIFT`]; below stands the way's number.
const CLAIM_SHIFT: u32 = 32;
const CLAIMED: u64 = 0;
const EXISTS: u64 = 1;
const RIVALLED: u64 = 2;
const CROWDED: u64 = 3;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn claim_way(key: *const FlowKey, now: u32) -> u64 {
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
    matches!(state, State::Opening | State::Closed) && word.left(now) + GUARD as i32 <= timeout as i32
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
        // Idle for GUARD: left <= timeout - GUARD.
        let is_victim =
            (is_opening | is_closed) & (1 - is_free) & sign(left + GUARD as i64 - 1 - timeout as i64);
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

/// Reserves the reverse key that stands in the slot.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn reserve_exact(id: u32, generation: u32, now: u32) -> u32 {
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
extern "C" fn reserve_in_group(id: u32, generation: u32, now: u32, newcomer: *const [u32; 3]) -> u32 {
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
        if found == NOBODY {
            bucket = place.second;
            found = reusable(bucket, group as u32, now, newcomer);
        }
        if found == NOBODY {
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

/// A way of the group whose port may serve the newcomer: its flow is gone, or closed in a way that the endpoint
/// accepts a new SYN after; that flow ends here. Port's low bits * 8 + way, or [`NOBODY`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn reusable(bucket: u32, group: u32, now: u32, newcomer: *const [u32; 3]) -> u32 {
    let (Some(ways), Some(settings)) = (REVERSE.get_ptr(bucket), settings()) else { return NOBODY };
    if newcomer.is_null() {
        return NOBODY;
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
    NOBODY
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
