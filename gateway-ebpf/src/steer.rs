//! Connections to listeners of protocols HTTP, HTTPS and TLS go to the proxy, which binds none of their ports.
//!
//! The kernel asks for each SYN, never for packets of connections that exist. What the map doesn't have goes to whoever
//! listens there, as if there were no program.

use aya_ebpf::{EbpfContext as _, bindings::bpf_sk_lookup, programs::SkLookupContext};
use gateway_common::{
    hash::{STEER, hash, scale},
    maps::{FlowKey, FrontendKey},
    reason::Reason,
};

use crate::{
    count, lookup,
    maps::{PROXY, SOCKETS, STEERED},
};

/// SK_DROP and SK_PASS of linux/bpf.h. TCP answers what is dropped with RST.
const DROP: u32 = 0;
const PASS: u32 = 1;

/// BPF_SK_LOOKUP_F_NO_REUSEPORT of linux/bpf.h: the socket chosen here is final.
const NO_REUSEPORT: u64 = 2;

/// AF_INET of linux/socket.h.
const INET: u32 = 2;

#[inline(always)]
pub fn process(ctx: &SkLookupContext) -> u32 {
    let key = flow_key(ctx);
    let frontend = FrontendKey {
        address: key.destination,
        port: key.destination_port,
        protocol: key.protocol,
        reserved: 0,
    };
    let Some(counters) = STEERED.get_ptr_mut(frontend) else { return PASS };
    let is_assigned = assign(ctx, &key);
    // SAFETY: this CPU's own value.
    unsafe {
        if is_assigned {
            (*counters).connections += 1;
            return PASS;
        }
        (*counters).refused += 1;
    }
    count::reason(Reason::NoProxy);
    DROP
}

/// A client keeps its socket as long as there are as many: what a SYN cookie's ACK meets must have sent the cookie.
#[inline(always)]
fn assign(ctx: &SkLookupContext, key: &FlowKey) -> bool {
    let (Some(proxy), Some(settings)) = (PROXY.get(0), lookup::settings()) else { return false };
    let place = scale((hash(key.words(), &settings.flow_key, STEER) >> 32) as u32, proxy.sockets);
    SOCKETS.redirect_sk_lookup(ctx, place, NO_REUSEPORT).is_ok()
}

/// What the packet says, as flows have it. All fields are read before any branch, each by itself: the verifier
/// refuses loads from the context that the compiler merged.
#[inline(always)]
fn flow_key(ctx: &SkLookupContext) -> FlowKey {
    let ctx = ctx.as_ptr().cast::<bpf_sk_lookup>();
    macro_rules! field {
        ($field:ident) => {
            // SAFETY: a field of the context; the address is formed without a reference.
            unsafe { core::ptr::read_volatile(&raw const (*ctx).$field) }
        };
    }
    macro_rules! words {
        ($field:ident) => {
            // SAFETY: as above.
            unsafe {
                [
                    core::ptr::read_volatile(&raw const (*ctx).$field[0]),
                    core::ptr::read_volatile(&raw const (*ctx).$field[1]),
                    core::ptr::read_volatile(&raw const (*ctx).$field[2]),
                    core::ptr::read_volatile(&raw const (*ctx).$field[3]),
                ]
            }
        };
    }
    let (family, protocol) = (field!(family), field!(protocol));
    let (remote_v4, remote_v6) = (field!(remote_ip4), words!(remote_ip6));
    let (local_v4, local_v6) = (field!(local_ip4), words!(local_ip6));
    let (remote_port, local_port) = (field!(remote_port), field!(local_port));
    let is_v4 = family == INET;
    FlowKey {
        source: address(if is_v4 { mapped(remote_v4) } else { remote_v6 }),
        destination: address(if is_v4 { mapped(local_v4) } else { local_v6 }),
        source_port: u16::from_be(remote_port),
        destination_port: local_port as u16,
        protocol: protocol as u8,
        reserved: [0; 3],
    }
}

/// IPv4-mapped IPv6 (RFC 4291, 2.5.5.2), in network byte order.
#[inline(always)]
fn mapped(v4: u32) -> [u32; 4] {
    [0, 0, 0xffff_u32.to_be(), v4]
}

#[inline(always)]
fn address(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: both are 16 bytes, valid for every bit pattern.
    unsafe { core::mem::transmute(words) }
}
