//! Endpoints and the connections to them.

mod endpoint;
mod pool;

pub use endpoint::{Endpoint, Endpoints};
pub(crate) use endpoint::{InFlight, pick};
pub(crate) use pool::Pool;
