//! What the kernel programs and user space agree on: the layout of every map, the reasons for refusing a packet, and
//! the pure code that parses headers, hashes flows, picks endpoints and computes edits.
//!
//! Nothing here does I/O, so the same code runs in programs, in unit tests and under the fuzzer. Read in this order:
//! [`maps`] (what is stored), [`headers`] (what a packet says), [`select`] (who gets it), [`flow`] (what is remembered),
//! [`rewrite`] (what changes in it), [`reason`] (what is counted when it goes nowhere).
#![cfg_attr(not(test), no_std)]

pub mod answer;
pub mod flow;
pub mod hash;
pub mod headers;
pub mod maps;
pub mod reason;
pub mod rewrite;
pub mod select;
