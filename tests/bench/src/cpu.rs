//! Processors: which ones a run uses, and how busy they were.

use std::fs;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, setsid};

/// The processors that generators, servers and proxies share, and nothing else of this program runs on.
#[derive(Clone, Debug)]
pub(crate) struct Cpus(Vec<usize>);

impl Cpus {
    /// The last two that this process may use: as few as show what one core's work costs another, so that a machine
    /// of four still has two for what else goes on.
    pub(crate) fn pick() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let all: Vec<usize> = (0..CpuSet::count()).filter(|&c| allowed.is_set(c).unwrap_or(false)).collect();
        match all.len() {
            0 | 1 => bail!("the bench needs two processors; this process may use {}", all.len()),
            n => Ok(Self(all[n - 2..].to_vec())),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// As `taskset -c` and nginx' documents write it.
    pub(crate) fn list(&self) -> String {
        self.0.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
    }

    pub(crate) fn first(&self) -> usize {
        self.0[0]
    }

    pub(crate) fn last(&self) -> usize {
        self.0[self.0.len() - 1]
    }

    /// Keeps the calling thread on the processor with this index, counted around.
    pub(crate) fn pin(&self, index: usize) -> Result<()> {
        let mut set = CpuSet::new();
        set.set(self.0[index % self.0.len()])?;
        Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
    }

    /// Seconds that they have been busy since boot: user, nice, system, irq and softirq (proc(5)), but not steal,
    /// which is others' use of the host.
    pub(crate) fn busy_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string("/proc/stat")?;
        let mut ticks = 0.0;
        for cpu in &self.0 {
            let name = format!("cpu{cpu} ");
            let line =
                stat.lines().find_map(|l| l.strip_prefix(&name)).context("cpu missing in /proc/stat")?;
            let fields: Vec<f64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields[..] else {
                bail!("unexpected line in /proc/stat: {line}");
            };
            ticks += user + nice + system + irq + softirq;
        }
        Ok(ticks / USER_HZ)
    }
}

/// Makes other work on this machine yield to the run: to its generators, servers and proxies alike. The run ends with
/// whoever started it.
pub(crate) fn take_precedence() -> Result<()> {
    const HIGHEST: i32 = -20;
    set_pdeathsig(Signal::SIGTERM)?;
    // A nice value counts within its session only, as long as sessions share the processors evenly (sched(7)).
    if setsid().is_ok() && fs::exists(AUTOGROUP)? {
        fs::write(AUTOGROUP, HIGHEST.to_string())?;
    }
    // SAFETY: a plain call.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, HIGHEST) } != 0 {
        return Err(std::io::Error::last_os_error()).context("taking precedence needs root");
    }
    Ok(())
}
const AUTOGROUP: &str = "/proc/self/autogroup";

/// Processes that run as soon as they have work, whatever else does. As long as this value lives; then they share
/// processors by precedence again.
///
/// Precedence alone gives somebody the larger part of a processor, not the next moment of it, and what a rare request
/// waits for then is others' work. Only for those that sleep most of the time: what never sleeps would keep the kernel's
/// own threads from it.
#[derive(Debug)]
pub(crate) struct RealTime(Vec<u32>);

impl RealTime {
    /// All threads of these processes, and those that they start.
    pub(crate) fn of(processes: Vec<u32>) -> Result<Self> {
        let real_time = Self(processes);
        for &process in &real_time.0 {
            schedule(process, libc::SCHED_RR, LOWEST_REAL_TIME).context("real time needs root")?;
        }
        Ok(real_time)
    }
}

impl Drop for RealTime {
    fn drop(&mut self) {
        for &process in &self.0 {
            // A process that has ended has nothing to give back.
            let _ = schedule(process, libc::SCHED_OTHER, 0);
        }
    }
}

/// Above all that is not in real time (sched(7)).
const LOWEST_REAL_TIME: i32 = 1;

/// Lets the calling thread run before everything else that is in real time, too.
pub(crate) fn go_first() -> Result<()> {
    // SAFETY: a plain call.
    let highest = unsafe { libc::sched_get_priority_max(libc::SCHED_FIFO) };
    schedule_thread(0, libc::SCHED_FIFO, highest).context("real time needs root")
}

fn schedule(process: u32, policy: i32, priority: i32) -> Result<()> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let name = thread?.file_name();
        let thread: i32 =
            name.to_str().and_then(|name| name.parse().ok()).context("a thread without number")?;
        schedule_thread(thread, policy, priority)?;
    }
    Ok(())
}

/// 0 is the calling thread (sched(7)).
fn schedule_thread(thread: i32, policy: i32, sched_priority: i32) -> Result<()> {
    let parameters = libc::sched_param { sched_priority };
    // SAFETY: the parameters are read within the call.
    if unsafe { libc::sched_setscheduler(thread, policy, &raw const parameters) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

/// Ticks per second in /proc/stat, whatever the kernel's own HZ (time(7)).
const USER_HZ: f64 = 100.0;

pub(crate) fn model() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("unknown");
    Ok(model.trim_start_matches([' ', '\t', ':']).to_owned())
}
