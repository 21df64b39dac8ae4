//! Named per-CPU counters. No CPU writes another's, so plain additions are exact.

use gateway_common::{
    maps::{BackendCounters, FrontendCounters, PoolCounters},
    reason::Reason,
};

use crate::maps::{BACKEND_STATS, FRONTEND_STATS, POOL_STATS, REASONS};

#[inline(always)]
pub fn reason(reason: Reason) {
    if let Some(counters) = REASONS.get_ptr_mut(0) {
        // SAFETY: this CPU's own value, and programs of one CPU don't interleave.
        unsafe { *(*counters).of_mut(reason) += 1 };
    }
}

#[inline(always)]
pub fn frontend(id: u32, change: impl Fn(&mut FrontendCounters)) {
    if let Some(counters) = FRONTEND_STATS.get_ptr_mut(id) {
        // SAFETY: as above.
        unsafe { change(&mut *counters) };
    }
}

#[inline(always)]
pub fn backend(id: u32, change: impl Fn(&mut BackendCounters)) {
    if let Some(counters) = BACKEND_STATS.get_ptr_mut(id) {
        // SAFETY: as above.
        unsafe { change(&mut *counters) };
    }
}

#[inline(always)]
pub fn pool(change: impl Fn(&mut PoolCounters)) {
    if let Some(counters) = POOL_STATS.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { change(&mut *counters) };
    }
}
