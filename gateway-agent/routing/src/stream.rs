//! The rules of TCPRoutes, TLSRoutes and UDPRoutes: one set of weighted backends for everything.

use gateway_agent_api::{Kind, TcpRoute, TlsRoute, UdpRoute};
use gateway_agent_tables::{Protocol, RouteKind};

use crate::backend::{Backends, Resolved, Unresolved};
use crate::content::Verdict;
use crate::route::{BackendRef, Route, backend_ref};
use crate::status::Condition;

/// The rule that takes everything.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) kind: RouteKind,
    pub(crate) backends: Vec<Backend>,
}

/// One backendRef of a rule.
#[derive(Debug)]
pub(crate) struct Backend {
    /// As the route names it, for people.
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) target: Result<Resolved, Unresolved>,
}

pub(crate) fn compile(route: &Route<'_>, backends: &Backends<'_>) -> (Rule, Verdict) {
    let (kind, rules) = rules(route);
    let references = rules.first().into_iter().flatten();
    let resolved: Vec<_> = references
        .map(|reference| Backend {
            name: reference.to_string(),
            weight: reference.weight,
            target: backends.resolve(route.referrer(), reference, protocol(kind)),
        })
        .collect();
    let verdict = Verdict {
        refs: resolved_refs(resolved.iter().filter_map(|backend| backend.target.as_ref().err())),
        refusal: None,
        partial: surplus_rules(route, rules.len()).map(Box::new),
    };
    (Rule { kind, backends: resolved }, verdict)
}

fn rules<'a>(route: &Route<'a>) -> (RouteKind, Vec<Vec<BackendRef<'a>>>) {
    let namespace = route.metadata.namespace.as_deref().unwrap_or_default();
    macro_rules! references {
        ($route:expr) => {{
            let rules = $route.into_iter().flat_map(|route| &route.spec.rules);
            rules
                .map(|rule| rule.backend_refs.iter().map(|it| backend_ref!(it, namespace)).collect())
                .collect()
        }};
    }
    match route.object.kind {
        Kind::TlsRoute => (RouteKind::Tls, references!(route.typed::<TlsRoute>())),
        Kind::UdpRoute => (RouteKind::Udp, references!(route.typed::<UdpRoute>())),
        _ => (RouteKind::Tcp, references!(route.typed::<TcpRoute>())),
    }
}

fn protocol(kind: RouteKind) -> Protocol {
    match kind {
        RouteKind::Udp => Protocol::Udp,
        RouteKind::Tcp | RouteKind::Tls => Protocol::Tcp,
    }
}

/// The first unresolved reference gives the reason; the message has all of them.
pub(crate) fn resolved_refs<'u>(mut unresolved: impl Iterator<Item = &'u Unresolved>) -> Condition {
    let Some(first) = unresolved.next() else {
        return Condition::yes("ResolvedRefs", "ResolvedRefs", "all references are valid");
    };
    let mut message = first.message.clone();
    for further in unresolved {
        message.push_str("; ");
        message.push_str(&further.message);
    }
    Condition::no("ResolvedRefs", first.reason, message)
}

/// The rules after the first, which nothing tells from the first; only old API versions allow them.
fn surplus_rules(route: &Route<'_>, count: usize) -> Option<Condition> {
    (count > 1).then(|| {
        let dropped = (1..count).map(|index| index.to_string()).collect::<Vec<_>>().join(", ");
        Condition::yes(
            "PartiallyInvalid",
            "UnsupportedValue",
            format!(
                "Dropped Rule {dropped}: {} has no way to match rules, so rule 0 takes everything; keep one rule",
                route.object
            ),
        )
    })
}
