//! An address of a pool that has come to this node: what was handed on before decides nothing, and until other nodes have
//! told of the flows that they have, packets of unknown ones wait. Both are functions of their own to save callers' stacks.

use gateway_common::{
    headers::Packet,
    maps::{Address, PoolAddress, Slot},
};

use crate::{atomic, maps::POOL};

/// Somebody else may have the packet's flow, and is being asked.
#[inline(never)]
pub fn is_asking(packet: &Packet, now: u32) -> bool {
    entry(&packet.flow_key().destination).is_some_and(|entry| {
        let until = if packet.is_tcp() {
            atomic::load32(&raw const entry.segments_wait_until)
        } else {
            atomic::load32(&raw const entry.datagrams_wait_until)
        };
        (until.wrapping_sub(now) as i32) > 0
    })
}

/// The flow, which is handed on, became so before its address came here: its client may have used the port again by way of
/// another node since.
#[inline(never)]
pub fn is_former(slot: *const Slot) -> bool {
    // SAFETY: a value of an array map; both don't change while the flow lives.
    let (address, began) = unsafe { (&(*slot).forward.destination, (*slot).sequence) };
    entry(address).is_some_and(|entry| {
        let since = atomic::load32(&raw const entry.since);
        since != 0 && (began.wrapping_sub(since) as i32) < 0
    })
}

#[inline(always)]
fn entry(address: &Address) -> Option<&'static PoolAddress> {
    // SAFETY: its aligned words are read at once.
    unsafe { POOL.get(address) }
}
