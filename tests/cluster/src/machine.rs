//! A machine of the cluster: namespaces of every kind (network, mount, PID, UTS, IPC, cgroup) with a first process
//! that holds them. When that is killed, the kernel ends all its processes and mounts.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use lab::Namespace;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, setsid};

use crate::ClusterError;
use crate::cgroups::{Cgroup, Doors};

/// In the order in which they are entered: after the mount namespace, this machine's files are out of sight.
const SPACES: [(&str, CloneFlags); 6] = [
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("net", CloneFlags::CLONE_NEWNET),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

#[derive(Debug)]
pub(crate) struct Machine {
    name: String,
    init: Pid,
    cgroup: Cgroup,
    spaces: Vec<(File, CloneFlags)>,
}

impl Machine {
    /// Starts a machine in a network namespace and a cgroup; `init` becomes its first process.
    pub(crate) fn start(network: &Namespace, cgroup: Cgroup, init: &Path) -> Result<Self, ClusterError> {
        let name = network.label().to_owned();
        let failed = || ClusterError::system(format!("start machine {name}"));
        cgroup.create()?;
        let doors = cgroup.doors()?;
        let network_handle = File::open(network.path()).map_err(failed())?;
        let mut child = on_thread(|| {
            // Counts for this thread's children: the next one is the first process there.
            unshare(CloneFlags::CLONE_NEWPID)?;
            let mut command = Command::new(init);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            // SAFETY: between fork and exec the closure makes system calls only and allocates nothing.
            unsafe { command.pre_exec(move || found(&doors, &network_handle)) };
            command.spawn()
        })
        .map_err(failed())?;
        let machine = Self::open(network, cgroup, pid_of(&child));
        // Whoever started it must reap it; a process that ends earlier leaves that to the system.
        thread::spawn(move || child.wait());
        machine
    }

    /// The machine that runs in a network namespace.
    pub(crate) fn find(network: &Namespace, cgroup: Cgroup) -> Option<Self> {
        let init = first_process_in(&network.path())?;
        Self::open(network, cgroup, init).ok()
    }

    fn open(network: &Namespace, cgroup: Cgroup, init: Pid) -> Result<Self, ClusterError> {
        let open = |(kind, flag): (&str, CloneFlags)| {
            let path = format!("/proc/{init}/ns/{kind}");
            let file = File::open(&path).map_err(ClusterError::system(format!("open {path}")))?;
            Ok((file, flag))
        };
        let spaces = SPACES.into_iter().map(open).collect::<Result<_, ClusterError>>()?;
        Ok(Self { name: network.label().to_owned(), init, cgroup, spaces })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The first process, as this machine numbers it.
    pub(crate) fn init(&self) -> Pid {
        self.init
    }

    /// Those of its processes whose command line begins with these words, the program's folder aside; in pods too.
    pub(crate) fn processes_of(&self, words: &[&str]) -> Vec<Pid> {
        let runs = |pid: &Pid| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let (path, arguments) = line.split_once('\0').unwrap_or((&line, ""));
            let program = path.rsplit('/').next();
            program.into_iter().chain(arguments.split('\0')).take(words.len()).eq(words.iter().copied())
        };
        self.cgroup.processes().into_iter().filter(runs).collect()
    }

    /// Runs `story` on a thread in the machine's namespaces, with the machine's files. The thread itself is not in
    /// its PID namespace (processes it starts are), nor in its cgroup.
    pub(crate) fn run<T: Send>(
        &self,
        what: &str,
        story: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, ClusterError> {
        let entered = || {
            self.enter()?;
            story()
        };
        on_thread(entered).map_err(ClusterError::system(format!("{what} on {}", self.name)))
    }

    /// Starts a process that outlives this one as a child of the machine's first process. Its output goes to `log`.
    pub(crate) fn start_daemon(&self, words: &[String], log: &Path) -> Result<(), ClusterError> {
        let what = format!("start {}", words[0]);
        let open = || File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
        let (stdout, stderr) = open().map_err(ClusterError::system(format!("open {}", log.display())))?;
        // setsid(1) forks, so the daemon loses its parent, and the first process adopts it.
        let mut command = Command::new("setsid");
        command.arg("--fork").args(words).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        self.join(&mut command)?;
        let status = self.run(&what, || command.status())?;
        if status.success() {
            return Ok(());
        }
        Err(ClusterError::Command {
            command: words.join(" "),
            status: status.to_string(),
            stderr: String::new(),
        })
    }

    /// Runs a command to its end, with a file as its input, and returns what it printed.
    pub(crate) fn command(&self, words: &[&str], input: Option<File>) -> Result<String, ClusterError> {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(input.map_or_else(Stdio::null, Stdio::from));
        self.join(&mut command)?;
        let output = self.run(&format!("run {}", words[0]), || command.output())?;
        printed(words, &output)
    }

    fn enter(&self) -> io::Result<()> {
        // A thread that shares its root and current folder with others may not change its mount namespace.
        unshare(CloneFlags::CLONE_FS)?;
        for (space, flag) in &self.spaces {
            setns(space, *flag)?;
        }
        Ok(())
    }

    /// Has the command's process join the machine's cgroup, whose files only this machine's own mounts show.
    fn join(&self, command: &mut Command) -> Result<(), ClusterError> {
        let doors = self.cgroup.doors()?;
        // SAFETY: between fork and exec the closure makes system calls only and allocates nothing.
        unsafe { command.pre_exec(move || doors.stay()) };
        Ok(())
    }
}

/// What the first process does before it becomes `init`.
fn found(doors: &Doors, network: &File) -> io::Result<()> {
    // A group of its own: Ctrl-C is for the one that started it.
    setsid()?;
    doors.enter()?;
    setns(network, CloneFlags::CLONE_NEWNET)?;
    unshare(
        CloneFlags::CLONE_NEWCGROUP
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )?;
    doors.stay()
}

/// The process that is number 1 of a PID namespace directly below ours, among those in a network namespace.
fn first_process_in(network: &Path) -> Option<Pid> {
    processes_in(&[network]).into_iter().find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        // `proc_pid_status(5)`: its number in our PID namespace and in each below; pods' have one more.
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        numbers.len() == 2 && numbers[1] == "1"
    })
}

/// Processes whose main thread is in one of these network namespaces.
pub(crate) fn processes_in(networks: &[&Path]) -> Vec<Pid> {
    let inodes: Vec<u64> =
        networks.iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.ino()).collect();
    let is_inside =
        |pid: &i32| fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| inodes.contains(&m.ino()));
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(is_inside).map(Pid::from_raw).collect()
}

fn on_thread<T: Send>(story: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| scope.spawn(story).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

pub(crate) fn printed(words: &[&str], output: &Output) -> Result<String, ClusterError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(ClusterError::Command {
        command: words.join(" "),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn pid_of(child: &Child) -> Pid {
    // The kernel's pid_t is an i32; std only widens it.
    Pid::from_raw(i32::try_from(child.id()).unwrap_or_default())
}
