//! The rules of a GRPCRoute.

use std::sync::Arc;

use gateway_agent_api::grpc_route::GrpcRouteRules;
use gateway_agent_tables::http::{GrpcMatch, HttpRouteRule, HttpRule, Timeouts};

use super::findings::{Findings, RuleFindings};
use super::{Context, action, matches, policy};
use crate::route::backend_ref;

pub(super) fn compile(
    context: &Context<'_, '_>,
    rules: Option<&[GrpcRouteRules]>,
    findings: &mut Findings,
) -> Vec<HttpRouteRule<GrpcMatch>> {
    let rules = rules.unwrap_or_default().iter();
    rules.map(|rule| compile_rule(context, rule, findings.rule(rule.name.as_deref()))).collect()
}

fn compile_rule(
    context: &Context<'_, '_>,
    rule: &GrpcRouteRules,
    findings: &mut RuleFindings,
) -> HttpRouteRule<GrpcMatch> {
    let namespace = &context.route.name.namespace;
    let name = context.rule_name(findings.index(), rule.name.as_deref());
    let matches = matches::grpc(rule.matches.as_deref().unwrap_or_default(), findings);
    let session = rule.session_persistence.as_deref().map(action::alike);
    let session = policy::session(session.as_ref(), context, &name, findings).map(Box::new);
    let backends = rule.backend_refs.iter().flatten().map(|backend| action::BackendSpec {
        reference: backend_ref!(backend, namespace),
        filters: backend.filters.iter().flatten().map(action::alike).collect(),
    });
    let filters: Vec<_> = rule.filters.iter().flatten().map(action::alike).collect();
    let (filters, action) = action::compile(context, &filters, &backends.collect::<Vec<_>>(), None, findings);
    let rule = HttpRule { name, filters, action, timeouts: Timeouts::default(), retry: None, session };
    HttpRouteRule { rule: Arc::new(rule), matches }
}
