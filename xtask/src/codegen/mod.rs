//! Everything in the checkout that follows from the Gateway API's release: types, schemas, and the conditions and
//! reasons that its Go sources define.

mod conditions;
mod crds;
mod module;
mod output;
mod types;

use std::process::ExitCode;

use anyhow::Result;

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
    Ok(ExitCode::SUCCESS)
}
