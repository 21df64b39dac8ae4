//! The Gateway API's Go module: its CRDs and sources of one release.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::checkout::find_command;
use crate::process::{output, step};

const PATH: &str = "sigs.k8s.io/gateway-api";

/// The release whose types and behaviour this project follows.
pub(super) const VERSION: &str = "v1.7.0";

/// Where Go's own archives are unpacked, which no PATH has unless somebody put it there.
const GO: &str = "/usr/local/go/bin/go";

/// The module's folder in Go's cache, read-only.
pub(super) fn download() -> Result<PathBuf> {
    step(&format!("Go module {PATH} {VERSION}"), || {
        let go = find_command("go").unwrap_or_else(|| GO.into());
        let mut download = Command::new(go);
        // Outside any module. Go unpacks a module only if it is as new as that wants it, and else fetches itself anew.
        download.current_dir(std::env::temp_dir()).env("GOTOOLCHAIN", "auto").env("GOFLAGS", "");
        download.args(["mod", "download", "-json", &format!("{PATH}@{VERSION}")]);
        let text = output(&mut download).context("Go is needed to fetch the Gateway API's module")?;
        let answer: Value = serde_json::from_str(&text).context("reading what go mod download printed")?;
        let folder = answer["Dir"].as_str().context("go mod download names no folder")?;
        Ok(folder.into())
    })
}
