//! Cgroups of a cluster, on machines with cgroup v2, and with v1 or both ("hybrid", as systemd calls it).
//!
//! Each machine of a cluster has a cgroup of its own in every hierarchy, is confined to it by a cgroup namespace, and
//! mounts the hierarchies anew: what it sees as the root is its own.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Pid;

use crate::ClusterError;

/// Killed processes leave their cgroups at once unless the machine swaps.
const DEATH: Duration = Duration::from_secs(10);

/// On v2, cgroups with controllers for their children hold no processes themselves, so a machine's are in this child.
const PROCESSES: &str = "init";

/// What a kubelet on v2 needs its children to have.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];

/// A mounted hierarchy of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) mounted: PathBuf,
    /// As mount(2) takes them; None for v2.
    pub(crate) v1_options: Option<String>,
}

/// The cgroups of one name in all hierarchies.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    folders: Vec<(Hierarchy, PathBuf)>,
}

/// Files for a process to join by.
#[derive(Debug)]
pub(crate) struct Doors {
    v1: Vec<File>,
    v2_roots: Vec<File>,
    v2_places: Vec<File>,
}

/// All hierarchies below /sys/fs/cgroup.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>, ClusterError> {
    let table = fs::read_to_string("/proc/self/mountinfo")
        .map_err(ClusterError::system("read /proc/self/mountinfo"))?;
    let found = parse(&table);
    if found.is_empty() {
        return Err(ClusterError::Invalid("no cgroups are mounted below /sys/fs/cgroup".into()));
    }
    Ok(found)
}

impl Cgroup {
    pub(crate) fn of(name: &str) -> Result<Self, ClusterError> {
        let folders = hierarchies()?.into_iter().map(|h| (h.clone(), h.mounted.join(name))).collect();
        Ok(Self { folders })
    }

    /// Where its memory is counted: the v1 hierarchy of that controller, else v2.
    pub(crate) fn of_memory(&self) -> Option<&Path> {
        let counts = |hierarchy: &Hierarchy| match &hierarchy.v1_options {
            Some(options) => options.split(',').any(|option| option == "memory"),
            None => false,
        };
        let v1 = self.folders.iter().find(|(hierarchy, _)| counts(hierarchy));
        let v2 = || self.folders.iter().find(|(hierarchy, _)| hierarchy.v1_options.is_none());
        v1.or_else(v2).map(|(_, folder)| folder.as_path())
    }

    /// Makes it, with all controllers that there are.
    pub(crate) fn create(&self) -> Result<(), ClusterError> {
        for (hierarchy, folder) in &self.folders {
            hierarchy
                .create(folder)
                .map_err(ClusterError::system(format!("create cgroup {}", folder.display())))?;
        }
        Ok(())
    }

    pub(crate) fn doors(&self) -> Result<Doors, ClusterError> {
        let mut doors = Doors { v1: Vec::new(), v2_roots: Vec::new(), v2_places: Vec::new() };
        for (hierarchy, folder) in &self.folders {
            if hierarchy.v1_options.is_some() {
                doors.v1.push(door(folder)?);
            } else {
                doors.v2_roots.push(door(folder)?);
                doors.v2_places.push(door(&folder.join(PROCESSES))?);
            }
        }
        Ok(doors)
    }

    pub(crate) fn exists(&self) -> bool {
        self.folders.iter().any(|(_, folder)| folder.exists())
    }

    /// All processes in it and below it.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        self.folders.iter().flat_map(|(_, folder)| processes_below(folder)).collect()
    }

    /// Removes it and everything below, once its processes are dead.
    pub(crate) fn remove(&self) -> Result<(), ClusterError> {
        let gone = || self.folders.iter().all(|(_, folder)| remove_tree(folder));
        Ok(lab::wait_until("the end of the cluster's cgroups", DEATH, gone)?)
    }
}

impl Doors {
    /// Makes the cgroup the one that becomes this process's root. System calls only.
    pub(crate) fn enter(&self) -> io::Result<()> {
        pass(self.v1.iter().chain(&self.v2_roots))
    }

    /// Goes where processes may stay: on v2 that is below the root. System calls only.
    pub(crate) fn stay(&self) -> io::Result<()> {
        pass(self.v1.iter().chain(&self.v2_places))
    }
}

/// `0` is whoever writes it (cgroups(7)).
fn pass<'f>(mut doors: impl Iterator<Item = &'f File>) -> io::Result<()> {
    doors.try_for_each(|mut door| door.write_all(b"0"))
}

fn door(folder: &Path) -> Result<File, ClusterError> {
    let path = folder.join("cgroup.procs");
    let file = File::options().write(true).open(&path);
    file.map_err(ClusterError::system(format!("open {}", path.display())))
}

impl Hierarchy {
    fn create(&self, folder: &Path) -> io::Result<()> {
        let below = folder.strip_prefix(&self.mounted).unwrap_or(folder);
        let mut parent = self.mounted.clone();
        for part in below {
            let child = parent.join(part);
            if self.v1_options.is_none() {
                enable_controllers(&parent)?;
            }
            fs::create_dir_all(&child)?;
            // A v1 cpuset begins empty, and an empty one takes no process.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if self.v1_options.is_some() && child.join(file).exists() {
                    fs::write(child.join(file), fs::read(parent.join(file))?)?;
                }
            }
            parent = child;
        }
        if self.v1_options.is_none() {
            fs::create_dir_all(parent.join(PROCESSES))?;
        }
        Ok(())
    }
}

/// Gives the children of a v2 cgroup the controllers that the kubelet wants, as far as it has them itself.
fn enable_controllers(folder: &Path) -> io::Result<()> {
    let words = |file: &str| fs::read_to_string(folder.join(file));
    let (present, enabled) = (words("cgroup.controllers")?, words("cgroup.subtree_control")?);
    let is_among = |words: &str, controller| words.split_whitespace().any(|word| word == controller);
    for controller in CONTROLLERS {
        if is_among(&present, controller) && !is_among(&enabled, controller) {
            fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"))?;
        }
    }
    Ok(())
}

fn processes_below(folder: &Path) -> Vec<Pid> {
    let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<Pid> = listed.lines().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect();
    found.extend(children(folder).iter().flat_map(|child| processes_below(child)));
    found
}

/// Whether nothing is left of it.
fn remove_tree(folder: &Path) -> bool {
    for child in children(folder) {
        remove_tree(&child);
    }
    let _ = fs::remove_dir(folder);
    !folder.exists()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Reads `proc_pid_mountinfo(5)`: the mount point is the fifth field; behind the hyphen are type, source and options.
fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let mounted = Path::new(front.split(' ').nth(4)?);
        let mut back = back.split(' ');
        let v1_options = match back.next()? {
            "cgroup2" => None,
            "cgroup" => {
                let options = back.nth(1)?.split(',').filter(|option| !["rw", "ro"].contains(option));
                // What systemd's own hierarchy is told to run on release is not ours to repeat.
                let options = options.filter(|option| !option.starts_with("release_agent="));
                Some(options.collect::<Vec<_>>().join(","))
            }
            _ => return None,
        };
        let is_ours = mounted.starts_with("/sys/fs/cgroup");
        is_ours.then(|| Hierarchy { mounted: mounted.to_owned(), v1_options })
    };
    mountinfo.lines().filter_map(hierarchy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_apart() {
        let table = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
50 31 0:38 / /mnt/elsewhere rw,relatime - cgroup2 cgroup2 rw
";
        let hierarchy = |mounted: &str, options: Option<&str>| Hierarchy {
            mounted: mounted.into(),
            v1_options: options.map(str::to_owned),
        };
        assert_eq!(
            parse(table),
            [
                hierarchy("/sys/fs/cgroup/cpu,cpuacct", Some("cpu,cpuacct")),
                hierarchy("/sys/fs/cgroup/systemd", Some("xattr,name=systemd")),
                hierarchy("/sys/fs/cgroup/unified", None),
            ]
        );
    }
}
