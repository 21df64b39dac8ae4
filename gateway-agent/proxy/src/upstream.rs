//! Endpoints and the connections to them.

mod endpoint;
mod pool;
mod wire;

pub use endpoint::{Endpoint, Endpoints};
pub(crate) use endpoint::{InFlight, pick};
pub(crate) use pool::Pool;
pub(crate) use wire::{Wire, connect};
