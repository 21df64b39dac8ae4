//! The lab: what it owns, and how all of it goes away, also after its process was killed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::namespace::NETNS;
use crate::{LabError, Namespace, wait_until};

/// Where each lab has its folder. A tmpfs on all systems in question, so nothing outlives a reboot.
const RUN: &str = "/run";

/// Killed processes vanish at once unless the machine swaps; then better wait than leave them.
const DEATH: Duration = Duration::from_mins(1);

/// Numbers the labs of this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The labs of this process that stand, for [`remove_all_of_this_process`].
static STANDING: Mutex<Vec<Id>> = Mutex::new(Vec::new());

/// A set of namespaces that live and die together.
#[derive(Debug)]
pub struct Lab {
    id: Id,
}

impl Lab {
    /// An empty lab. What labs of dead processes left behind is removed first; nothing of a living one is touched.
    pub fn new(name: &str) -> Result<Self, LabError> {
        if !Uid::effective().is_root() {
            return Err(LabError::NotRoot);
        }
        remove_dead();
        let id = Id::next(name)?;
        fs::create_dir_all(NETNS).map_err(LabError::system(format!("create {NETNS}")))?;
        let dir = id.dir();
        fs::create_dir(&dir).map_err(LabError::system(format!("create {}", dir.display())))?;
        STANDING.lock().unwrap_or_else(PoisonError::into_inner).push(id.clone());
        Ok(Self { id })
    }

    /// A new namespace with lo up, IPv6 on, and no duplicate address detection to wait for. It can be entered by hand
    /// with `ip netns exec`; [`Namespace::name`] is the name to use.
    pub fn namespace(&self, label: &str) -> Result<Namespace, LabError> {
        Namespace::create(label, &format!("{}.{label}", self.id))
    }

    /// The lab's own folder, removed with it: the place for sockets, logs and configuration.
    pub fn dir(&self) -> PathBuf {
        self.id.dir()
    }

    /// A folder under [`Lab::dir`] that exists afterwards.
    pub fn folder(&self, name: &str) -> Result<PathBuf, LabError> {
        let path = self.dir().join(name);
        fs::create_dir_all(&path).map_err(LabError::system(format!("create {}", path.display())))?;
        Ok(path)
    }

    /// Mounts a BPF file system of its own at `name` under [`Lab::dir`]; the same folder again once it is mounted.
    /// Every process of the machine sees it, so `bpftool` works on it; unmounting drops the pins.
    pub fn bpffs(&self, name: &str) -> Result<PathBuf, LabError> {
        let path = self.folder(name)?;
        if !mounts_below(&path).contains(&path) {
            mount(Some("bpf"), &path, Some("bpf"), MsFlags::empty(), None::<&str>)
                .map_err(|e| LabError::system(format!("mount bpf at {}", path.display()))(e.into()))?;
        }
        Ok(path)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.id.remove();
        STANDING.lock().unwrap_or_else(PoisonError::into_inner).retain(|id| *id != self.id);
    }
}

/// Removes every lab of this process now: for a signal handler thread that is about to exit.
pub fn remove_all_of_this_process() {
    for id in STANDING.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        id.remove();
    }
}

/// Names everything that belongs to a lab: `lab.NAME.PID.START.NUMBER`. Process id and start time (clock ticks since
/// boot) tell together whether the owner still lives.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Id {
    name: String,
    pid: u32,
    start: u64,
    number: u32,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "lab.{}.{}.{}.{}", self.name, self.pid, self.start, self.number)
    }
}

impl Id {
    fn next(name: &str) -> Result<Self, LabError> {
        let pid = process::id();
        let start =
            start_time(pid).ok_or_else(|| LabError::Unexpected("/proc/self/stat is unreadable".into()))?;
        let name = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        Ok(Self { name, pid, start, number: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// Parses the front of a folder's or namespace's name.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("lab.")?.split('.');
        Some(Self {
            name: parts.next()?.to_owned(),
            pid: parts.next()?.parse().ok()?,
            start: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        })
    }

    fn dir(&self) -> PathBuf {
        Path::new(RUN).join(self.to_string())
    }

    fn is_dead(&self) -> bool {
        start_time(self.pid) != Some(self.start)
    }

    /// Paths of the lab's namespaces.
    fn namespaces(&self) -> Vec<PathBuf> {
        entries(Path::new(NETNS)).into_iter().filter(|(id, _)| id == self).map(|(_, path)| path).collect()
    }

    /// Ends the lab's processes, then takes away its mounts and files. Goes on after a failure: another process may be
    /// removing the same dead lab.
    fn remove(&self) {
        let namespaces = self.namespaces();
        end_processes_in(&namespaces);
        let dir = self.dir();
        for mounted in mounts_below(&dir).into_iter().rev() {
            report(&mounted, umount2(&mounted, MntFlags::MNT_DETACH));
        }
        for path in namespaces {
            Namespace::remove(&path);
        }
        if let Err(error) = fs::remove_dir_all(&dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("lab: {} stays: {error}", dir.display());
        }
    }
}

fn remove_dead() {
    let mut dead: Vec<Id> = Vec::new();
    for (id, _) in entries(Path::new(NETNS)).into_iter().chain(entries(Path::new(RUN))) {
        if id.is_dead() && !dead.contains(&id) {
            dead.push(id);
        }
    }
    for id in dead {
        id.remove();
    }
}

fn entries(folder: &Path) -> Vec<(Id, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|e| Some((Id::parse(e.file_name().to_str()?)?, e.path()))).collect()
}

fn end_processes_in(namespaces: &[PathBuf]) {
    let inodes: Vec<u64> = namespaces.iter().filter_map(|p| fs::metadata(p).ok()).map(|m| m.ino()).collect();
    let alive = || processes_in(&inodes);
    for pid in alive() {
        report(Path::new("kill"), kill(pid, Signal::SIGKILL));
    }
    if let Err(error) = wait_until("the end of the lab's processes", DEATH, || alive().is_empty()) {
        eprintln!("lab: {error}");
    }
}

/// Processes whose main thread is in one of these network namespaces (by inode). This process only visits them with
/// other threads.
fn processes_in(namespaces: &[u64]) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != process::id())
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| namespaces.contains(&m.ino()))
        })
        .filter_map(|pid| Some(Pid::from_raw(i32::try_from(pid).ok()?)))
        .collect()
}

/// Mount points at or below a folder, parents before children.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return Vec::new() };
    // The fifth field is the mount point (`proc_pid_mountinfo(5)`); ours have no character that would be escaped.
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(dir)).collect()
}

/// Start time of a process in clock ticks since boot: field 22 of /proc/PID/stat (`proc_pid_stat(5)`).
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command, field 2, may hold anything, so count from its closing parenthesis.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn report(subject: &Path, result: Result<(), Errno>) {
    match result {
        // ESRCH, ENOENT, EINVAL: someone else was faster.
        Ok(()) | Err(Errno::ESRCH | Errno::ENOENT | Errno::EINVAL) => {}
        Err(error) => eprintln!("lab: {}: {error}", subject.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_owner() {
        let id = Id::next("two words").expect("this process has a start time");
        assert_eq!(Id::parse(&format!("{id}.node1")), Some(id.clone()));
        assert!(!id.is_dead());
        assert!(Id { start: id.start + 1, ..id }.is_dead());
        for other in ["lab.", "lab.x.1.2", "lab.x.y.2.3", "somebody"] {
            assert_eq!(Id::parse(other), None, "{other}");
        }
    }

    #[test]
    fn nothing_stays_of_a_dropped_lab() {
        let lab = Lab::new("drop").expect("a lab");
        let (dir, id) = (lab.dir(), lab.id.clone());
        let inside = lab.namespace("inside").expect("a namespace");
        lab.bpffs("bpf").expect("a bpffs");
        let mut child = inside.spawn(process::Command::new("sleep").arg("1000")).expect("sleep runs");
        assert_eq!(id.namespaces().len(), 1);
        drop(lab);
        assert!(id.namespaces().is_empty());
        assert!(!dir.exists());
        assert!(mounts_below(&dir).is_empty());
        assert!(!child.wait().expect("the child was killed").success());
    }

    #[test]
    fn a_dead_lab_is_removed_by_the_next() {
        let mut orphan = Lab::new("orphan").expect("a lab");
        let number = orphan.id.number;
        drop(std::mem::replace(&mut orphan, Lab::new("next").expect("a lab")));
        // A lab of a process that never was: no process has start time 0 but the kernel's own.
        let dead = Id { name: "dead".into(), pid: process::id(), start: 0, number };
        fs::create_dir(dead.dir()).expect("a folder");
        Namespace::create("x", &format!("{dead}.x")).expect("a namespace");
        let _next = Lab::new("next").expect("a lab");
        // Another process may have begun with it before.
        let is_gone = || dead.namespaces().is_empty() && !dead.dir().exists();
        wait_until("the end of a dead process's lab", DEATH, is_gone).expect("it is removed");
    }
}
