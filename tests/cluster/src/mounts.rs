//! What a machine sees of the file system: this machine's, with all that a host has for itself replaced by its own.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::ClusterError;
use crate::cgroups::{self, Hierarchy};
use crate::machine::Machine;

/// Settings of the whole kernel that the kubelet insists on, and would change: it is shown the values it wants.
const KUBELET_SETTINGS: [(&str, &str); 4] = [
    ("vm/overcommit_memory", "1\n"),
    ("vm/panic_on_oom", "0\n"),
    ("kernel/panic", "10\n"),
    ("kernel/panic_on_oops", "1\n"),
];

/// Gives a machine its own /run, /proc, /sys with cgroups and a BPF file system, and its name as host name.
pub(crate) fn separate(machine: &Machine) -> Result<(), ClusterError> {
    let hierarchies = cgroups::hierarchies()?;
    machine.run("mount file systems", || {
        // What is unmounted outside shall not live on here; what is mounted here stays here.
        set_propagation("/", MsFlags::MS_SLAVE)?;
        own_run()?;
        own_sys(&hierarchies)?;
        Ok(nix::unistd::sethostname(machine.name())?)
    })?;
    // Not by a system call from here: /proc shows the PID namespace of the process that mounts it.
    machine.command(&["mount", "-t", "proc", "proc", "/proc"], None).map(drop)
}

/// Replaces folders of a node by its own, which lie below `own`, and gets mounts ready for pods.
pub(crate) fn become_node(machine: &Machine, own: &Path, folders: &[&str]) -> Result<(), ClusterError> {
    machine.run("mount a node's folders", || {
        for folder in folders {
            let source = own.join(folder.trim_start_matches('/').replace('/', "-"));
            fs::create_dir_all(&source)?;
            // On this machine it is an empty folder, if it wasn't there before.
            fs::create_dir_all(folder)?;
            bind(&source, Path::new(folder))?;
        }
        for (name, value) in KUBELET_SETTINGS {
            let file = PathBuf::from("/run").join(name.replace('/', "."));
            fs::write(&file, value)?;
            bind(&file, &Path::new("/proc/sys").join(name))?;
        }
        // Volumes with Bidirectional propagation need it.
        set_propagation("/", MsFlags::MS_SHARED)
    })
}

/// /run has the names of this machine's namespaces, which copies of their mounts would keep alive.
fn own_run() -> io::Result<()> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo")?;
    // The fifth field is the mount point (`proc_pid_mountinfo(5)`); children follow their parents.
    let points: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    for point in points.into_iter().rev().filter(|point| Path::new(point).starts_with("/run")) {
        // One that went with another, or whose name is escaped: what stays is out of sight below the new /run.
        let _ = umount2(point, MntFlags::MNT_DETACH);
    }
    mount_new("tmpfs", "/run", Some("mode=755"))?;
    ["/run/netns", "/run/lock"].into_iter().try_for_each(fs::create_dir)
}

/// /sys/class/net shows the network namespace of whoever mounts it; cgroups appear from the machine's own on down.
fn own_sys(hierarchies: &[Hierarchy]) -> io::Result<()> {
    mount_new("sysfs", "/sys", None)?;
    mount_new("bpf", "/sys/fs/bpf", None)?;
    let root = Path::new("/sys/fs/cgroup");
    if !hierarchies.iter().any(|hierarchy| hierarchy.mounted == root) {
        mount_new("tmpfs", "/sys/fs/cgroup", Some("mode=755"))?;
    }
    for Hierarchy { mounted, v1_options } in hierarchies {
        fs::create_dir_all(mounted)?;
        let kind = if v1_options.is_some() { "cgroup" } else { "cgroup2" };
        mount_new(kind, mounted, v1_options.as_deref())?;
        link_controllers(mounted)?;
    }
    Ok(())
}

/// Controllers that are mounted together, as in `cpu,cpuacct`, are looked for by their own names too.
fn link_controllers(mounted: &Path) -> io::Result<()> {
    let name = mounted.file_name().unwrap_or_default().to_string_lossy();
    let together = name.split(',').filter(|controller| *controller != name);
    together.into_iter().try_for_each(|controller| symlink(&*name, mounted.with_file_name(controller)))
}

fn mount_new(kind: &str, point: impl AsRef<Path>, options: Option<&str>) -> io::Result<()> {
    let point = point.as_ref();
    mount(Some(kind), point, Some(kind), MsFlags::empty(), options).map_err(|error| named(point, error))
}

fn bind(source: &Path, target: &Path) -> io::Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|error| named(target, error))
}

fn set_propagation(point: &str, kind: MsFlags) -> io::Result<()> {
    Ok(mount(None::<&str>, point, None::<&str>, MsFlags::MS_REC | kind, None::<&str>)?)
}

fn named(point: &Path, error: nix::errno::Errno) -> io::Error {
    io::Error::other(format!("mount {}: {error}", point.display()))
}
