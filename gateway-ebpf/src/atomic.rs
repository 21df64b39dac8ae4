//! Atomic operations. core::sync::atomic has no compare-and-swap on bpf targets; the intrinsics do (ISA v3).

use core::intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg, atomic_xchg};

/// What was there; it was replaced only if that equals `old`.
#[inline(always)]
pub fn compare_swap(place: *mut u64, old: u64, new: u64) -> u64 {
    // SAFETY: callers pass the place of an aligned word in an array map's value.
    unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(place, old, new).0 }
}

/// A full barrier: what was written before is seen by whoever sees `new`.
#[inline(always)]
pub fn swap(place: *mut u64, new: u64) -> u64 {
    // SAFETY: as above.
    unsafe { atomic_xchg::<u64, { SeqCst }>(place, new) }
}

#[inline(always)]
pub fn load(place: *const u64) -> u64 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(place) }
}

#[inline(always)]
pub fn load32(place: *const u32) -> u32 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(place) }
}

#[inline(always)]
pub fn store32(place: *mut u32, value: u32) {
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(place, value) }
}
