//! What the kernel programs and user space agree on: the layout of every map, the reasons for refusing a packet, and
//! the pure code that parses headers, hashes flows, picks endpoints and computes edits.
//!
//! Nothing here does I/O, so the same code runs in programs, in unit tests and under the fuzzer. Read in this order:
//! [`maps`] (what is stored), [`headers`] (what a packet says), [`select`] (who gets it), [`flow`] (what is remembered),
//! [`rewrite`] (what changes in it), [`neighbour`] (who has a pool address), [`reason`] (what is counted when it goes nowhere).
#![cfg_attr(not(test), no_std)]
#![allow(clippy::inline_always, reason = "a call costs a program stack and a second look of the verifier")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_lossless,
    reason = "words are cut into fields; const fn has no From"
)]
#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "serial numbers are compared by their difference"
)]

pub mod answer;
pub mod flow;
pub mod hash;
pub mod headers;
pub mod maps;
pub mod neighbour;
pub mod reason;
pub mod rewrite;
pub mod select;
