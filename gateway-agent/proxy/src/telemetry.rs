//! What the proxy counts of requests.
//!
//! A request has one [`Record`]. Its series is found when its rule is, in a table of the worker's own ([`Meter`]), so
//! that nothing is locked, allocated or shared between workers on its way; names matter only when a series is met for
//! the first time since tables changed ([`Registry`]). Workers' figures are added up when somebody asks.

mod figures;
mod histogram;
mod meter;
mod record;
mod registry;
mod series;
mod subject;

pub use figures::{Failures, Figures, ListenerFigures, RequestFigures};
pub use histogram::{BOUNDS, Distribution};
pub(crate) use meter::{Matched, Meter};
pub(crate) use record::{Record, Traffic};
pub(crate) use registry::Registry;
pub use series::Class;
pub use subject::{Protocol, Subject, Target};
