//! Time as a machine gives it.

use std::fs;
use std::time::{Duration, Instant};

/// Measures how long something takes, without the time in which somebody waited for a CPU, or the machine for its host's:
/// what has to be quick can't be on a machine that is busy, and is judged by the rest.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    begun: Instant,
    withheld: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { begun: Instant::now(), withheld: withheld() }
    }

    /// What has passed since then of undisturbed time.
    pub fn read(&self) -> Duration {
        self.begun.elapsed().saturating_sub(withheld().saturating_sub(self.withheld))
    }
}

/// Since the machine started. A kernel that tells nothing of it has withheld nothing.
fn withheld() -> Duration {
    let file = |path| fs::read_to_string(path).unwrap_or_default();
    waited(&file("/proc/pressure/cpu")) + stolen(&file("/proc/stat"))
}

/// Somebody for a CPU: microseconds (Documentation/accounting/psi.rst).
fn waited(pressure: &str) -> Duration {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "));
    let total = some.and_then(|some| some.rsplit_once("total=")?.1.trim().parse().ok());
    Duration::from_micros(total.unwrap_or_default())
}

/// All CPUs by other guests of the host: the eighth number, in hundredths of a second (`proc_stat(5)`).
fn stolen(stat: &str) -> Duration {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let hundredths: Option<u64> = all.and_then(|all| all.split_whitespace().nth(7)?.parse().ok());
    Duration::from_millis(10 * hundredths.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kernels_tell_is_read() {
        let pressure = "some avg10=71.60 avg60=69.81 avg300=67.74 total=1500000\nfull avg10=0.00 total=7\n";
        assert_eq!(waited(pressure), Duration::from_millis(1500));
        let stat = "cpu  10 20 30 40 50 60 70 80 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(stolen(stat), Duration::from_millis(800));
        assert_eq!((waited(""), stolen("")), (Duration::ZERO, Duration::ZERO));
    }
}
