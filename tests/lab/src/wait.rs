//! Waiting for something to become true.

use std::thread;
use std::time::{Duration, Instant};

use crate::LabError;

/// Between two looks at a condition: short beside what tests wait for, long beside what a look costs.
const POLL: Duration = Duration::from_millis(5);

/// Looks at `condition` until it holds; an error that names `what` after `within`.
pub fn wait_until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) -> Result<(), LabError> {
    let deadline = Instant::now() + within;
    while !condition() {
        if Instant::now() >= deadline {
            return Err(LabError::Deadline { what: what.to_owned(), within });
        }
        thread::sleep(POLL);
    }
    Ok(())
}
