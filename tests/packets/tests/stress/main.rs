//! The flow table under rivals: threads on different CPUs send packets through the real programs, and each of them
//! is accounted for. Needs root.
//!
//! Every key has a frontend of its own, or shares one with keys of the same thread, so that the programs' counters of
//! a frontend are counters of the key: what they say must be what the threads saw, exactly. What the table holds when
//! all rest must be what is left of the threads' lives, no more and no less.
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]

mod crew;
mod full;
mod ledger;
mod life;
mod rivals;
mod storm;
