//! The present time, in the forms that the pure core and Kubernetes take; and waiting for another one.

use std::time::SystemTime;

use gateway_agent_routing::Minutes;
use tokio::time::{Instant, sleep_until};

/// Whole minutes, as certificates are judged by.
pub fn minutes() -> Minutes {
    Minutes(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs() / 60)
}

/// As Kubernetes writes times: whole seconds, UTC.
pub fn rfc3339(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// At some time, or never.
pub async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
