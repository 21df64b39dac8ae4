//! What is pinned in the kernel, by bpftool: an observer that shares no code with the agent.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// A pin folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Ids of maps, by name.
    pub maps: BTreeMap<String, u64>,
    /// Attachments, by ifindex.
    pub links: BTreeMap<String, Link>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub id: u64,
    /// Id of the program that packets meet. No two loaded programs ever have the same.
    pub program: u64,
}

impl Pinned {
    pub fn of(pin: &Path) -> Result<Self> {
        let map = |shown: &Value| shown["id"].as_u64();
        let link =
            |shown: &Value| Some(Link { id: shown["id"].as_u64()?, program: shown["prog_id"].as_u64()? });
        Ok(Self { maps: all(&pin.join("maps"), "map", map)?, links: all(&pin.join("links"), "link", link)? })
    }
}

impl Link {
    /// Whether it is still in the kernel, pinned or not.
    pub fn exists(&self) -> bool {
        bpftool(&["link", "show", "id", &self.id.to_string()]).is_ok()
    }
}

/// Every pin in a folder.
fn all<T>(folder: &Path, kind: &str, parse: impl Fn(&Value) -> Option<T>) -> Result<BTreeMap<String, T>> {
    let of = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry?;
        let shown = bpftool(&[kind, "show", "pinned", &entry.path().display().to_string()])?;
        let parsed =
            parse(&shown).with_context(|| format!("bpftool shows what is asked of a {kind}: {shown}"))?;
        Ok((entry.file_name().display().to_string(), parsed))
    };
    fs::read_dir(folder)?.map(of).collect()
}

fn bpftool(words: &[&str]) -> Result<Value> {
    let output = Command::new("bpftool").arg("-j").args(words).output().context("run bpftool")?;
    anyhow::ensure!(
        output.status.success(),
        "bpftool {words:?}: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
