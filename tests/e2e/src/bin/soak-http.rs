//! `cargo xtask soak http` runs this: load over HTTP for a number of seconds while everything changes, and what was found.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::http::{Terms, soak};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let seconds: u64 = std::env::args().nth(1).context("name the number of seconds")?.parse()?;
    let terms = Terms {
        // Deaths are dear to load that counts each of them, and a fifth of the time shows enough of them.
        orderly: Duration::from_secs(seconds * 4 / 5),
        killing: Duration::from_secs(seconds / 5),
        clients: 4,
        replaced_every: Duration::from_secs(15),
    };
    let findings = soak(terms, |line| println!("{line}"))?;
    println!("\n{findings}");
    findings.judge()
}
