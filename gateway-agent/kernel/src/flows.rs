//! The flow table, read from outside while programs change it.

use std::mem::offset_of;
use std::net::SocketAddr;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use gateway_agent_tables::Protocol;
use gateway_common::flow::{State, Word};
use gateway_common::maps::{FlowKey, Slot, TICK_SHIFT};
use serde::{Serialize, Serializer};

use crate::address::{protocol, socket};
use crate::mmap::Words;
use crate::store::SLOT_WORDS;

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
    pub endpoint_id: u32,
}

impl Flow {
    /// As `flows` prints it.
    pub fn state_name(&self) -> &'static str {
        name(self.state)
    }
}

/// Flows that are live at `now`, in the table's order. One that ends or begins while it is read is left out.
pub(crate) fn live<'a>(forward: &'a Words, slots: &'a Words, now: u32) -> impl Iterator<Item = Flow> + 'a {
    let pairs = (0u32..).zip(forward.iter().zip(slots.chunks_exact(SLOT_WORDS)));
    pairs.filter_map(move |(number, (word, slot))| {
        let before = Word(word.load(Ordering::Acquire));
        if !before.is_live(now) {
            return None;
        }
        let copy: [u64; SLOT_WORDS] = std::array::from_fn(|i| slot[i].load(Ordering::Relaxed));
        // The copy is made before the word is looked at again.
        fence(Ordering::Acquire);
        let after = Word(word.load(Ordering::Relaxed));
        let same = before.tag() == after.tag() && before.generation() == after.generation();
        if same && after.is_live(now) { flow(number, after, &copy, now) } else { None }
    })
}

/// Number of live flows at `now`.
pub(crate) fn count(forward: &Words, now: u32) -> u64 {
    forward.iter().map(|word| u64::from(Word(word.load(Ordering::Relaxed)).is_live(now))).sum()
}

fn flow(number: u32, word: Word, slot: &[u64; SLOT_WORDS], now: u32) -> Option<Flow> {
    let forward = key(slot, offset_of!(Slot, forward));
    let reverse = key(slot, offset_of!(Slot, reverse));
    let ticks = u64::try_from(word.left(now)).unwrap_or(0);
    Some(Flow {
        protocol: protocol(forward.protocol)?,
        client: socket(forward.source, forward.source_port),
        frontend: socket(forward.destination, forward.destination_port),
        endpoint: socket(reverse.source, reverse.source_port),
        source: socket(reverse.destination, reverse.destination_port),
        state: word.state(),
        expires_in: Duration::from_nanos(ticks << TICK_SHIFT),
        slot: number,
        backend_id: number_at(slot, offset_of!(Slot, backend)),
        endpoint_id: number_at(slot, offset_of!(Slot, endpoint)),
    })
}

fn key(slot: &[u64; SLOT_WORDS], offset: usize) -> FlowKey {
    *FlowKey::from_words(&std::array::from_fn(|i| slot[offset / 8 + i]))
}

/// The 32-bit field at `offset` bytes.
#[expect(clippy::cast_possible_truncation)]
fn number_at(slot: &[u64; SLOT_WORDS], offset: usize) -> u32 {
    (slot[offset / 8] >> (offset % 8 * 8)) as u32
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
