//! `gateway-agent completions`

use clap::CommandFactory;

use super::print;
use crate::cli::{Cli, Completions};
use crate::failure::Failure;

pub fn execute(arguments: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "gateway-agent", &mut script);
    print(&String::from_utf8(script)?)
}
