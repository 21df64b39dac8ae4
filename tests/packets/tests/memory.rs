//! Maps are the kernel's memory. An agent that mapped all of a large table would seem to need as much itself. Needs
//! root; alone in its process, whose memory it watches.
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]

use std::fs;

use gateway_agent_kernel::Sizes;
use packets::Node;
use packets::connection::Connection;
use packets::net::Net;
use packets::tables::{Plan, Tcp, here, share};

#[test]
fn large_tables_do_not_make_a_large_agent() {
    /// Words of flows and places of rings are mapped, 8 MB each, by the agent and by a reader; and 16 MB for all else.
    const MOST: u64 = 48 << 20;
    let sizes = Sizes::for_memory(u64::MAX);
    assert!(sizes.memory(1) > 3 * MOST, "the tables are large");
    let before = resident();
    Node::run_with(
        |options| options.sizes = sizes,
        |node| {
            let (frontend, endpoint) = (Net::V4.frontend(80), here(Net::V4.here(2)));
            node.apply(&Plan::default().route(Tcp, frontend, &[share("web", 1, &[endpoint])]));
            Connection::established(node, Net::V4.client(40_000), frontend);
            assert_eq!(node.flows().len(), 1);
            let grown = resident().saturating_sub(before);
            println!("{} MB more for {} MB of maps", grown >> 20, sizes.memory(1) >> 20);
            assert!(grown < MOST, "{grown} bytes");
        },
    );
}

/// `VmRSS` of `proc_pid_status(5)`, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}
