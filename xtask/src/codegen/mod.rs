//! Everything in the checkout that follows from the Gateway API's release: types, schemas, and the conditions and
//! reasons that its Go sources define.

mod conditions;
mod crds;
mod module;
mod output;
mod types;

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::checkout;
use crate::process::{step, succeed};
use output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only say whether the committed files are current; exit status 1 if they aren't
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let module = module::download()?;
    let crds = crds::read(&module)?;
    let mut output = Output::default();
    crds::trim(&crds, &mut output)?;
    types::generate(&module, &crds, &mut output)?;
    conditions::generate(&module, &mut output)?;
    if options.check {
        return output.compare();
    }
    output.write()?;
    own_crds()?;
    Ok(ExitCode::SUCCESS)
}

/// The CRDs of this project, from its types. They need no release, so a test compares them whenever tests run.
fn own_crds() -> Result<()> {
    step("deploy/crds and docs/CONFIGURATION.md", || {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(checkout::root()).env("UPDATE_CRDS", "1");
        succeed(cargo.args([
            "test",
            "--quiet",
            "--package",
            "gateway-agent-api",
            "--test",
            "own_crds",
            "--test",
            "reference",
        ]))
    })
}
