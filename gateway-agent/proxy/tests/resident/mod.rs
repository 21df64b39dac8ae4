//! What the process keeps in memory while many connections rest.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::yield_now;

/// Of this process, in bytes.
pub(crate) fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").expect("/proc");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}

pub(crate) fn allow_many_sockets() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the limit can be raised");
}

/// Until all that can go on has gone on.
pub(crate) async fn settle() {
    for _ in 0..10_000 {
        yield_now().await;
    }
}
