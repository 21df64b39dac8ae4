//! The memory of an agent: as its process has it, as its cgroup is charged for it, and that of its BPF maps.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

const MIB: f64 = 1024.0 * 1024.0;

/// Resident memory in MiB, without what it maps of BPF maps: those are told apart ([`maps`]).
pub(crate) fn resident(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    Ok(own_kilobytes(&text) * 1024.0 / MIB)
}

/// `Rss` of `proc_pid_smaps(5)`, summed over all mappings but those of BPF maps.
fn own_kilobytes(smaps: &str) -> f64 {
    let mut is_map = false;
    let mut sum = 0.0;
    for line in smaps.lines() {
        // A mapping's first line begins with its addresses, all others with a word and a colon.
        if line.split_whitespace().next().is_some_and(|word| !word.ends_with(':')) {
            is_map = line.ends_with("bpf-map");
        } else if let (false, Some(kilobytes)) = (is_map, number(line, "Rss:")) {
            sum += kilobytes;
        }
    }
    sum
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
        let text = "map_type:\t1\nmemlock:\t4096\nmap_id:\t17\ntotal_inactive_file 3\ninactive_file 2\n";
        assert_eq!(number(text, "memlock:"), Some(4096.0));
        assert_eq!(number(text, "inactive_file"), Some(2.0));
        assert_eq!(number(text, "memory:"), None);
    }

    #[test]
    fn memory_of_maps_is_not_the_process_s_own() {
        let smaps = "\
55-56 r-xp 0 fd:0 7 /bin/agent\nSize: 9 kB\nRss: 8 kB\nPss: 8 kB
7f-80 rw-s 0 00:0f 5 anon_inode:bpf-map\nRss: 100 kB
80-81 rw-p 0 0:0 0 [heap]\nRss: 30 kB
";
        assert!((own_kilobytes(smaps) - 38.0).abs() < f64::EPSILON);
    }
}
