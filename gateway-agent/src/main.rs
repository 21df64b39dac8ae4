//! The Kubernetes Gateway API on every node: TCP and UDP forwarded by programs in the kernel.
#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "nothing of a binary can be reached from outside; here, `pub` means: for the other modules"
)]

mod admin;
mod agent;
mod cli;
mod commands;
mod compile;
mod devices;
mod logging;
mod node;
mod notices;
mod source;
mod statuses;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match commands::execute(cli::Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", commands::one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
