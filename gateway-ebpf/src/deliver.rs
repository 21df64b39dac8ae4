//! The end of every packet that goes on: rewritten, counted, redirected.

use gateway_common::{
    headers::Packet,
    maps::{FlowKey, Stage},
    reason::Reason,
};

use crate::{
    hop::Exit,
    maps::STAGES,
    skb::{Skb, Verdict},
};

/// Sends the packet on to whoever answers with the key `reversed`.
#[inline(always)]
pub fn deliver(skb: &Skb, packet: &Packet, reversed: &FlowKey, exit: &Exit) -> Verdict {
    if packet.hop_limit <= 1 {
        return Verdict::Drop(Reason::HopLimit);
    }
    match skb.rewrite(packet, reversed) {
        Ok(()) => skb.redirect_to(exit.ifindex, exit.next_hop, exit.flags),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Hands the packet to another program; comes back only if that is missing.
#[inline(always)]
pub fn hand_to(skb: &Skb, stage: Stage) -> Verdict {
    // SAFETY: no value of this program needs dropping.
    unsafe { STAGES.tail_call(skb.ctx(), stage as u32) };
    Verdict::Drop(Reason::StageMissing)
}

/// Has the packet answered: TCP by RST; a UDP flow that lost its endpoint by port unreachable.
#[inline(always)]
pub fn refuse(skb: &Skb, reason: Reason) -> Verdict {
    skb.leave(REASON, reason as u32);
    hand_to(skb, Stage::Refuse)
}

/// Index in cb where the stage `refuse` finds its reason.
pub const REASON: usize = 0;
