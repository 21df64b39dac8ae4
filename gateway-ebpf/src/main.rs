#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
#![allow(internal_features)]

mod maps;

use aya_ebpf::{macros::classifier, programs::TcContext};

#[classifier]
pub fn ingress(ctx: TcContext) -> i32 {
    use maps::*;
    let mut x = 0;
    x += SETTINGS.get(0).is_some() as u32;
    x += PORTS.get(0).is_some() as u32;
    x += SPLITS.get(0).is_some() as u32;
    x += RINGS.get(0).is_some() as u32;
    x += MAGLEV.get(0).is_some() as u32;
    x += ENDPOINTS.get(0).is_some() as u32;
    x += HOPS.get(0).is_some() as u32;
    x += FORWARD.get(0).is_some() as u32;
    x += REVERSE.get(0).is_some() as u32;
    x += SLOTS.get(0).is_some() as u32;
    x += REASONS.get(0).is_some() as u32;
    x += FRONTEND_STATS.get(0).is_some() as u32;
    x += BACKEND_STATS.get(0).is_some() as u32;
    unsafe {
        x += DEVICES.get(0).is_some() as u32;
        x += FRONTENDS
            .get(gateway_common::maps::FrontendKey { address: [0; 16], port: 1, protocol: 2, reserved: 0 })
            .is_some() as u32;
        x += LABELS.get(gateway_common::maps::LabelKey { kind: 1, id: 2 }).is_some() as u32;
        if x == 77 {
            STAGES.tail_call(&ctx, 0);
        }
    }
    -1
}
#[classifier]
pub fn admit(_ctx: TcContext) -> i32 {
    2
}
#[classifier]
pub fn refuse(_ctx: TcContext) -> i32 {
    2
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
