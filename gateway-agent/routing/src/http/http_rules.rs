//! The rules of an HTTPRoute.

use std::sync::Arc;

use gateway_agent_api::http_route::HttpRouteRules;
use gateway_agent_tables::http::{HttpMatch, HttpRouteRule, HttpRule, Path, PathMatch};

use super::findings::{Findings, RuleFindings};
use super::{Context, action, matches, policy};
use crate::route::backend_ref;

/// Without rules the API's default counts: one that takes everything and leads nowhere.
pub(super) fn compile(
    context: &Context<'_, '_>,
    rules: Option<&[HttpRouteRules]>,
    findings: &mut Findings,
) -> Vec<HttpRouteRule<HttpMatch>> {
    let default = [HttpRouteRules::default()];
    let rules = rules.unwrap_or(&default);
    rules.iter().map(|rule| compile_rule(context, rule, findings.rule(rule.name.as_deref()))).collect()
}

fn compile_rule(
    context: &Context<'_, '_>,
    rule: &HttpRouteRules,
    findings: &mut RuleFindings,
) -> HttpRouteRule<HttpMatch> {
    let namespace = &context.route.name.namespace;
    let name = context.rule_name(findings.index(), rule.name.as_deref());
    let matches = matches::http(rule.matches.as_deref().unwrap_or_default(), findings);
    let timeouts = policy::timeouts(rule.timeouts.as_deref(), findings);
    let retry = policy::retry(rule.retry.as_deref(), findings).map(Box::new);
    let session =
        policy::session(rule.session_persistence.as_deref(), context, &name, findings).map(Box::new);
    let prefix = only_prefix(&matches, rule.matches.as_ref().map_or(0, Vec::len));
    let backends = rule.backend_refs.iter().flatten().map(|backend| action::BackendSpec {
        reference: backend_ref!(backend, namespace),
        filters: backend.filters.iter().flatten().map(action::alike).collect(),
    });
    let filters = rule.filters.as_deref().unwrap_or_default();
    let (filters, action) =
        action::compile(context, filters, &backends.collect::<Vec<_>>(), prefix, findings);
    HttpRouteRule { rule: Arc::new(HttpRule { name, filters, action, timeouts, retry, session }), matches }
}

/// The path that replacePrefixMatch replaces: a rule has to have one match, and that has to be a prefix.
fn only_prefix(matches: &[HttpMatch], written: usize) -> Option<&Path> {
    match matches {
        [HttpMatch { path: PathMatch::Prefix(path), .. }] if written <= 1 => Some(path),
        _ => None,
    }
}
