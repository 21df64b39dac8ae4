//! Processes that this one knows by id: an id may be another process's by now.

use std::fs;

use gateway_agent_kernel::Process;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The process that has the id now.
pub fn find(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command, field 2, may hold anything, so count from its closing parenthesis (`proc_pid_stat(5)`).
    let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    Some(Process { pid, started })
}

pub fn is_alive(process: Process) -> bool {
    find(process.pid) == Some(process)
}

/// Asks it to end (SIGTERM); false: it has ended already, or may not be asked.
pub fn end(process: Process) -> bool {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    // Looked at after the handle was made: the two mean the same process.
    is_alive(process) && pidfd_send_signal(&handle, Signal::TERM).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_the_very_process_is_ended() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let process = find(child.id()).unwrap();
        assert!(is_alive(process));
        assert!(!end(Process { started: process.started + 1, ..process }));
        assert!(child.try_wait().unwrap().is_none());
        assert!(end(process));
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        assert!(!end(process) && !is_alive(process));
    }
}
