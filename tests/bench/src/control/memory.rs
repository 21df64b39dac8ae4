//! The memory of an agent: as its process has it, as its cgroup is charged for it, and that of its BPF maps.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

const MIB: f64 = 1024.0 * 1024.0;

/// Resident memory in MiB: `VmRSS` of `proc_pid_status(5)`.
pub(crate) fn resident(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(number(&text, "VmRSS:").context("no VmRSS in its status")? * 1024.0 / MIB)
}

/// What the kernel holds for the maps that a process has open, in MiB: `memlock` of their fdinfo.
pub(crate) fn maps(pid: u32) -> Result<f64> {
    let mut by_id = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // One that was closed in the meantime has none.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        if let (Some(id), Some(bytes)) = (number(&text, "map_id:"), number(&text, "memlock:")) {
            by_id.insert(id.to_bits(), bytes);
        }
    }
    Ok(by_id.values().sum::<f64>() / MIB)
}

/// What a cgroup is charged for and the kernel can't drop at once, in MiB: the "working set", by which a kubelet judges
/// pods.
pub(crate) fn working_set(cgroup: &Path) -> Result<f64> {
    let v1 = cgroup.join("memory.usage_in_bytes");
    let (usage, inactive) = if v1.exists() {
        (v1, "total_inactive_file")
    } else {
        (cgroup.join("memory.current"), "inactive_file")
    };
    let usage: f64 =
        fs::read_to_string(&usage).with_context(|| usage.display().to_string())?.trim().parse()?;
    let stat = fs::read_to_string(cgroup.join("memory.stat"))?;
    Ok((usage - number(&stat, inactive).with_context(|| format!("no {inactive} in memory.stat"))?) / MIB)
}

/// The number behind a word that begins a line.
fn number(text: &str, name: &str) -> Option<f64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next())?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let text = "map_type:\t1\nmemlock:\t4096\nmap_id:\t17\nVmRSS:\t   512 kB\ntotal_inactive_file 3\ninactive_file 2\n";
        assert_eq!(number(text, "memlock:"), Some(4096.0));
        assert_eq!(number(text, "VmRSS:"), Some(512.0));
        assert_eq!(number(text, "inactive_file"), Some(2.0));
        assert_eq!(number(text, "VmSize:"), None);
    }
}
