//! The flow table, read from outside while programs change it.

use std::net::SocketAddr;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use gateway_agent_tables::Protocol;
use gateway_common::flow::{State, Word};
use gateway_common::maps::{Slot, TICK_SHIFT};
use serde::{Serialize, Serializer};

use crate::address::{protocol, socket};
use crate::mmap::Words;
use crate::store::Slots;

/// One flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    #[serde(serialize_with = "as_text")]
    pub protocol: Protocol,
    pub client: SocketAddr,
    pub frontend: SocketAddr,
    pub endpoint: SocketAddr,
    /// The client as the endpoint sees it: itself, or this node's address (SNAT).
    pub source: SocketAddr,
    #[serde(serialize_with = "state_name")]
    pub state: State,
    /// Until it ends without a further packet, to 67 ms.
    #[serde(rename = "expires_in_seconds", serialize_with = "seconds")]
    pub expires_in: Duration,
    /// Number of its place.
    pub slot: u32,
    /// [`crate::BackendStats::id`]
    pub backend_id: u32,
    /// Of the endpoint; or, if another node told of the flow, of that node in the map `peers`.
    pub endpoint_id: u32,
}

impl Flow {
    /// As `flows` prints it.
    pub fn state_name(&self) -> &'static str {
        name(self.state)
    }
}

/// Flows that are live at `now`, in the table's order. One that ends or begins while it is read is left out.
pub(crate) fn live<'a>(forward: &'a Words, slots: &'a Slots, now: u32) -> impl Iterator<Item = Flow> + 'a {
    live_slots(forward, slots, 0, now)
        .filter_map(move |LiveSlot { number, word, slot }| flow(number, word, &slot, now))
}

/// A place of the table with a live flow.
pub(crate) struct LiveSlot {
    pub(crate) number: u32,
    pub(crate) word: Word,
    pub(crate) slot: Slot,
}

/// The same from a place on, as they are.
///
/// Slots are read by system calls: a mapping would count all of them as this process' memory, used or not.
pub(crate) fn live_slots<'a>(
    forward: &'a Words,
    slots: &'a Slots,
    from: u32,
    now: u32,
) -> impl Iterator<Item = LiveSlot> + 'a {
    (0u32..).zip(forward.iter()).skip(from as usize).filter_map(move |(number, word)| {
        let before = Word(word.load(Ordering::Acquire));
        if !before.is_live(now) {
            return None;
        }
        let slot = slots.get(&number, 0).ok()?;
        // The copy is made before the word is looked at again.
        fence(Ordering::Acquire);
        let word = Word(word.load(Ordering::Relaxed));
        let same = before.tag() == word.tag() && before.generation() == word.generation();
        (same && word.is_live(now)).then_some(LiveSlot { number, word, slot })
    })
}

/// Number of live flows at `now`.
pub(crate) fn count(forward: &Words, now: u32) -> u64 {
    forward.iter().map(|word| u64::from(Word(word.load(Ordering::Relaxed)).is_live(now))).sum()
}

fn flow(number: u32, word: Word, slot: &Slot, now: u32) -> Option<Flow> {
    let Slot { forward, reverse, endpoint, backend, .. } = slot;
    Some(Flow {
        protocol: protocol(forward.protocol)?,
        client: socket(forward.source, forward.source_port),
        frontend: socket(forward.destination, forward.destination_port),
        endpoint: socket(reverse.source, reverse.source_port),
        source: socket(reverse.destination, reverse.destination_port),
        state: word.state(),
        expires_in: expires_in(word, now),
        slot: number,
        backend_id: *backend,
        endpoint_id: *endpoint,
    })
}

pub(crate) fn expires_in(word: Word, now: u32) -> Duration {
    Duration::from_nanos(u64::try_from(word.left(now)).unwrap_or(0) << TICK_SHIFT)
}

fn name(state: State) -> &'static str {
    match state {
        State::Empty => "empty",
        State::Busy => "busy",
        State::Opening => "opening",
        State::Established => "established",
        State::HalfClosedByClient => "half-closed-by-client",
        State::HalfClosedByEndpoint => "half-closed-by-endpoint",
        State::Closed => "closed",
        State::ClosedByEndpoint => "closed-by-endpoint",
    }
}

// serde asks for references.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn as_text<S: Serializer>(protocol: &Protocol, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(protocol)
}

// As above.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn state_name<S: Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name(*state))
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
