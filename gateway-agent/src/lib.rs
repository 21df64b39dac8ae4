//! The agent's parts. The program itself is [`main`].
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "in private modules, `pub` means: for the other modules")]

mod admin;
mod agent;
mod announce;
mod burst;
mod cli;
mod clock;
mod commands;
mod compile;
mod controller;
mod copies;
mod devices;
mod failure;
mod handover;
mod holders;
mod input;
mod logging;
mod metrics;
mod node;
mod node_writer;
mod notices;
mod own_node;
mod owner;
mod process;
mod proxy_link;
#[cfg(test)]
mod rbac;
mod source;
mod statuses;
mod unserved;

use std::process::ExitCode;

use clap::Parser;
use gateway_agent_kernel::one_line;

/// Parses the command line and executes its command.
pub fn main() -> ExitCode {
    match commands::execute(cli::Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
