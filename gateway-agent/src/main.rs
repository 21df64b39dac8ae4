//! The Kubernetes Gateway API on every node: TCP and UDP forwarded by programs in the kernel.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Gives back what a list of thousands of objects took while it was decoded, if it is told to (`MIMALLOC_PURGE_DELAY`);
/// glibc's keeps most of it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    gateway_agent::main(env!("CARGO_PKG_VERSION"))
}
