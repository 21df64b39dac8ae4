//! The lab's own copy of docs/examples/tcp-udp, and what is edited in it.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::checkout;

/// From the checkout's root.
pub(super) const EXAMPLE: &str = "docs/examples/tcp-udp";
/// What agents read beside it; nothing of it is edited.
pub(super) const HTTP_EXAMPLE: &str = "docs/examples/http-grpc";

const ROUTES: &str = "routes.yaml";
const SERVICES: &str = "services.yaml";

/// Lines of an endpoint in services.yaml: its address, its node, its conditions.
const ENDPOINT_LINES: usize = 3;

/// A folder that agents read by `-f`.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) folder: PathBuf,
    /// Beside the folder, where new versions are written before they are renamed into it.
    draft: PathBuf,
}

/// What becomes of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// No newcomers; it still serves who it has.
    Drains,
    /// Not listed any more.
    Gone,
}

impl Files {
    /// Copies the example into `folder`, which must exist.
    pub(super) fn copy_to(folder: PathBuf) -> Result<Self> {
        let example = checkout::root().join(EXAMPLE);
        for entry in fs::read_dir(&example).with_context(|| format!("reading {}", example.display()))? {
            let entry = entry?;
            fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
        Ok(Self { draft: folder.with_extension("draft"), folder })
    }

    /// Sets the weights of the TCP route, which stand first in the file.
    pub(super) fn weights(&self, stable: u32, canary: u32) -> Result<()> {
        self.edit(ROUTES, |text| {
            let text = replace_once(text, "weight: 90", &format!("weight: {stable}"))?;
            replace_once(&text, "weight: 10\n", &format!("weight: {canary}\n"))
        })
    }

    pub(super) fn endpoints(&self, addresses: &[IpAddr], fate: Fate) -> Result<()> {
        self.edit(SERVICES, |text| {
            addresses.iter().try_fold(text.to_owned(), |text, address| endpoint(&text, *address, fate))
        })
    }

    /// As the example has them.
    pub(super) fn restore_services(&self) -> Result<()> {
        let original = fs::read_to_string(checkout::root().join(EXAMPLE).join(SERVICES))?;
        self.edit(SERVICES, |_| Ok(original))
    }

    /// By a new file renamed over the old, as editors and `kubectl cp` do, so that nobody reads half of one.
    fn edit(&self, name: &str, change: impl FnOnce(&str) -> Result<String>) -> Result<()> {
        let path = self.folder.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        fs::write(&self.draft, change(&text)?)?;
        fs::rename(&self.draft, &path).with_context(|| format!("replacing {}", path.display()))
    }
}

/// A line of the example as shown in the demo.
pub(super) fn excerpt(folder: &Path, address: IpAddr) -> Result<String> {
    let text = fs::read_to_string(folder.join(SERVICES))?;
    let lines: Vec<&str> = text.lines().collect();
    let first = find(&lines, address)?;
    Ok(lines[first..].iter().take(ENDPOINT_LINES).copied().collect::<Vec<_>>().join("\n"))
}

fn endpoint(text: &str, address: IpAddr, fate: Fate) -> Result<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let first = find(&lines, address)?;
    match fate {
        Fate::Drains => lines[first + 2] = "    conditions: {ready: false, serving: true, terminating: true}",
        Fate::Gone => drop(lines.drain(first..first + ENDPOINT_LINES)),
    }
    Ok(lines.join("\n") + "\n")
}

fn find(lines: &[&str], address: IpAddr) -> Result<usize> {
    let wanted = format!("  - addresses: [\"{address}\"]");
    let first = lines.iter().position(|line| *line == wanted);
    match first {
        Some(first) if lines.get(first + 2).is_some_and(|line| line.contains("conditions:")) => Ok(first),
        _ => bail!("{EXAMPLE}/{SERVICES} does not list {address} with its node and conditions"),
    }
}

fn replace_once(text: &str, old: &str, new: &str) -> Result<String> {
    if text.matches(old).count() != 1 {
        bail!("{EXAMPLE}/{ROUTES} should hold {old:?} once");
    }
    Ok(text.replace(old, new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_drains_and_goes() {
        let text = fs::read_to_string(checkout::root().join(EXAMPLE).join(SERVICES)).expect("the example");
        let address: IpAddr = "fd00:244:1::11".parse().expect("an address");
        let drains = endpoint(&text, address, Fate::Drains).expect("it is listed");
        assert_eq!(drains.matches("terminating: true").count(), 1);
        let gone = endpoint(&drains, address, Fate::Gone).expect("it is listed");
        assert_eq!(gone.matches("terminating: true").count(), 0);
        assert_eq!(gone.lines().count(), text.lines().count() - ENDPOINT_LINES);
        assert!(endpoint(&gone, address, Fate::Gone).is_err());
    }
}
