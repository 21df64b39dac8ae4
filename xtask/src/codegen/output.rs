//! What was generated: written to the checkout, or compared with what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::checkout;

/// Folders that hold nothing but generated files.
const FOLDERS: [&str; 2] = ["gateway-agent/api/crds", "gateway-agent/api/src/generated"];

/// Texts by path in the checkout.
#[derive(Debug, Default)]
pub(super) struct Output(BTreeMap<PathBuf, String>);

impl Output {
    /// Adds a trimmed CRD.
    pub(super) fn crd(&mut self, plural: &str, text: String) {
        self.0.insert(Path::new(FOLDERS[0]).join(format!("{plural}.json")), text);
    }

    /// Adds a module of Rust.
    pub(super) fn source(&mut self, module: &str, text: String) {
        self.0.insert(Path::new(FOLDERS[1]).join(format!("{module}.rs")), text);
    }

    /// Makes the folders hold exactly this.
    pub(super) fn write(&self) -> Result<()> {
        for stale in present()?.iter().filter(|path| !self.0.contains_key(*path)) {
            fs::remove_file(checkout::root().join(stale))?;
        }
        for (path, text) in &self.0 {
            let path = checkout::root().join(path);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    /// Names what differs.
    pub(super) fn compare(&self) -> Result<ExitCode> {
        let present = present()?;
        let paths: BTreeSet<&PathBuf> = present.iter().chain(self.0.keys()).collect();
        let differs = |path: &Path| {
            let committed = fs::read_to_string(checkout::root().join(path)).ok();
            committed.as_ref() != self.0.get(path)
        };
        let stale: Vec<_> = paths.into_iter().filter(|path| differs(path)).collect();
        for path in &stale {
            println!("{} is not current", path.display());
        }
        if stale.is_empty() {
            println!("all {} generated files are current", self.0.len());
            return Ok(ExitCode::SUCCESS);
        }
        println!("`cargo xtask codegen` writes them anew");
        Ok(ExitCode::FAILURE)
    }
}

/// The files in the folders now.
fn present() -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for folder in FOLDERS {
        let entries =
            fs::read_dir(checkout::root().join(folder)).with_context(|| format!("listing {folder}"))?;
        for entry in entries {
            files.insert(Path::new(folder).join(entry?.file_name()));
        }
    }
    Ok(files)
}
