//! Filters of rules and backends, as functions of a head: nothing here reads, waits or sends.

mod cors;
mod forwarded;
mod headers;
mod retry;
mod rewrite;
mod timeouts;
mod trace_context;

pub use cors::{CorsAnswer, asked_method, is_preflight, preflight};
pub use forwarded::Forwarded;
pub use headers::{Outgoing, change_request, change_response};
pub use retry::{Attempts, may_repeat};
pub use timeouts::{Budget, GRPC_TIMEOUT, grpc_timeout, write_grpc_timeout};
pub use trace_context::TraceParent;

use gateway_agent_tables::http::{Cors, Filter, HttpBackend, HttpRule, Mirror};

/// What a request meets, in this order: the filters of the rule, and then of the backend that was picked.
pub(crate) fn filters<'a>(
    rule: &'a HttpRule,
    backend: Option<&'a HttpBackend>,
) -> impl Iterator<Item = &'a Filter> {
    rule.filters.iter().chain(backend.map_or(&[][..], |backend| &backend.filters))
}

/// The CORS filter of a rule, or else of its backend.
pub fn cors<'a>(rule: &'a HttpRule, backend: Option<&'a HttpBackend>) -> Option<&'a Cors> {
    filters(rule, backend).find_map(|filter| match filter {
        Filter::Cors(cors) => Some(cors),
        _ => None,
    })
}

/// The mirrors of a rule, and then of its backend, that get a copy of a request. `random` gives numbers that are even
/// over all of u32.
pub fn mirrors<'a>(
    rule: &'a HttpRule,
    backend: &'a HttpBackend,
    mut random: impl FnMut() -> u32,
) -> impl Iterator<Item = &'a Mirror> {
    let mirrors = filters(rule, Some(backend)).filter_map(|filter| match filter {
        Filter::Mirror(mirror) => Some(mirror),
        _ => None,
    });
    mirrors.filter(move |mirror| mirror.share.contains(random()))
}
