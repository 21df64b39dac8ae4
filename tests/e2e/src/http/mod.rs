//! HTTP on the lab: what pods serve, clients of every kind that never stop asking, and what changes meanwhile.

mod churn;
mod clients;
mod load;
mod objects;
mod server;
mod soak;
mod stage;

pub use clients::{Asked, Kind, ask, call};
pub use load::{Load, Report, Tally};
pub use objects::{HttpObjects, PORT};
pub use server::Server;
pub use soak::{Findings, Terms, soak};
pub use stage::HttpStage;

use hyper::body::Bytes;

/// Bodies of every sort.
type Body = http_body_util::combinators::BoxBody<Bytes, hyper::Error>;

fn empty() -> Body {
    use http_body_util::BodyExt as _;
    http_body_util::Empty::new().map_err(|never| match never {}).boxed()
}

fn full(bytes: impl Into<Bytes>) -> Body {
    use http_body_util::BodyExt as _;
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// Runs futures on the thread that makes them.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
