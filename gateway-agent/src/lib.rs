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
mod trace;
mod unserved;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use gateway_agent_kernel::one_line;

/// Parses the command line and executes its command. `version` (semantic) is what this program says that it is.
pub fn main(version: &'static str) -> ExitCode {
    version::set(version);
    let arguments = cli::Cli::command().version(version).get_matches();
    let parsed = cli::Cli::from_arg_matches(&arguments).unwrap_or_else(|error| error.exit());
    match commands::execute(parsed.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
