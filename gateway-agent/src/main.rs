//! The Kubernetes Gateway API on every node: TCP and UDP forwarded by programs in the kernel.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway_agent::main(env!("CARGO_PKG_VERSION"))
}
