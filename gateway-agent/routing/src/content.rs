//! What a route itself says, wherever it is attached: its rules, compiled, and the conditions that follow from them.
//!
//! A kind of route plugs in here: a variant of [`Content`], and an arm in [`Content::compile`]. Compiling a route
//! looks at nothing but the route and what its references lead to, so a change elsewhere leaves it as it is.

use gateway_agent_api::Kind;

use crate::backend::Backends;
use crate::route::Route;
use crate::status::Condition;
use crate::stream;

/// The compiled rules of a route.
#[derive(Debug)]
pub(crate) enum Content {
    Stream(stream::Rule),
}

/// The conditions that follow from a route's own content.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// ResolvedRefs.
    pub(crate) refs: Condition,
    /// Accepted False: no rule can be served, so the route attaches nowhere.
    pub(crate) refusal: Option<Condition>,
    /// PartiallyInvalid: some rules are left out.
    pub(crate) partial: Option<Condition>,
}

impl Content {
    /// None: a kind that has no rules.
    pub(crate) fn compile(route: &Route<'_>, backends: &Backends<'_>) -> Option<(Self, Verdict)> {
        match route.object.kind {
            Kind::TcpRoute | Kind::TlsRoute | Kind::UdpRoute => {
                let (rule, verdict) = stream::compile(route, backends);
                Some((Self::Stream(rule), verdict))
            }
            _ => None,
        }
    }
}
