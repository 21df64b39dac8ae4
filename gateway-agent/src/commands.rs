//! What each command does; one file per command.

mod check;
mod completions;
mod controller;
mod detach;
mod flows;
mod proxy;
mod run;
mod stats;
mod status;
mod table;
mod tables;
mod trace;

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::cli::Command;
use crate::failure::Failure;

/// Executes a command; the exit code is documented at [`crate::cli::Cli`].
pub fn execute(command: Command) -> Result<ExitCode, Failure> {
    let result = match command {
        Command::Run(run) => run::execute(*run).map(|()| ExitCode::SUCCESS),
        Command::Proxy(proxy) => proxy::execute(proxy).map(|()| ExitCode::SUCCESS),
        Command::Controller(controller) => controller::execute(controller).map(|()| ExitCode::SUCCESS),
        Command::Check(check) => check::execute(&check),
        Command::Stats(stats) => stats::execute(&stats).map(|()| ExitCode::SUCCESS),
        Command::Flows(flows) => flows::execute(&flows).map(|()| ExitCode::SUCCESS),
        Command::Status(status) => status::execute(&status).map(|()| ExitCode::SUCCESS),
        Command::Trace(trace) => trace::execute(trace).map(|()| ExitCode::SUCCESS),
        Command::Detach(detach) => detach::execute(&detach).map(|()| ExitCode::SUCCESS),
        Command::Completions(completions) => completions::execute(&completions).map(|()| ExitCode::SUCCESS),
    };
    match result {
        // `gateway-agent flows | head` ends here, and that is right.
        Err(error) if is_broken_pipe(error.as_ref()) => Ok(ExitCode::SUCCESS),
        result => result,
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// To standard output, pretty, with a line end.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}

fn print_yaml(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&serde_saphyr::to_string(value)?)
}

fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(())
}
