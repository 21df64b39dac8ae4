//! What is known of a flow, in one 64-bit word per way of the forward table, and how packets change it.
//!
//! ```text
//! forward word   tag 16 | state 3 | UDP 1 | generation 12 | deadline 32 (ticks)
//! reverse word   tag 16 | generation 12 | used 1 | zero 3 | slot 32
//! ```
//!
//! One word publishes and ends both directions at once: a reverse word means something only while the slot's forward
//! word has the same generation. Words change by compare-and-swap alone. A flow ends by its deadline, never by
//! emptying the word: a program that still holds the slot must not write into a successor.

use crate::{
    headers::{FIN, RST, SYN, Timestamp},
    maps::{TCP, Timeouts, UDP},
};

/// Ticks from a flow's deadline until its place may be taken: 1 s, longer than any program runs.
pub const GRACE: u32 = 15;
/// Ticks without a packet before an opening flow may be evicted, or a closed one's port be taken: one tick, for the
/// same reason; eviction under a flood can't wait for GRACE.
pub const GUARD: u32 = 1;
/// A packet of an established flow extends its deadline only if that gains 15 ticks: one atomic write per second. Of
/// flows that may be evicted or taken over, the deadline tells idleness, so that each tick counts.
const REFRESH: i32 = 15;

/// State of a way of the forward table. The numbers are part of the map layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Empty = 0,
    /// Claimed and being filled: look-ups don't see it.
    Busy = 1,
    /// TCP: the client hasn't acknowledged the endpoint's SYN-ACK. UDP: no answer and further datagram yet. Newcomers
    /// may evict it.
    Opening = 2,
    /// Never evicted before its deadline.
    Established = 3,
    HalfClosedByClient = 4,
    HalfClosedByEndpoint = 5,
    /// Both sent FIN, the client first; or somebody sent RST.
    Closed = 6,
    /// Both sent FIN, the endpoint first: it is in TIME-WAIT.
    ClosedByEndpoint = 7,
}

impl State {
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 7 {
            1 => Self::Busy,
            2 => Self::Opening,
            3 => Self::Established,
            4 => Self::HalfClosedByClient,
            5 => Self::HalfClosedByEndpoint,
            6 => Self::Closed,
            7 => Self::ClosedByEndpoint,
            _ => Self::Empty,
        }
    }

    pub const fn is_flow(self) -> bool {
        !matches!(self, Self::Empty | Self::Busy)
    }

    /// Both sides are done with it: its port may serve a new connection if the endpoint would accept that.
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Closed | Self::ClosedByEndpoint)
    }

    /// How long it lives without a packet, in ticks.
    #[inline(always)]
    pub fn timeout(self, protocol: u8, timeouts: &Timeouts) -> u32 {
        if protocol != TCP {
            return if matches!(self, Self::Opening) {
                timeouts.udp_opening
            } else {
                timeouts.udp_established
            };
        }
        match self {
            Self::Opening => timeouts.tcp_opening,
            Self::Established => timeouts.tcp_established,
            Self::HalfClosedByClient | Self::HalfClosedByEndpoint => timeouts.tcp_half_closed,
            Self::ClosedByEndpoint => timeouts.tcp_endpoint_closed,
            Self::Empty | Self::Busy | Self::Closed => timeouts.tcp_closed,
        }
    }
}

/// A word of the forward table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Word(pub u64);

impl Word {
    #[inline(always)]
    pub const fn new(tag: u16, state: State, protocol: u8, generation: u16, deadline: u32) -> Self {
        Self(
            tag as u64
                | (state as u64) << 16
                | ((protocol != TCP) as u64) << 19
                | ((generation & GENERATION_MASK) as u64) << 20
                | (deadline as u64) << 32,
        )
    }

    #[inline(always)]
    pub const fn tag(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    pub const fn state(self) -> State {
        State::from_bits(self.0 >> 16)
    }

    #[inline(always)]
    pub const fn state_bits(self) -> u64 {
        self.0 >> 16 & 7
    }

    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        if self.0 >> 19 & 1 == 0 { TCP } else { UDP }
    }

    #[inline(always)]
    pub const fn generation(self) -> u16 {
        (self.0 >> 20) as u16 & GENERATION_MASK
    }

    #[inline(always)]
    pub const fn deadline(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Ticks until the deadline; negative: it has passed.
    #[inline(always)]
    pub const fn left(self, now: u32) -> i32 {
        self.deadline().wrapping_sub(now) as i32
    }

    /// A flow that look-ups find.
    #[inline(always)]
    pub const fn is_live(self, now: u32) -> bool {
        self.state_bits() >= State::Opening as u64 && self.left(now) > 0
    }

    /// Anybody may take the way. Whoever saw its flow alive has finished by now; a claim that was never published
    /// has a deadline too, so nothing stays stuck.
    #[inline(always)]
    pub const fn is_free(self, now: u32) -> bool {
        self.state_bits() == State::Empty as u64 || self.left(now) + GRACE as i32 <= 0
    }

    #[inline(always)]
    #[must_use]
    pub const fn with_state(self, state: State, deadline: u32) -> Self {
        Self(self.0 & 0xfff8_ffff | (state as u64) << 16 | (deadline as u64) << 32)
    }

    /// The word after a packet at `now` in a state that lives for `timeout` ticks, or itself if a write wouldn't pay.
    #[inline(always)]
    #[must_use]
    pub fn refreshed(self, now: u32, timeout: u32) -> Self {
        let deadline = now.wrapping_add(timeout);
        let gain = deadline.wrapping_sub(self.deadline()) as i32;
        let least = if self.state_bits() == State::Established as u64 { REFRESH } else { 1 };
        if gain < least {
            return self;
        }
        Self(self.0 & 0xffff_ffff | (deadline as u64) << 32)
    }

    /// As [`Self::refreshed`] for a flow whose idleness nobody judges by its deadline.
    #[inline(always)]
    #[must_use]
    fn extended(self, now: u32, timeout: u32) -> Self {
        let deadline = now.wrapping_add(timeout);
        if (deadline.wrapping_sub(self.deadline()) as i32) < REFRESH {
            return self;
        }
        Self(self.0 & 0xffff_ffff | (deadline as u64) << 32)
    }
}

/// Generations wrap after 4,096 uses of a slot. An old reverse word may then look current, which is harmless since
/// keys are compared.
const GENERATION_MASK: u16 = 0xfff;

/// A word of the reverse table: which slot, in which of its uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct ReverseWord(pub u64);

impl ReverseWord {
    #[inline(always)]
    pub const fn new(tag: u16, generation: u16, slot: u32) -> Self {
        Self(tag as u64 | ((generation & GENERATION_MASK) as u64) << 16 | 1 << 28 | (slot as u64) << 32)
    }

    #[inline(always)]
    pub const fn tag(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    pub const fn generation(self) -> u16 {
        (self.0 >> 16) as u16 & GENERATION_MASK
    }

    #[inline(always)]
    pub const fn is_used(self) -> bool {
        self.0 >> 28 & 1 == 1
    }

    #[inline(always)]
    pub const fn slot(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Who sent a packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Client,
    Endpoint,
}

/// What a packet does to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Fin,
    Rst,
    /// TCP: the client's ACK of the endpoint's SYN-ACK. UDP: the client's datagram after an answer.
    Confirmed,
    /// TCP: a SYN that opens the connection anew, on the endpoint it had.
    Reopened,
    Other,
}

/// The state after `event`. Nothing but a confirmation makes an opening flow safe from eviction, so that spoofed FINs
/// can't fill the table; nothing but a new SYN brings a closed one back.
#[inline(always)]
pub const fn after(state: State, event: Event, sender: Sender) -> State {
    match (state, event, sender) {
        (State::Opening, Event::Confirmed, _) => State::Established,
        (State::Established, Event::Fin, Sender::Client) => State::HalfClosedByClient,
        (State::Established, Event::Fin, Sender::Endpoint) => State::HalfClosedByEndpoint,
        (_, Event::Rst, _) | (State::HalfClosedByClient, Event::Fin, Sender::Endpoint) => State::Closed,
        (State::HalfClosedByEndpoint, Event::Fin, Sender::Client) => State::ClosedByEndpoint,
        (State::Closed | State::ClosedByEndpoint, Event::Reopened, Sender::Client) => State::Opening,
        (state, _, _) => state,
    }
}

/// The word of a flow that is handed on, after the client's packet with those TCP flags at `now`. No answer passes
/// here, so nothing confirms it: it stays in a class that newcomers may evict, and then the packet's Maglev choice is
/// taken, as it was in the first place. But it may be silent for as long as any other.
#[inline(always)]
pub fn handed_on(word: Word, flags: u8, now: u32, timeouts: &Timeouts) -> Word {
    if word.protocol() != TCP {
        return word.extended(now, timeouts.udp_established);
    }
    if flags & (FIN | RST) != 0 && !word.state().is_closed() {
        return word.with_state(State::Closed, now.wrapping_add(timeouts.tcp_half_closed));
    }
    if word.state().is_closed() {
        return word.extended(now, timeouts.tcp_half_closed);
    }
    let timeout = if flags & SYN != 0 { timeouts.tcp_opening } else { timeouts.tcp_established };
    word.extended(now, timeout)
}

/// What the last words of a closed connection and the first of a new one on the same addresses and ports say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The client's next sequence number, its FIN counted.
    pub sequence: u32,
    /// Its last TSval (RFC 7323).
    pub timestamp: Timestamp,
}

/// Whether an endpoint accepts a SYN on the ports of a connection that it has just closed. Measured against Linux:
/// one that closed first is in TIME-WAIT and wants a later TSval, or a later sequence number where a timestamp is
/// missing or equal (RFC 6191); one that closed second, or saw RST, has forgotten the connection.
#[inline(always)]
pub const fn may_reuse(old: State, closing: Closing, isn: u32, timestamp: Timestamp) -> bool {
    match old {
        State::Closed => true,
        State::ClosedByEndpoint => {
            let both = closing.timestamp.is_known() && timestamp.is_known();
            if both && timestamp.value() != closing.timestamp.value() {
                is_after(timestamp.value(), closing.timestamp.value())
            } else {
                is_after(isn, closing.sequence)
            }
        }
        _ => false,
    }
}

/// Serial number arithmetic (RFC 1982).
const fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::UDP;

    #[test]
    fn words_hold_what_was_put_in() {
        let word = Word::new(0xbeef, State::ClosedByEndpoint, UDP, 0xabc, 0xdead_0001);
        assert_eq!(
            (word.tag(), word.state(), word.generation(), word.deadline()),
            (0xbeef, State::ClosedByEndpoint, 0xabc, 0xdead_0001)
        );
        let reverse = ReverseWord::new(0xbeef, 0xfff, 0x1234_5678);
        assert_eq!((reverse.tag(), reverse.generation(), reverse.slot()), (0xbeef, 0xfff, 0x1234_5678));
        assert!(reverse.is_used() && !ReverseWord(0).is_used());
    }

    #[test]
    fn a_flow_is_live_until_its_deadline_and_free_after_the_grace() {
        let word = Word::new(1, State::Established, TCP, 1, 100);
        for (now, live, free) in [
            (0, true, false),
            (99, true, false),
            (100, false, false),
            (114, false, false),
            (115, false, true),
        ] {
            assert_eq!((word.is_live(now), word.is_free(now)), (live, free), "at {now}");
        }
        let unpublished = word.with_state(State::Busy, 100);
        assert!(!unpublished.is_live(0) && !unpublished.is_free(0) && unpublished.is_free(115));
        assert!(Word(0).is_free(0));
    }

    #[test]
    fn refreshing_writes_at_most_once_per_second() {
        let word = Word::new(1, State::Established, TCP, 1, 1000);
        assert_eq!(word.refreshed(14, 1000), word);
        assert_eq!(word.refreshed(15, 1000).deadline(), 1015);
        assert_eq!(word.refreshed(15, 10), word, "a shorter time-out doesn't cut a longer one");
    }

    #[test]
    fn a_connection_lives_and_closes() {
        use Event::{Confirmed, Fin, Other, Reopened, Rst};
        use Sender::{Client, Endpoint};
        use State::{
            Closed, ClosedByEndpoint, Established, HalfClosedByClient, HalfClosedByEndpoint, Opening,
        };
        for (from, event, sender, to) in [
            (Opening, Other, Endpoint, Opening),
            (Opening, Fin, Client, Opening),
            (Opening, Confirmed, Client, Established),
            (Opening, Rst, Endpoint, Closed),
            (Established, Other, Client, Established),
            (Established, Fin, Client, HalfClosedByClient),
            (Established, Fin, Endpoint, HalfClosedByEndpoint),
            (HalfClosedByClient, Fin, Client, HalfClosedByClient),
            (HalfClosedByClient, Fin, Endpoint, Closed),
            (HalfClosedByEndpoint, Fin, Client, ClosedByEndpoint),
            (ClosedByEndpoint, Other, Client, ClosedByEndpoint),
            (ClosedByEndpoint, Reopened, Client, Opening),
            (Closed, Reopened, Endpoint, Closed),
            (Closed, Confirmed, Client, Closed),
        ] {
            assert_eq!(after(from, event, sender), to, "{from:?} {event:?} {sender:?}");
        }
    }

    #[test]
    fn ports_are_reused_when_the_endpoint_would_accept_it() {
        let stamp = |value: Option<u32>| value.map_or(Timestamp::NONE, Timestamp::new);
        let with = |timestamp| Closing { sequence: 1000, timestamp: stamp(timestamp) };
        for (name, state, closing, isn, timestamp, ok) in [
            ("client closed first", State::Closed, with(None), 0, None, true),
            ("still open", State::HalfClosedByEndpoint, with(None), 2000, None, false),
            ("later TSval, earlier ISN", State::ClosedByEndpoint, with(Some(5)), 0, Some(6), true),
            ("earlier TSval, later ISN", State::ClosedByEndpoint, with(Some(5)), 2000, Some(4), false),
            ("equal TSval, later ISN", State::ClosedByEndpoint, with(Some(5)), 1001, Some(5), true),
            ("equal TSval, same ISN", State::ClosedByEndpoint, with(Some(5)), 1000, Some(5), false),
            ("no timestamp now", State::ClosedByEndpoint, with(Some(5)), 1001, None, true),
            ("no timestamp before", State::ClosedByEndpoint, with(None), 999, Some(9), false),
            ("sequence wraps", State::ClosedByEndpoint, with(None), 5, None, false),
        ] {
            assert_eq!(may_reuse(state, closing, isn, stamp(timestamp)), ok, "{name}");
        }
    }
}
