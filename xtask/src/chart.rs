//! `cargo xtask chart`: the plain manifests, from the Helm chart.

use std::fs;

use anyhow::{Context as _, Result};
use install::Chart;

use crate::process::step;
use crate::{checkout, cluster};

/// Writes deploy/install.yaml; the tests of `tests/install` fail as long as it is another.
pub(crate) fn run() -> Result<()> {
    let chart = open()?;
    print!("{}", chart.lint()?);
    let file = checkout::root().join("deploy/install.yaml");
    fs::write(&file, chart.manifests(&[])?).with_context(|| format!("writing {}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

/// The chart, and Helm for it.
pub(crate) fn open() -> Result<Chart> {
    cluster::go()?;
    step("Helm (the first time: two minutes)", || Ok(Chart::open()?))
}
