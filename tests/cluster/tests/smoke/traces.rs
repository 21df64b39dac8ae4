//! What a cluster has in the kernel, to be looked for when it is gone. Other clusters may come and go meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use cluster::{Cluster, Name};

/// Processes and namespaces of a running cluster, and what its name would be found in.
#[derive(Debug)]
pub(crate) struct Traces {
    name: String,
    processes: BTreeSet<Process>,
    /// As links of /proc/PID/ns show them: `net:[4026532000]`. Held open, or their numbers would be given to others.
    namespaces: BTreeMap<String, File>,
}

/// Process numbers are used again; together with the start time (clock ticks since boot) they are not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    pid: String,
    start: String,
}

impl Traces {
    pub(crate) fn of(cluster: &Cluster, name: &Name) -> Self {
        let own = namespaces("self");
        let pids: Vec<String> = pids().filter(|pid| is_inside(pid, &cgroup(name))).collect();
        let open = |(name, path): (String, PathBuf)| Some((name, File::open(path).ok()?));
        let foreign = pids.iter().flat_map(|pid| namespaces(pid)).filter(|(name, _)| !own.contains_key(name));
        let traces = Self {
            name: name.to_string(),
            processes: pids.iter().filter_map(|pid| Process::of(pid)).collect(),
            namespaces: foreign.filter_map(open).collect(),
        };
        // The test would pass by itself if this found nothing: each machine has six namespaces, each pod some more.
        assert!(traces.processes.len() > 10, "{traces:?}");
        assert!(traces.namespaces.len() > 6 * cluster.machines().count(), "{traces:?}");
        traces
    }

    /// What is still there, and of what kind it is.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for pid in pids() {
            if Process::of(&pid).is_some_and(|process| self.processes.contains(&process)) {
                left.push(format!("process {pid}"));
            }
            for namespace in namespaces(&pid).keys().filter(|name| self.namespaces.contains_key(*name)) {
                left.push(format!("process {pid} in {namespace}"));
            }
            // Namespaces live on while they are mounted anywhere, and their devices with them.
            let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            for mount in mounts.lines().filter(|line| self.is_ours(line)) {
                left.push(format!("mount of process {pid}: {mount}"));
            }
        }
        left.extend(self.files().into_iter().map(|path| path.display().to_string()));
        left
    }

    /// Whether a line of `mountinfo` speaks of the cluster.
    fn is_ours(&self, mount: &str) -> bool {
        let own = [format!("cluster.{}.", self.name), format!("gateway-cluster/{}/", self.name)];
        own.iter().any(|part| mount.contains(part))
            || mount.split(' ').any(|word| self.namespaces.contains_key(word))
    }

    fn files(&self) -> Vec<PathBuf> {
        let cgroup = format!("gateway-cluster.{}", self.name);
        let hierarchies = entries(Path::new("/sys/fs/cgroup")).into_iter();
        let cgroups = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|folder| folder.join(&cgroup));
        let names = entries(Path::new("/run/netns")).into_iter().filter(|path| {
            let prefix = format!("/run/netns/cluster.{}.", self.name);
            path.to_string_lossy().starts_with(&prefix)
        });
        let own = [Path::new("/var/lib/gateway-cluster").join(&self.name)];
        cgroups.chain(own).filter(|path| path.exists()).chain(names).collect()
    }
}

impl Process {
    fn of(pid: &str) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The start is field 22 (`proc_pid_stat(5)`); the command, field 2, may hold anything up to its parenthesis.
        let fields = stat.rsplit_once(')')?.1;
        Some(Self { pid: pid.to_owned(), start: fields.split_whitespace().nth(19)?.to_owned() })
    }
}

fn cgroup(name: &Name) -> String {
    format!("/gateway-cluster.{name}/")
}

fn is_inside(pid: &str, cgroup: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(cgroup))
}

/// What a process is in, and by which file it can be held.
fn namespaces(pid: &str) -> BTreeMap<String, PathBuf> {
    let links = entries(Path::new(&format!("/proc/{pid}/ns")));
    links
        .into_iter()
        .filter_map(|link| Some((fs::read_link(&link).ok()?.display().to_string(), link)))
        .collect()
}

fn pids() -> impl Iterator<Item = String> {
    let names = entries(Path::new("/proc"))
        .into_iter()
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
