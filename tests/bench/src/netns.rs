//! Network namespaces without a name: the kernel removes them with their devices when this process ends, however it
//! ends.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};

/// The namespace that the calling thread is in.
const OWN: &str = "/proc/thread-self/ns/net";

#[derive(Debug)]
pub(crate) struct Netns {
    file: File,
}

impl Netns {
    /// A new one, with its loopback device up.
    pub(crate) fn new() -> Result<Self> {
        let home = File::open(OWN)?;
        unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace needs root")?;
        let made = File::open(OWN);
        setns(&home, CloneFlags::CLONE_NEWNET)?;
        let namespace = Self { file: made? };
        namespace.command("ip link set lo up")?;
        Ok(namespace)
    }

    /// Moves the calling thread here for good.
    pub(crate) fn enter(&self) -> Result<()> {
        Ok(setns(&self.file, CloneFlags::CLONE_NEWNET)?)
    }

    /// Does something here on the calling thread, which is back where it was afterwards.
    pub(crate) fn inside<T>(&self, action: impl FnOnce() -> Result<T>) -> Result<T> {
        let home = File::open(OWN)?;
        self.enter()?;
        let result = action();
        setns(&home, CloneFlags::CLONE_NEWNET)?;
        result
    }

    /// Runs a command line (split at blanks) here.
    pub(crate) fn command(&self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.inside(|| Ok(Command::new(words[0]).args(&words[1..]).output()?))?;
        if !output.status.success() {
            bail!("`{line}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Sets one of net's sysctls here, by its path below /proc/sys/net.
    pub(crate) fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        let file = format!("/proc/sys/net/{path}");
        self.inside(|| fs::write(&file, value).with_context(|| format!("setting {file}")))
    }

    /// Where `ip link ... netns` finds it.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }
}
