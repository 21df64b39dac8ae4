//! The kernel programs. One for each file: [`ingress`] is attached to devices, [`steer`] to the network namespace; the
//! agent runs [`announce`] and [`learn`]; the others are the stages that `ingress` hands packets to. What they decide by is in the maps
//! that the agent writes; the rules themselves are in `gateway_common`.
#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
#![allow(internal_features)]

mod admit;
mod announce;
mod arrival;
mod atomic;
mod bits;
mod claim;
mod count;
mod deliver;
mod hand_on;
mod hop;
mod ingress;
mod insert;
mod learn;
mod lookup;
mod maps;
mod neighbour;
mod refuse;
mod reserve;
mod skb;
mod steer;

use aya_ebpf::{
    macros::{classifier, sk_lookup},
    programs::{SkLookupContext, TcContext},
};

use crate::skb::Skb;

#[classifier]
pub fn ingress(ctx: TcContext) -> i32 {
    ingress::process(&Skb::new(ctx)).code()
}

#[classifier]
pub fn admit(ctx: TcContext) -> i32 {
    admit::process(&Skb::new(ctx)).code()
}

#[classifier]
pub fn refuse(ctx: TcContext) -> i32 {
    refuse::process(&Skb::new(ctx)).code()
}

#[sk_lookup]
pub fn steer(ctx: SkLookupContext) -> u32 {
    steer::process(&ctx)
}

#[classifier]
pub fn neighbour(ctx: TcContext) -> i32 {
    neighbour::process(&Skb::new(ctx)).code()
}

#[classifier]
pub fn hand_on(ctx: TcContext) -> i32 {
    hand_on::process(&Skb::new(ctx)).code()
}

#[classifier]
pub fn announce(ctx: TcContext) -> i32 {
    announce::process(&Skb::new(ctx))
}

#[classifier]
pub fn learn(ctx: TcContext) -> i32 {
    learn::process(&Skb::new(ctx))
}

/// The routing table and others' helpers are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Nothing here panics: the verifier accepts no program that could come here.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
