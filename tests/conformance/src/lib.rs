//! The Gateway API project's conformance suite as a judge of an implementation in a cluster.
//!
//! [`Suite`] is what tests/go builds: the suite, its images and its [`Catalogue`] of tests and profiles. A [`Run`]
//! starts it as a client outside of a [`cluster::Cluster`] and keeps what it says ([`Record`], [`Report`]) and what
//! failed tests leave; in a test, a [`Stage`] is where. [`judge`] holds that against what was asked for; [`summary`] tells people.

mod catalogue;
mod error;
mod events;
mod images;
mod readiness;
mod report;
mod run;
mod stage;
mod suite;
mod summary;
mod verdict;

pub use catalogue::{Catalogue, Profile, Test};
pub use error::ConformanceError;
pub use events::{Outcome, Record, TestRecord};
pub use report::{ProfileReport, Report, Statistics, Status};
pub use run::{Addresses, Finished, Run};
pub use stage::Stage;
pub use suite::{Channel, Release, Suite};
pub use summary::summary;
pub use verdict::{Complaint, Expected, Scope, judge};
