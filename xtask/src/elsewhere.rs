//! The same sources in another folder. What is built there must be the same to the byte, or nobody could tell from
//! which sources something was made.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{step, succeed};
use crate::setup::Toolchain;
use crate::{build, checkout, image};

/// Builds the kernel programs there.
pub(crate) fn kernel_programs(toolchain: &Toolchain) -> Result<()> {
    kernel_programs_of(&copy()?, toolchain)
}

/// Builds the image's program there, which holds the kernel programs.
pub(crate) fn program(toolchain: &Toolchain) -> Result<()> {
    let copy = copy()?;
    kernel_programs_of(&copy, toolchain)?;
    let there =
        step("program of the image, in another folder", || image::build(&copy, &copy.join("target")))?;
    equal(&image::program(&checkout::target()), &there)
}

fn kernel_programs_of(copy: &Path, toolchain: &Toolchain) -> Result<()> {
    step("kernel programs, in another folder", || build::compile(toolchain, copy))?;
    equal(&checkout::ebpf_object(&checkout::root()), &checkout::ebpf_object(copy))
}

/// What was built there stays, and is up to date as far as sources are the same.
fn copy() -> Result<PathBuf> {
    let copy = checkout::target().join("elsewhere/checkout");
    fs::create_dir_all(&copy).with_context(|| format!("creating {}", copy.display()))?;
    for part in parts(&copy)? {
        remove(&part).with_context(|| format!("removing {}", part.display()))?;
    }
    let mut cp = Command::new("cp");
    succeed(cp.args(["--archive", "--target-directory"]).arg(&copy).args(parts(&checkout::root())?))?;
    Ok(copy)
}

/// All of a checkout's top level but what is built, and what no build looks at.
fn parts(checkout: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(checkout).with_context(|| format!("reading {}", checkout.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
    let wanted = |path: &PathBuf| path.file_name().is_some_and(|name| name != "target" && !hidden(name));
    Ok(paths.into_iter().filter(wanted).collect())
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn equal(here: &Path, there: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    if read(here)? != read(there)? {
        bail!(
            "{} and {} are of the same sources, and differ: a path, a time or an order got into them",
            here.display(),
            there.display()
        );
    }
    Ok(())
}
