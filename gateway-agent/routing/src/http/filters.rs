//! Filters of rules and of backends.

use std::num::NonZeroU32;

use gateway_agent_api::http_route::{
    HttpRouteRulesFilters as FilterSpec, HttpRouteRulesFiltersRequestMirror as MirrorSpec,
    HttpRouteRulesFiltersType as FilterType, HttpRouteRulesFiltersUrlRewrite as RewriteSpec,
};
use gateway_agent_tables::http::{
    FieldName, FieldValue, Filter, Fraction, HeaderEdits, Hostname, HttpRouteKind, Mirror, Path, Redirect,
    UrlRewrite,
};

use super::findings::{Reason, RuleFindings, unknown};
use super::{Context, auth, backends, cors, redirect};
use crate::backend::Unresolved;
use crate::route::object_ref;

/// The filters of a rule or backend, in order.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) filters: Vec<Filter>,
    pub(super) redirect: Option<Redirect>,
    /// A filter that must not be skipped can't be executed, though nothing is wrong with its values.
    pub(super) refused: bool,
}

/// What filters may be, by kind of route.
const OF_HTTP: &str = "RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, RequestRedirect, URLRewrite, CORS or \
                       ExternalAuth";
const OF_GRPC: &str = "RequestHeaderModifier, ResponseHeaderModifier or RequestMirror";

pub(super) fn parse(
    context: &Context<'_, '_>,
    filters: &[FilterSpec],
    prefix: Option<&Path>,
    field: &str,
    findings: &mut RuleFindings,
) -> Parsed {
    judge_combination(filters, field, findings);
    let mut parsed = Parsed::default();
    for (index, filter) in filters.iter().enumerate() {
        let field = format!("{field}[{index}]");
        parse_one(context, filter, prefix, &field, findings, &mut parsed);
    }
    parsed
}

/// Only mirrors and extensions may be repeated, and a redirect leaves nothing to rewrite.
fn judge_combination(filters: &[FilterSpec], field: &str, findings: &mut RuleFindings) {
    for (index, filter) in filters.iter().enumerate() {
        let repeatable = matches!(
            filter.r#type,
            FilterType::RequestMirror | FilterType::ExtensionRef | FilterType::Unknown(_)
        );
        if !repeatable && filters[..index].iter().any(|earlier| earlier.r#type == filter.r#type) {
            let cause = "there is another filter of this type; merge the two";
            findings.fault(format!("{field}[{index}].type"), Reason::IncompatibleFilters, cause);
        }
    }
    let has = |wanted| filters.iter().any(|filter| filter.r#type == wanted);
    if has(FilterType::RequestRedirect) && has(FilterType::UrlRewrite) {
        let cause = "RequestRedirect and URLRewrite exclude each other; remove one of them";
        findings.fault(field, Reason::IncompatibleFilters, cause);
    }
}

fn parse_one(
    context: &Context<'_, '_>,
    filter: &FilterSpec,
    prefix: Option<&Path>,
    field: &str,
    findings: &mut RuleFindings,
    parsed: &mut Parsed,
) {
    /// The part of the filter that belongs to its type.
    macro_rules! part {
        ($name:ident, $written:literal) => {{
            let Some(part) = &filter.$name else {
                let cause = concat!("a filter of this type needs the field ", $written, "; add it");
                return findings.unsupported(field, cause);
            };
            (part, format!(concat!("{}.", $written), field))
        }};
    }
    let made = match (&filter.r#type, context.kind) {
        (FilterType::RequestHeaderModifier, _) => {
            let (part, field) = part!(request_header_modifier, "requestHeaderModifier");
            header_edits!(part, &field, findings).map(Filter::RequestHeaders)
        }
        (FilterType::ResponseHeaderModifier, _) => {
            let (part, field) = part!(response_header_modifier, "responseHeaderModifier");
            header_edits!(part, &field, findings).map(Filter::ResponseHeaders)
        }
        (FilterType::RequestMirror, _) => {
            let (part, field) = part!(request_mirror, "requestMirror");
            mirror(context, part, &field, findings).map(Filter::Mirror)
        }
        (FilterType::RequestRedirect, HttpRouteKind::Http) => {
            let (part, field) = part!(request_redirect, "requestRedirect");
            parsed.redirect = redirect::parse(part, prefix, &field, findings);
            None
        }
        (FilterType::UrlRewrite, HttpRouteKind::Http) => {
            let (part, field) = part!(url_rewrite, "urlRewrite");
            rewrite(part, prefix, &field, findings).map(Filter::Rewrite)
        }
        (FilterType::Cors, HttpRouteKind::Http) => {
            let (part, field) = part!(cors, "cors");
            cors::parse(part, &field, findings).map(Filter::Cors)
        }
        (FilterType::ExternalAuth, HttpRouteKind::Http) => {
            let (part, field) = part!(external_auth, "externalAuth");
            let auth = auth::parse(context, part, &field, findings);
            parsed.refused |= auth.is_none();
            auth.map(Filter::ExternalAuth)
        }
        (FilterType::ExtensionRef, _) => {
            let (part, field) = part!(extension_ref, "extensionRef");
            let message = format!(
                "{}/{} {} is of a kind that is no filter here; remove it, as requests that would pass it get status 500",
                part.group, part.kind, part.name
            );
            findings.reference::<()>(field, Err(Unresolved { reason: "InvalidKind", message }));
            parsed.refused = true;
            None
        }
        (other, kind) => {
            let known = if kind == HttpRouteKind::Http { OF_HTTP } else { OF_GRPC };
            findings.unsupported(format!("{field}.type"), unknown(&type_name(other), known));
            None
        }
    };
    parsed.filters.extend(made);
}

/// As the API spells it.
fn type_name(filter: &FilterType) -> String {
    match serde_json::to_value(filter) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{filter:?}"),
    }
}

/// The generated types of both header modifiers differ in name only.
macro_rules! header_edits {
    ($modifier:expr, $field:expr, $findings:expr) => {{
        let set = $modifier.set.iter().flatten().map(|it| (it.name.as_str(), it.value.as_str()));
        let add = $modifier.add.iter().flatten().map(|it| (it.name.as_str(), it.value.as_str()));
        let remove = $modifier.remove.iter().flatten();
        edits(set, add, remove, $field, $findings)
    }};
}
use header_edits;

fn edits<'a>(
    set: impl Iterator<Item = (&'a str, &'a str)>,
    add: impl Iterator<Item = (&'a str, &'a str)>,
    remove: impl Iterator<Item = &'a String>,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<HeaderEdits> {
    let set = fields(set, &format!("{field}.set"), findings);
    let add = fields(add, &format!("{field}.add"), findings);
    let remove = names(remove.map(String::as_str), &format!("{field}.remove"), findings);
    findings.check(field, HeaderEdits::new(set?, add?, remove?))
}

fn fields<'a>(
    fields: impl Iterator<Item = (&'a str, &'a str)>,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<Vec<(FieldName, FieldValue)>> {
    let parsed: Vec<_> = fields
        .enumerate()
        .map(|(index, (name, value))| {
            let name = findings.check(format!("{field}[{index}].name"), FieldName::parse(name));
            let value = findings.check(format!("{field}[{index}].value"), FieldValue::parse(value));
            name.zip(value)
        })
        .collect();
    parsed.into_iter().collect()
}

/// Names of headers; None if one of them isn't one.
pub(super) fn names<'a>(
    names: impl Iterator<Item = &'a str>,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<Vec<FieldName>> {
    let names = names.enumerate();
    let parsed: Vec<_> = names
        .map(|(index, name)| findings.check(format!("{field}[{index}]"), FieldName::parse(name)))
        .collect();
    parsed.into_iter().collect()
}

/// A mirror whose backend can't be found is left out: the request itself goes on.
fn mirror(
    context: &Context<'_, '_>,
    mirror: &MirrorSpec,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<Mirror> {
    let share = share(mirror, field, findings);
    let reference = object_ref!(&mirror.backend_ref, &context.route.name.namespace);
    let upstream =
        backends::upstream(context, &reference, context.kind, &format!("{field}.backendRef"), findings);
    Some(Mirror { upstream: upstream?, share: share? })
}

fn share(mirror: &MirrorSpec, field: &str, findings: &mut RuleFindings) -> Option<Fraction> {
    let (numerator, denominator) = match (mirror.percent, &mirror.fraction) {
        (None, None) => return Some(Fraction::ALL),
        (Some(percent), None) => (percent, 100),
        // 100: the API's default.
        (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        (Some(_), Some(_)) => {
            findings.unsupported(field, "percent and fraction exclude each other; remove one of them");
            return None;
        }
    };
    let whole = u32::try_from(numerator).ok().zip(u32::try_from(denominator).ok().and_then(NonZeroU32::new));
    let Some((numerator, denominator)) = whole else {
        findings.unsupported(
            field,
            format!("{numerator} of {denominator} is no share; use 0 or more of 1 or more"),
        );
        return None;
    };
    findings.check(field, Fraction::new(numerator, denominator))
}

fn rewrite(
    rewrite: &RewriteSpec,
    prefix: Option<&Path>,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<UrlRewrite> {
    let hostname = match &rewrite.hostname {
        None => Some(None),
        Some(name) => findings.check(format!("{field}.hostname"), Hostname::parse(name)).map(Some),
    };
    let path = match &rewrite.path {
        None => Some(None),
        Some(path) => redirect::path_rewrite!(
            gateway_agent_api::http_route::HttpRouteRulesFiltersUrlRewritePathType,
            path,
            prefix,
            &format!("{field}.path"),
            findings
        )
        .map(Some),
    };
    Some(UrlRewrite { hostname: hostname?, path: path? })
}
