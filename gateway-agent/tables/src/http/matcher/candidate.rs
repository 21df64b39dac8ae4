//! One match of a rule, and the conditions that no index answers.

use std::sync::Arc;

use super::explain::Unmet;
use super::head::{RequestFields, RequestHead};
use crate::ObjectName;
use crate::http::precedence::AlphabeticalName;
use crate::http::{
    FieldValue, GrpcMatch, GrpcNameMatch, HeaderMatch, HttpMatch, HttpRoute, HttpRule, MatchPlace,
    MatchPrecedence, QueryMatch, ValueMatch,
};

/// A match of a rule that a request may meet once an index has found it.
#[derive(Debug)]
pub(super) struct Candidate<M> {
    rule: Arc<HttpRule>,
    /// None: the index asks for everything that the match wants, so that nothing else has to be read.
    conditions: Option<Conditions<M>>,
}

/// The match itself, by its place in its route.
#[derive(Debug)]
struct Conditions<M> {
    route: Arc<HttpRoute<M>>,
    rule: usize,
    index: usize,
}

/// What both kinds of matches have in common.
pub(super) trait Matched {
    fn precedence<'a>(&self, place: MatchPlace<'a>) -> MatchPrecedence<'a>;

    /// Whether host, and path or service and method, are all that is asked for, and a hash finds those.
    fn is_indexed(&self) -> bool;
}

/// The matches of a route, with their precedence.
pub(super) fn of<'a, M: Matched>(
    name: &'a ObjectName,
    route: &'a Arc<HttpRoute<M>>,
) -> impl Iterator<Item = (MatchPrecedence<'a>, &'a M, Candidate<M>)> {
    route.rules.iter().enumerate().flat_map(move |(rule, of_rule)| {
        of_rule.matches.iter().enumerate().map(move |(index, matched)| {
            let place = MatchPlace { age: route.age, route: AlphabeticalName(name), rule, index };
            let conditions =
                (!matched.is_indexed()).then(|| Conditions { route: Arc::clone(route), rule, index });
            (matched.precedence(place), matched, Candidate { rule: Arc::clone(&of_rule.rule), conditions })
        })
    })
}

impl<M> Candidate<M> {
    pub(super) fn rule(&self) -> &Arc<HttpRule> {
        &self.rule
    }

    fn conditions(&self) -> Option<&M> {
        let Conditions { route, rule, index } = self.conditions.as_ref()?;
        Some(&route.rules[*rule].matches[*index])
    }
}

impl Candidate<HttpMatch> {
    /// Whether a request that has the path meets the rest.
    pub(super) fn meets<F: RequestFields>(&self, head: &RequestHead<'_, F>) -> bool {
        self.conditions().is_none_or(|matched| unmet_http(matched, head).is_none())
    }
}

impl Candidate<GrpcMatch> {
    pub(super) fn meets<F: RequestFields>(
        &self,
        service: &str,
        method: &str,
        head: &RequestHead<'_, F>,
    ) -> bool {
        self.conditions().is_none_or(|matched| unmet_grpc(matched, service, method, head).is_none())
    }
}

impl Matched for HttpMatch {
    fn precedence<'a>(&self, place: MatchPlace<'a>) -> MatchPrecedence<'a> {
        MatchPrecedence::http(self, place)
    }

    fn is_indexed(&self) -> bool {
        self.method.is_none() && self.headers.is_empty() && self.query.is_empty()
    }
}

impl Matched for GrpcMatch {
    fn precedence<'a>(&self, place: MatchPlace<'a>) -> MatchPrecedence<'a> {
        MatchPrecedence::grpc(self, place)
    }

    fn is_indexed(&self) -> bool {
        let by_hash = |name: &GrpcNameMatch| !matches!(name, GrpcNameMatch::Pattern(_));
        by_hash(&self.service) && by_hash(&self.method) && self.headers.is_empty()
    }
}

/// The first condition, but for the path, that a request doesn't meet.
pub(super) fn unmet_http<'m, F: RequestFields>(
    HttpMatch { path: _, method, headers, query }: &'m HttpMatch,
    head: &RequestHead<'_, F>,
) -> Option<Unmet<'m>> {
    if method.as_ref().is_some_and(|method| method.method() != head.method) {
        return Some(Unmet::Method);
    }
    let header = headers.iter().find(|header| !has_header(header, head)).map(Unmet::Header);
    header.or_else(|| query.iter().find(|parameter| !has_parameter(parameter, head)).map(Unmet::Query))
}

/// The first condition that a call of this service and method doesn't meet.
pub(super) fn unmet_grpc<'m, F: RequestFields>(
    matched: &'m GrpcMatch,
    service: &str,
    method: &str,
    head: &RequestHead<'_, F>,
) -> Option<Unmet<'m>> {
    if !is_name(&matched.service, service) {
        return Some(Unmet::GrpcService);
    }
    if !is_name(&matched.method, method) {
        return Some(Unmet::GrpcMethod);
    }
    matched.headers.iter().find(|header| !has_header(header, head)).map(Unmet::Header)
}

fn is_name(wanted: &GrpcNameMatch, name: &str) -> bool {
    match wanted {
        GrpcNameMatch::Any => true,
        GrpcNameMatch::Exact(exact) => exact.as_str() == name,
        GrpcNameMatch::Pattern(pattern) => pattern.matches(name.as_bytes()),
    }
}

fn has_header<F: RequestFields>(wanted: &HeaderMatch, head: &RequestHead<'_, F>) -> bool {
    let mut values = head.fields.values(wanted.name.header_name());
    let Some(first) = values.next() else { return false };
    let Some(second) = values.next() else { return is_value(&wanted.value, first) };
    // Lines of one name are one value (RFC 9110, 5.3).
    let mut joined = [first, second].join(&b", "[..]);
    for further in values {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(further);
    }
    is_value(&wanted.value, &joined)
}

fn is_value(wanted: &ValueMatch<FieldValue>, value: &[u8]) -> bool {
    match wanted {
        ValueMatch::Exact(exact) => exact.as_bytes() == value,
        ValueMatch::Pattern(pattern) => pattern.matches(value),
    }
}

fn has_parameter<F>(wanted: &QueryMatch, head: &RequestHead<'_, F>) -> bool {
    let value = head.parameter(&wanted.name);
    value.is_some_and(|value| match &wanted.value {
        ValueMatch::Exact(exact) => *exact == value,
        ValueMatch::Pattern(pattern) => pattern.matches(value.as_bytes()),
    })
}
