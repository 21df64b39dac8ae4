//! What a rule does with a request: its filters, then a redirect, a forward or a refusal.

use gateway_agent_api::http_route::HttpRouteRulesFilters as FilterSpec;
use gateway_agent_tables::http::{
    Filter, HttpAction, HttpBackend, HttpRefusal, HttpRuleName, HttpSplit, HttpTarget, Path,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::findings::{Reason, RuleFindings};
use super::{Context, backends, filters};
use crate::route::BackendRef;

/// A backendRef with its filters.
#[derive(Debug)]
pub(super) struct BackendSpec<'a> {
    pub(super) reference: BackendRef<'a>,
    pub(super) filters: Vec<FilterSpec>,
}

/// The filters of backends and of GRPCRoutes, and the session persistence of GRPCRoutes, have types of their own. Their
/// fields are among those of an HTTPRoute's rule, and mean the same.
pub(super) fn alike<T: DeserializeOwned>(part: &impl Serialize) -> T {
    let json = serde_json::to_value(part).expect("generated types are written as JSON");
    serde_json::from_value(json).expect("the types have the same fields, of the same types")
}

/// Filters and action of a rule; `prefix` is what replacePrefixMatch replaces, if anything.
pub(super) fn compile(
    context: &Context<'_, '_>,
    filters: &[FilterSpec],
    backends: &[BackendSpec<'_>],
    prefix: Option<&Path>,
    findings: &mut RuleFindings,
) -> (Vec<Filter>, HttpAction) {
    let parsed = filters::parse(context, filters, prefix, "filters", findings);
    if parsed.redirect.is_some() && !backends.is_empty() {
        let cause = "a rule that redirects forwards nothing; remove RequestRedirect or the backends";
        findings.fault("backendRefs", Reason::IncompatibleFilters, cause);
    }
    // Faults of single backends, found next, refuse those backends' shares only.
    let whole_rule = findings.is_faulty() || parsed.refused;
    let split = split(context, backends, prefix, findings);
    let action = match (parsed.redirect, split) {
        _ if whole_rule => HttpAction::Refuse(HttpRefusal::InvalidRule),
        (Some(redirect), _) => HttpAction::Redirect(redirect),
        (None, Some(split)) => HttpAction::Forward(split),
        (None, None) if backends.is_empty() => HttpAction::Refuse(HttpRefusal::NoBackend),
        (None, None) => HttpAction::Refuse(HttpRefusal::InvalidRule),
    };
    let refused = action == HttpAction::Refuse(HttpRefusal::InvalidRule);
    (if refused { Vec::new() } else { parsed.filters }, action)
}

/// None: there are no backends, or more than the tables hold.
fn split(
    context: &Context<'_, '_>,
    backends: &[BackendSpec<'_>],
    prefix: Option<&Path>,
    findings: &mut RuleFindings,
) -> Option<HttpSplit> {
    if backends.is_empty() {
        return None;
    }
    let compiled = backends.iter().enumerate().map(|(index, backend)| {
        let field = format!("backendRefs[{index}]");
        let (filters, target) = target(context, backend, prefix, &field, findings);
        HttpBackend { name: backend.reference.to_string(), weight: backend.reference.weight, filters, target }
    });
    let compiled = compiled.collect();
    findings.check("backendRefs", HttpSplit::new(compiled))
}

fn target(
    context: &Context<'_, '_>,
    backend: &BackendSpec<'_>,
    prefix: Option<&Path>,
    field: &str,
    findings: &mut RuleFindings,
) -> (Vec<Filter>, HttpTarget) {
    let upstream = backends::upstream(context, &backend.reference, context.kind, field, findings);
    let mut own = findings.part();
    let parsed = filters::parse(context, &backend.filters, prefix, &format!("{field}.filters"), &mut own);
    let invalid = own.is_faulty() || parsed.refused;
    findings.absorb(own);
    let target = match (upstream, parsed.redirect) {
        _ if invalid => return (Vec::new(), HttpTarget::Refuse(HttpRefusal::InvalidRule)),
        (None, _) => HttpTarget::Refuse(HttpRefusal::InvalidBackend),
        (Some(_), Some(redirect)) => HttpTarget::Redirect(redirect),
        (Some(upstream), None) => HttpTarget::Forward(upstream),
    };
    (parsed.filters, target)
}

impl Context<'_, '_> {
    pub(super) fn rule_name(&self, index: usize, name: Option<&str>) -> HttpRuleName {
        HttpRuleName {
            kind: self.kind,
            route: self.route.name.clone(),
            // The API allows 16 rules.
            rule: u16::try_from(index).unwrap_or(u16::MAX),
            name: name.map(str::to_owned),
        }
    }
}
