//! The agent as its next release: another program, which says another version.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway_agent::main(soak::NEXT)
}
