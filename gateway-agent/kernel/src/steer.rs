//! Connections that go to the proxy: the maps `steered`, `sockets` and `proxy`, and the program that reads them.
//!
//! The link is pinned as those of devices are, and is there as long as anything is steered.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::maps::MapError;
use aya::programs::SkLookup;
use aya::programs::links::{FdLink, LinkError};
use aya::util::nr_cpus;
use gateway_agent_tables::FrontendKey;
use gateway_common::maps::{MAX_SOCKETS, Proxy, SteeredCounters};
use serde::Serialize;

use crate::address::{entry_key, parse_key};
use crate::apply::{ApplyProblem, ApplyReport};
use crate::attach::{self, AttachError};
use crate::store::Store;
use crate::sys;

/// Most sockets that connections can be spread over.
pub const MOST_SOCKETS: usize = MAX_SOCKETS as usize;

/// The program's name in the object.
pub(crate) const PROGRAM: &str = "steer";

/// A process that takes connections, as long as no other has its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    pub pid: u32,
    /// In clock ticks since boot (`proc_pid_stat(5)`, field 22).
    pub started: u64,
}

pub(crate) fn link_path(pin: &Path) -> PathBuf {
    pin.join("steer")
}

/// What is steered, as the kernel has it.
#[derive(Debug)]
pub(crate) struct Steering {
    known: BTreeSet<FrontendKey>,
    /// By this agent's program.
    is_attached: bool,
}

impl Steering {
    /// Continues where an earlier agent stopped, but for the program in its link.
    pub(crate) fn recover(store: &Store) -> Result<Self, MapError> {
        let mut known = BTreeSet::new();
        for key in store.steered.keys() {
            known.extend(parse_key(&key?));
        }
        Ok(Self { known, is_attached: false })
    }

    /// Puts this agent's program into the link that is pinned, if there is one.
    pub(crate) fn take_over(&mut self, pin: &Path, program: &SkLookup) -> Result<(), AttachError> {
        self.is_attached = replace(pin, program)?;
        Ok(())
    }

    /// Makes link and map as `frontends` say. Connections that the proxy has live on.
    pub(crate) fn apply(
        &mut self,
        pin: &Path,
        program: &mut SkLookup,
        store: &mut Store,
        frontends: &BTreeSet<FrontendKey>,
    ) -> ApplyReport {
        let mut report = ApplyReport::default();
        if self.is_attached == frontends.is_empty() {
            let attached = if frontends.is_empty() { detach(pin).map(drop) } else { attach(pin, program) };
            if let Err(error) = attached {
                report.not_steered(frontends, &crate::one_line(&error));
                return report;
            }
            self.is_attached = !frontends.is_empty();
        }
        for key in self.known.difference(frontends).copied().collect::<Vec<_>>() {
            if report.wrote("steered", &key, store.steered.remove(&entry_key(&key))) {
                self.known.remove(&key);
            }
        }
        let capacity = store.frontend_stats.len();
        for key in frontends.difference(&self.known).copied().collect::<Vec<_>>() {
            match insert(store, &key) {
                Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::E2BIG) => {
                    report.problem(ApplyProblem::FrontendsFull { frontend: key, capacity });
                }
                result => {
                    if report.wrote("steered", &key, result) {
                        self.known.insert(key);
                    }
                }
            }
        }
        report
    }
}

fn insert(store: &mut Store, key: &FrontendKey) -> Result<(), MapError> {
    let error = |io_error| MapError::SyscallError(aya::sys::SyscallError { call: "possible CPUs", io_error });
    let cpus = nr_cpus().map_err(|(_, e)| error(e))?;
    let zero = vec![SteeredCounters::default(); cpus].try_into().map_err(error)?;
    store.steered.insert(entry_key(key), zero, 0)
}

/// From now on, connections begin at these sockets. Each place changes by itself, so that at no time any is without.
pub(crate) fn switch(
    store: &mut Store,
    sockets: &[BorrowedFd<'_>],
    process: Option<Process>,
) -> Result<(), MapError> {
    let number = |len: usize| u32::try_from(len).unwrap_or(MAX_SOCKETS).min(MAX_SOCKETS);
    for (place, socket) in (0..MAX_SOCKETS).zip(sockets) {
        store.sockets.set(place, &socket.as_raw_fd(), 0)?;
    }
    let (pid, started) = process.map_or((0, 0), |process| (process.pid, process.started));
    store.proxy.set(0, Proxy { sockets: number(sockets.len()), pid, started }, 0)?;
    for place in number(sockets.len())..MAX_SOCKETS {
        match store.sockets.clear_index(&place) {
            Err(MapError::SyscallError(error)) if is_absent(&error.io_error) => {}
            result => result?,
        }
    }
    Ok(())
}

/// A place without a socket can't be cleared.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT))
}

pub(crate) fn has_sockets(store: &Store) -> Result<bool, MapError> {
    Ok(store.proxy.get(&0, 0)?.sockets > 0)
}

/// The process whose sockets are in the map, if an agent started it.
pub(crate) fn process(store: &Store) -> Result<Option<Process>, MapError> {
    Ok(process_of(&store.proxy.get(&0, 0)?))
}

pub(crate) fn process_of(proxy: &Proxy) -> Option<Process> {
    let Proxy { pid, started, .. } = *proxy;
    (pid != 0).then_some(Process { pid, started })
}

/// Attaches the program to the network namespace of this thread, or puts it into the link that is pinned.
fn attach(pin: &Path, program: &mut SkLookup) -> Result<(), AttachError> {
    if replace(pin, program)? {
        return Ok(());
    }
    let path = link_path(pin);
    let namespace = PathBuf::from("/proc/thread-self/ns/net");
    let file = File::open(&namespace).map_err(|cause| AttachError::Folder { path: namespace, cause })?;
    let id = program.attach(file).map_err(program_error)?;
    let link = FdLink::from(program.take_link(id).map_err(program_error)?);
    link.pin(&path).map_err(|cause| AttachError::Pin { path, cause })?;
    Ok(())
}

/// Puts the program into the pinned link; false: there is none, or its namespace has vanished.
fn replace(pin: &Path, program: &SkLookup) -> Result<bool, AttachError> {
    let path = link_path(pin);
    let program = program.fd().map_err(program_error)?;
    let replaced =
        sys::open_pinned(&path).and_then(|link| sys::replace_program(link.as_fd(), program.as_fd()));
    match replaced {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {
            attach::unlink(&path)?;
            Ok(false)
        }
        Err(io_error) => {
            let cause = LinkError::SyscallError(aya::sys::SyscallError { call: "bpf_link_update", io_error });
            Err(AttachError::Link { path, cause })
        }
    }
}

/// False: it wasn't attached.
pub(crate) fn detach(pin: &Path) -> Result<bool, AttachError> {
    let path = link_path(pin);
    let is_attached = fs::exists(&path).unwrap_or(true);
    attach::unlink(&path)?;
    Ok(is_attached)
}

fn program_error(cause: aya::programs::ProgramError) -> AttachError {
    AttachError::Program { name: "network namespace".to_owned(), cause }
}
