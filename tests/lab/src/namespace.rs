//! One network namespace: threads and processes that enter it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::LabError;

/// Where iproute2 looks for namespaces (ip-netns(8)).
pub const NETNS: &str = "/run/netns";

/// A handle; clones mean the same namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    label: String,
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes one that outlives this process and belongs to no [`Lab`](crate::Lab): whoever calls this removes it.
    pub fn create(label: &str, name: &str) -> Result<Self, LabError> {
        let path = Path::new(NETNS).join(name);
        File::create_new(&path).map_err(LabError::system(format!("create {}", path.display())))?;
        let mounted = path.clone();
        // A thread of its own, since unshare(2) moves the caller.
        thread::scope(|s| s.spawn(move || unshare_onto(&mounted)).join())
            .unwrap_or_else(|panic| resume_unwind(panic))
            .map_err(|e| LabError::system(format!("make namespace {name}"))(e.into()))?;
        let namespace = Self::open(label, name)?;
        namespace.prepare()?;
        Ok(namespace)
    }

    /// One that exists.
    pub fn open(label: &str, name: &str) -> Result<Self, LabError> {
        let path = Path::new(NETNS).join(name);
        let handle = File::open(&path).map_err(LabError::system(format!("open {}", path.display())))?;
        Ok(Self { inner: Arc::new(Inner { label: label.to_owned(), name: name.to_owned(), handle }) })
    }

    /// What the lab's story calls it: `node1`.
    pub fn label(&self) -> &str {
        &self.inner.label
    }

    /// What `ip netns` calls it; unique on the machine.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub fn path(&self) -> PathBuf {
        Path::new(NETNS).join(&self.inner.name)
    }

    /// Runs `story` on a thread inside the namespace and gives back its result, or its panic.
    pub fn run<T: Send>(&self, story: impl FnOnce() -> T + Send) -> T {
        thread::scope(|s| s.spawn(|| self.enter_and(story)).join())
            .unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Starts a thread inside the namespace.
    pub fn thread<T: Send + 'static>(&self, story: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let namespace = self.clone();
        thread::spawn(move || namespace.enter_and(story))
    }

    /// Starts a process inside the namespace, in a process group of its own so that Ctrl-C does not reach it before
    /// the lab can end it in order.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.inside(command).process_group(0).spawn()
    }

    /// Runs a command inside to its end and returns what it printed. Failure carries its standard error.
    pub fn command<S: AsRef<str>>(&self, words: &[S]) -> Result<String, LabError> {
        self.command_with_input(words, "")
    }

    /// Runs lines of `ip` commands, without the leading `ip`, in one process.
    pub fn ip(&self, lines: &str) -> Result<(), LabError> {
        self.command_with_input(&["ip", "-batch", "-"], lines).map(drop)
    }

    /// Sets a value below /proc/sys, named as sysctl(8) does with dots (no device names that hold one).
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), LabError> {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        // /proc/sys/net shows the namespace of the thread that opens it.
        self.run(|| fs::write(&path, value))
            .map_err(LabError::system(format!("set {name} to {value} in {}", self.name())))
    }

    /// Takes its name away; it is gone with the last process and handle.
    pub fn remove(path: &Path) {
        // Detached: a thread still inside keeps the namespace, not its name.
        let _ = umount2(path, MntFlags::MNT_DETACH);
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("lab: {} stays: {error}", path.display());
        }
    }

    fn prepare(&self) -> Result<(), LabError> {
        for (name, value) in [
            ("net.ipv6.conf.all.disable_ipv6", "0"),
            ("net.ipv6.conf.default.disable_ipv6", "0"),
            // Addresses are usable at once, link-local ones too.
            ("net.ipv6.conf.all.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_dad", "0"),
            // No router answers here.
            ("net.ipv6.conf.default.router_solicitations", "0"),
        ] {
            self.sysctl(name, value)?;
        }
        self.ip("link set lo up\n")
    }

    fn enter_and<T>(&self, story: impl FnOnce() -> T) -> T {
        // Fails only without CAP_SYS_ADMIN, which creating the namespace needed too.
        setns(&self.inner.handle, CloneFlags::CLONE_NEWNET).expect("root may enter its namespaces");
        story()
    }

    fn inside<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let inner = Arc::clone(&self.inner);
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe { command.pre_exec(move || Ok(setns(&inner.handle, CloneFlags::CLONE_NEWNET)?)) }
    }

    fn command_with_input<S: AsRef<str>>(&self, words: &[S], input: &str) -> Result<String, LabError> {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let output =
            self.output(&words, input).map_err(LabError::system(format!("run {}", words.join(" "))))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(LabError::Command {
            command: words.join(" "),
            namespace: self.name().to_owned(),
            status: output.status.to_string(),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// `input` must fit a pipe's buffer (64 KiB, pipe(7)).
    fn output(&self, words: &[&str], input: &str) -> io::Result<Output> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.inside(&mut command).spawn()?;
        if let Some(mut stdin) = child.stdin.take()
            && let Err(error) = stdin.write_all(input.as_bytes())
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(error);
        }
        child.wait_with_output()
    }
}

fn unshare_onto(path: &Path) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}
