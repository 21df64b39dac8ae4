//! ARP and neighbour discovery for pool addresses: the node that announces an address answers, all others keep
//! silent, whatever routes and settings their kernels have.

use core::ptr;

use aya_ebpf::helpers::generated::{bpf_skb_change_tail, bpf_skb_pull_data};
use gateway_common::{
    headers::{Frame as _, Window as _},
    maps::{Device, PoolAddress, device_flags},
    neighbour::{ADVERTISEMENT_FRAME, Message, Says},
    reason::Reason,
};

use crate::{
    count, lookup,
    maps::{DEVICES, LEASE, POOL},
    skb::{Skb, Verdict},
};

#[inline(always)]
pub fn process(skb: &Skb) -> Verdict {
    pull(skb);
    // A tagged frame comes again by its own device, if that is one of ours.
    if skb.is_tagged() {
        return Verdict::Pass;
    }
    let Some(message) = Message::parse(skb) else { return Verdict::Pass };
    // SAFETY: read at once.
    let Some(entry) = (unsafe { POOL.get(message.address_key()) }) else { return Verdict::Pass };
    // SAFETY: as above.
    let Some(device) = (unsafe { DEVICES.get(skb.ifindex()) }) else { return Verdict::Pass };
    if device.flags & device_flags::UPLINK == 0 || !is_heard(skb, device) {
        return Verdict::Pass;
    }
    match (message.says, is_announced(entry)) {
        (Says::Asks, true) => answer(skb, &message, device),
        (Says::Asks, false) => Verdict::Drop(Reason::PoolElsewhere),
        (Says::Claims, true) => Verdict::Drop(Reason::PoolConflict),
        (Says::Claims, false) => Verdict::Pass,
    }
}

/// By this node, whose agent lives.
#[inline(always)]
fn is_announced(entry: &PoolAddress) -> bool {
    let Some(lease) = LEASE.get(0) else { return false };
    // SAFETY: aligned words that are read at once.
    let (since, until) =
        unsafe { (ptr::read_volatile(&raw const entry.since), ptr::read_volatile(&raw const lease.until)) };
    since != 0 && (until.wrapping_sub(lookup::now()) as i32) > 0
}

#[inline(always)]
fn answer(skb: &Skb, message: &Message, device: &Device) -> Verdict {
    let stored = if message.is_ipv6 {
        // SAFETY: the context is valid; no packet pointer is kept across the call.
        let error = unsafe { bpf_skb_change_tail(skb.raw(), ADVERTISEMENT_FRAME as u32, 0) };
        if error != 0 {
            return Verdict::Drop(Reason::SkbError);
        }
        skb.store(0, &message.advertisement(device.mac))
    } else {
        skb.store(0, &message.arp_reply(device.mac))
    };
    match stored {
        Ok(()) => {
            count::pool(|counters| counters.answered += 1);
            skb.send_back()
        }
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Addressed to the node or to all, and not flooded here on its way to somebody else.
#[inline(always)]
fn is_heard(skb: &Skb, device: &Device) -> bool {
    let Some(frame) = skb.window(0, 6) else { return false };
    let is_for_many = frame.u8(0) & 1 == 1;
    is_for_many || skb.is_to_device() || {
        let mut i = 0;
        while i < 6 && device.mac[i] == frame.u8(i) {
            i += 1;
        }
        i == 6
    }
}

/// Brings the message into the linear part. A failure leaves the packet as it is, and it passes.
#[inline(always)]
fn pull(skb: &Skb) {
    let length = (skb.length() as usize).min(ADVERTISEMENT_FRAME);
    if skb.ctx().data() + length > skb.ctx().data_end() {
        // SAFETY: the context is valid; no packet pointer is kept across the call.
        unsafe { bpf_skb_pull_data(skb.raw(), length as u32) };
    }
}
