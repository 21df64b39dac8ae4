//! Which build of gateway-agent runs: what its program says, which need not be that of this library.

use std::sync::OnceLock;

static VERSION: OnceLock<&str> = OnceLock::new();

/// Said once, before anybody asks.
pub fn set(version: &'static str) {
    // A second program in one process would be this one still.
    let _ = VERSION.set(version);
}

pub fn version() -> &'static str {
    VERSION.get().copied().unwrap_or(env!("CARGO_PKG_VERSION"))
}
