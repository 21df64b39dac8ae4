//! Where packets leave: the node's own routing table decides, and its answer is kept for a second, because asking
//! costs as much as all the rest.

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_fib_lookup};
use gateway_common::{
    headers::{mapped, unmapped},
    maps::{Address, Endpoint, HOP_TICKS, Slot},
    reason::Reason,
};

use crate::{
    atomic,
    bits::hide,
    maps::{DEVICES, HOPS},
    skb::Skb,
};

/// A way out of the node. Filled in place: a copy more would overflow the callers' stack.
pub struct Exit {
    /// An `Address` in words: copying one byte by byte would cost more than the look-up.
    pub next_hop: [u64; 2],
    pub ifindex: u32,
    /// `device_flags`
    pub flags: u32,
}

impl Exit {
    /// To be filled. Hidden zeros, or the compiler would call memset, which clears byte by byte.
    #[inline(always)]
    pub fn unknown() -> Self {
        let zero = hide(0);
        Self { next_hop: [zero, zero], ifindex: zero as u32, flags: zero as u32 }
    }
}

/// `struct bpf_fib_lookup` of linux/bpf.h, with the unions as this program uses them.
#[repr(C)]
struct FibLookup {
    family: u8,
    l4_protocol: u8,
    sport: u16,
    dport: u16,
    tot_len: u16,
    ifindex: u32,
    flow_info: u32,
    source: [u64; 2],
    destination: [u64; 2],
    vlan: u32,
    macs: [u8; 12],
}
const _: () = assert!(size_of::<FibLookup>() == 64);

/// Answers of `bpf_fib_lookup` that name a next hop: found, found without a resolved neighbour (the redirect asks for
/// it), and larger than the device's MTU (its queue decides, segments are smaller).
const FIB_SUCCESS: i64 = 0;
const FIB_NO_NEIGHBOUR: i64 = 7;
const FIB_FRAGMENTATION_NEEDED: i64 = 8;
/// AF_INET and AF_INET6 of linux/socket.h.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The way to an endpoint: one for all of its flows, shared by all CPUs.
#[inline(always)]
pub fn to_endpoint(skb: &Skb, id: u32, endpoint: &Endpoint, now: u32, exit: &mut Exit) -> Result<(), Reason> {
    let Some(cached) = HOPS.get_ptr_mut(id) else { return Err(Reason::TableCorrupt) };
    // SAFETY: a value of an array map; `expires` is read before and after the rest, so that a torn entry is not used.
    unsafe {
        let expires = atomic::load32(&raw const (*cached).expires);
        if is_fresh(expires, now) && (*cached).generation == endpoint.generation {
            exit.ifindex = (*cached).ifindex;
            exit.next_hop = words(&(*cached).next_hop);
            exit.flags = (*cached).flags;
            if atomic::load32(&raw const (*cached).expires) == expires {
                return Ok(());
            }
        }
        if !ask(skb, &ANY, &endpoint.address, exit) {
            return Err(Reason::NoNextHop);
        }
        // Of the pods behind veths only those of this node have the far end for themselves; an uplink that is a veth
        // (a node in a container) may lead to a bridge, which needs a frame with the neighbour's address.
        if endpoint.local != 0 {
            // SAFETY: read at once.
            exit.flags = DEVICES.get(exit.ifindex).map_or(0, |device| device.flags);
        }
        // Two CPUs may write at once: the same values, unless the route changed in between, and then for a second.
        atomic::store32(&raw mut (*cached).expires, 0);
        (*cached).ifindex = exit.ifindex;
        (*cached).flags = exit.flags;
        (*cached).generation = endpoint.generation;
        *words_mut(&raw mut (*cached).next_hop) = exit.next_hop;
        atomic::store32(&raw mut (*cached).expires, now.wrapping_add(HOP_TICKS) | 1);
        Ok(())
    }
}

/// The way to a flow's client, kept in its slot. Without flags: see `to_endpoint`.
#[inline(always)]
pub fn to_client(skb: &Skb, slot: *mut Slot, now: u32, exit: &mut Exit) -> Result<(), Reason> {
    // SAFETY: a value of an array map; see `to_endpoint`.
    unsafe {
        let expires = atomic::load32(&raw const (*slot).client_expires);
        if is_fresh(expires, now) {
            exit.ifindex = (*slot).client_ifindex;
            exit.next_hop = words(&(*slot).client_next_hop);
            return Ok(());
        }
        if !ask(skb, &(*slot).forward.destination, &(*slot).forward.source, exit) {
            return Err(Reason::NoNextHop);
        }
        atomic::store32(&raw mut (*slot).client_expires, 0);
        (*slot).client_ifindex = exit.ifindex;
        *words_mut(&raw mut (*slot).client_next_hop) = exit.next_hop;
        atomic::store32(&raw mut (*slot).client_expires, now.wrapping_add(HOP_TICKS) | 1);
        Ok(())
    }
}

#[inline(always)]
fn is_fresh(expires: u32, now: u32) -> bool {
    expires != 0 && (expires.wrapping_sub(now) as i32) > 0
}

/// All flows to an endpoint share its hop, whatever their source.
const ANY: Address = [0; 16];

/// Asks the routing table, as for a packet that came in by the skb's device. A function of its own: its parameters
/// would take a fifth of the caller's stack. False: no route.
#[inline(never)]
fn ask(skb: &Skb, source: &Address, destination: &Address, exit: &mut Exit) -> bool {
    let (from, to) = (words(source), words(destination));
    // SAFETY: plain integers.
    let mut fib: FibLookup = unsafe { core::mem::zeroed() };
    fib.ifindex = skb.ifindex();
    if let Some(to) = unmapped(to) {
        fib.family = AF_INET;
        fib.source[0] = from[1] >> 32;
        fib.destination[0] = to as u64;
    } else {
        fib.family = AF_INET6;
        fib.source = from;
        fib.destination = to;
    }
    // SAFETY: the parameters are on the stack, initialised, and of the size that is given.
    let answer = unsafe {
        bpf_fib_lookup(skb.ctx().as_ptr(), (&raw mut fib).cast(), size_of::<FibLookup>() as i32, 0)
    };
    if !matches!(answer, FIB_SUCCESS | FIB_NO_NEIGHBOUR | FIB_FRAGMENTATION_NEEDED) {
        return false;
    }
    exit.next_hop = if fib.family == AF_INET { mapped(fib.destination[0] as u32) } else { fib.destination };
    exit.ifindex = fib.ifindex;
    true
}

/// The words of an address in a map value.
#[inline(always)]
pub fn words(address: &Address) -> [u64; 2] {
    // SAFETY: 16 bytes; all addresses in map values stand at multiples of 4, and BPF reads words at any address.
    unsafe { *core::ptr::from_ref(address).cast() }
}

/// Copies an address in map values. Hidden, or the compiler would call memmove, which goes byte by byte.
///
/// # Safety
///
/// `to` is valid for writes.
#[inline(always)]
pub unsafe fn copy(from: &Address, to: *mut Address) {
    let [a, b] = words(from);
    // SAFETY: the caller's; see `words`.
    unsafe { *words_mut(to) = [hide(a), hide(b)] };
}

#[inline(always)]
fn words_mut(address: *mut Address) -> *mut [u64; 2] {
    address.cast()
}
