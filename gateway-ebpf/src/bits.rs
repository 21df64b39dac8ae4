//! Arithmetic in place of branches, for scans that the verifier must be able to walk.

/// 1 for negative numbers.
#[inline(always)]
pub fn sign(x: i64) -> u64 {
    (x as u64) >> 63
}

/// 1 for zero; `x` is below 2^63.
#[inline(always)]
pub fn is_zero(x: u64) -> u64 {
    sign(hide(x) as i64 - 1)
}

/// `value` if `bit` is 1, 0 if it is 0.
#[inline(always)]
pub fn pick(bit: u64, value: u64) -> u64 {
    value & 0u64.wrapping_sub(bit)
}

/// Keeps LLVM from seeing through a value: it would make branches of the masks, and drop the bounds that the verifier
/// needs after a call.
#[inline(always)]
pub fn hide(mut x: u64) -> u64 {
    // SAFETY: adds nothing.
    unsafe { core::arch::asm!("{0} += 0", inout(reg) x, options(pure, nomem, nostack)) };
    x
}

/// Number of the lowest of eight bits, at least one of which is set.
#[inline(always)]
pub fn lowest(mask: u64) -> u32 {
    let bit = hide(mask & mask.wrapping_neg());
    ((1 - is_zero(bit & 0xaa)) | (1 - is_zero(bit & 0xcc)) << 1 | (1 - is_zero(bit & 0xf0)) << 2) as u32 & 7
}

/// How many of eight bits are set.
#[inline(always)]
pub fn count(mask: u64) -> u64 {
    let pairs = (mask & 0x55) + (mask >> 1 & 0x55);
    let nibbles = (pairs & 0x33) + (pairs >> 2 & 0x33);
    (nibbles & 15) + (nibbles >> 4)
}
