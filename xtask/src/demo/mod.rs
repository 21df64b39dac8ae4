use std::process::ExitCode;
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave the lab up afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
}
pub(crate) fn run(_: &Options) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
