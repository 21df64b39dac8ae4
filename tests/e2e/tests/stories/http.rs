//! HTTP, gRPC and upgraded connections while routes, weights, endpoints and the proxy change. `cargo xtask soak http` is the
//! same for longer.

use std::time::Duration;

use anyhow::Result;
use e2e::http::{Terms, soak};

#[test]
fn nobody_is_harmed_while_everything_changes() -> Result<()> {
    let terms = Terms {
        orderly: Duration::from_secs(9),
        killing: Duration::from_secs(3),
        clients: 2,
        replaced_every: Duration::from_secs(3),
    };
    let findings = soak(terms, |_| ())?;
    println!("{findings}");
    findings.judge()
}
