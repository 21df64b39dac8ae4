//! What the proxy counts of requests.
//!
//! A request has one [`Record`]. Its series is found when its rule is, in a table of the worker's own ([`Meter`]), so
//! that nothing is locked, allocated or shared between workers on its way; names matter only when a series is met for
//! the first time since tables changed ([`Registry`]). Workers' figures are added up when somebody asks.
//!
//! A request whose listener has an access log writes its line as it goes (`line`), and gives it away at its end (`log`).

mod figures;
mod grpc;
mod histogram;
mod line;
mod log;
mod meter;
mod record;
mod registry;
mod series;
mod subject;

pub use figures::{ConnectionFigures, Failures, Figures, ListenerFigures, RequestFigures};
pub(crate) use grpc::GrpcStatus;
pub use histogram::{BOUNDS, Distribution};
pub(crate) use line::LoggedHead;
pub(crate) use log::AccessLog;
pub use log::Output;
pub(crate) use meter::{Matched, Meter};
pub(crate) use record::{Failure, Record, Traffic};
pub(crate) use registry::Registry;
pub use series::Class;
pub use subject::{Protocol, Subject, Target};
