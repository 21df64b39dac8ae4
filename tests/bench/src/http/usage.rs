//! What a process has used.

use std::fs;

use anyhow::{Context as _, Result};

use crate::report::float;

/// Of a process and its children.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// On processors, the kernel's work for it included.
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_bytes: f64,
}

impl Usage {
    pub(crate) fn of(process: u32) -> Result<Self> {
        let mut usage = Self::default();
        for id in family(process)? {
            usage.cpu_seconds += cpu_seconds(id)?;
            usage.rss_bytes += resident_bytes(id)?;
        }
        Ok(usage)
    }
}

/// A process and those that it has started.
pub(crate) fn family(process: u32) -> Result<Vec<u32>> {
    let mut family = vec![process];
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that has ended meanwhile was nobody's.
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        // Behind the name, which is in brackets and may hold blanks: state, parent (proc(5)).
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        if parent == Some(&process.to_string()) {
            family.push(id);
        }
    }
    Ok(family)
}

/// Of all its threads, to the nanosecond (Documentation/scheduler/sched-stats.rst).
fn cpu_seconds(process: u32) -> Result<f64> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().context("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(float(nanoseconds) / 1e9)
}

pub(crate) fn resident_bytes(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(float(kilobytes) * 1024.0)
}
