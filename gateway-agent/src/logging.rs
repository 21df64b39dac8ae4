//! Where log lines go: standard error, for people or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::cli::{Log, LogForm};

/// As `log` was on the command line, for a process that is started to log beside this one.
pub fn arguments(log: &Log) -> [String; 4] {
    let form = match log.form {
        LogForm::Text => "text",
        LogForm::Json => "json",
    };
    ["--log", form, "--log-level", &log.filter].map(str::to_owned)
}

/// Takes effect once for the process. Fails if the filter can't be parsed.
pub fn start(log: &Log) -> Result<(), ParseError> {
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(EnvFilter::builder().parse(&log.filter)?);
    match log.form {
        LogForm::Text => lines.with_target(false).init(),
        LogForm::Json => lines.json().flatten_event(true).with_current_span(false).init(),
    }
    Ok(())
}
