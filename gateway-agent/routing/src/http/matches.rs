//! Matches: paths, methods, headers, query parameters, gRPC services and methods.

use gateway_agent_api::grpc_route::{
    GrpcRouteRulesMatches, GrpcRouteRulesMatchesHeadersType as GrpcHeaderType, GrpcRouteRulesMatchesMethod,
    GrpcRouteRulesMatchesMethodType as GrpcMethodType,
};
use gateway_agent_api::http_route::{
    HttpRouteRulesMatches, HttpRouteRulesMatchesHeadersType as HeaderType, HttpRouteRulesMatchesMethod,
    HttpRouteRulesMatchesPath, HttpRouteRulesMatchesPathType as PathType,
    HttpRouteRulesMatchesQueryParams as QueryParam, HttpRouteRulesMatchesQueryParamsType as QueryType,
};
use gateway_agent_tables::http::{
    FieldName, FieldValue, GrpcMatch, GrpcName, GrpcNameMatch, HeaderMatch, HttpMatch, MethodName, Path,
    PathMatch, Pattern, QueryMatch, ValueMatch,
};

use super::findings::{RuleFindings, unknown};

/// How a value is compared.
#[derive(Clone, Copy, Debug)]
enum Comparison {
    Exact,
    RegularExpression,
}

/// The generated types of headers, query parameters and gRPC methods differ in name only.
macro_rules! comparison {
    ($types:ident, $written:expr) => {
        match $written {
            None | Some($types::Exact) => Ok(Comparison::Exact),
            Some($types::RegularExpression) => Ok(Comparison::RegularExpression),
            Some($types::Unknown(other)) => Err(unknown(other, "Exact or RegularExpression")),
        }
    };
}

/// The matches that could be read. No matches at all mean every request.
pub(super) fn http(matches: &[HttpRouteRulesMatches], findings: &mut RuleFindings) -> Vec<HttpMatch> {
    if matches.is_empty() {
        return vec![HttpMatch::any()];
    }
    let matches = matches.iter().enumerate();
    matches.filter_map(|(index, one)| http_match(one, &format!("matches[{index}]"), findings)).collect()
}

/// None: a part of it can't be read. All parts are looked at, so that all faults are told at once.
fn http_match(one: &HttpRouteRulesMatches, field: &str, findings: &mut RuleFindings) -> Option<HttpMatch> {
    let path = path(one.path.as_ref(), &format!("{field}.path"), findings);
    let method = match &one.method {
        None => Some(None),
        Some(method) => self::method(method, &format!("{field}.method"), findings).map(Some),
    };
    let headers = one.headers.iter().flatten().enumerate().map(|(index, header)| {
        let comparison = comparison!(HeaderType, &header.r#type);
        self::header(&header.name, &header.value, comparison, &format!("{field}.headers[{index}]"), findings)
    });
    let headers = all(headers).map(firsts);
    let query = one.query_params.iter().flatten().enumerate();
    let query =
        all(query.map(|(index, one)| parameter(one, &format!("{field}.queryParams[{index}]"), findings)));
    Some(HttpMatch { path: path?, method: method?, headers: headers?, query: query.map(first_parameters)? })
}

fn path(
    path: Option<&HttpRouteRulesMatchesPath>,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<PathMatch> {
    let value = path.and_then(|path| path.value.as_deref()).unwrap_or("/");
    match path.and_then(|path| path.r#type.as_ref()) {
        None | Some(PathType::PathPrefix) => findings.check(field, Path::parse(value)).map(PathMatch::Prefix),
        Some(PathType::Exact) => findings.check(field, Path::parse(value)).map(PathMatch::Exact),
        Some(PathType::RegularExpression) => {
            findings.check(field, Pattern::parse(value)).map(PathMatch::Pattern)
        }
        Some(PathType::Unknown(other)) => {
            let cause = unknown(other, "Exact, PathPrefix or RegularExpression");
            findings.unsupported(format!("{field}.type"), cause);
            None
        }
    }
}

fn method(
    method: &HttpRouteRulesMatchesMethod,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<MethodName> {
    use HttpRouteRulesMatchesMethod::{
        Connect, Delete, Get, Head, Options, Patch, Post, Put, Trace, Unknown,
    };
    let name = match method {
        Get => "GET",
        Head => "HEAD",
        Post => "POST",
        Put => "PUT",
        Delete => "DELETE",
        Connect => "CONNECT",
        Options => "OPTIONS",
        Trace => "TRACE",
        Patch => "PATCH",
        Unknown(other) => {
            let known = "GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE or PATCH";
            findings.unsupported(field, unknown(other, known));
            return None;
        }
    };
    findings.check(field, MethodName::parse(name))
}

fn header(
    name: &str,
    value: &str,
    comparison: Result<Comparison, String>,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<HeaderMatch> {
    let name = findings.check(format!("{field}.name"), FieldName::parse(name));
    let comparison = findings.check(format!("{field}.type"), comparison)?;
    let field = format!("{field}.value");
    let value = match comparison {
        Comparison::Exact => findings.check(field, FieldValue::parse(value)).map(ValueMatch::Exact),
        Comparison::RegularExpression => {
            findings.check(field, Pattern::parse(value)).map(ValueMatch::Pattern)
        }
    };
    Some(HeaderMatch { name: name?, value: value? })
}

fn parameter(one: &QueryParam, field: &str, findings: &mut RuleFindings) -> Option<QueryMatch> {
    let value = match findings.check(format!("{field}.type"), comparison!(QueryType, &one.r#type))? {
        Comparison::Exact => ValueMatch::Exact(one.value.clone()),
        Comparison::RegularExpression => {
            ValueMatch::Pattern(findings.check(format!("{field}.value"), Pattern::parse(&one.value))?)
        }
    };
    Some(QueryMatch { name: one.name.clone(), value })
}

/// Of entries with one name the first counts; names of headers have no case.
fn firsts(headers: Vec<HeaderMatch>) -> Vec<HeaderMatch> {
    let mut kept: Vec<HeaderMatch> = Vec::with_capacity(headers.len());
    for header in headers {
        if kept.iter().all(|one| one.name != header.name) {
            kept.push(header);
        }
    }
    kept
}

fn first_parameters(parameters: Vec<QueryMatch>) -> Vec<QueryMatch> {
    let mut kept: Vec<QueryMatch> = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        if kept.iter().all(|one| one.name != parameter.name) {
            kept.push(parameter);
        }
    }
    kept
}

/// All of them, or None if one is missing; goes on after the first that is, which collecting options would not.
fn all<T>(parts: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let parts: Vec<_> = parts.collect();
    parts.into_iter().collect()
}

/// The matches that could be read. No matches at all mean every gRPC request.
pub(super) fn grpc(matches: &[GrpcRouteRulesMatches], findings: &mut RuleFindings) -> Vec<GrpcMatch> {
    if matches.is_empty() {
        return vec![GrpcMatch::any()];
    }
    let matches = matches.iter().enumerate();
    matches.filter_map(|(index, one)| grpc_match(one, &format!("matches[{index}]"), findings)).collect()
}

fn grpc_match(one: &GrpcRouteRulesMatches, field: &str, findings: &mut RuleFindings) -> Option<GrpcMatch> {
    let names = match &one.method {
        None => Some((GrpcNameMatch::Any, GrpcNameMatch::Any)),
        Some(method) => grpc_names(method, &format!("{field}.method"), findings),
    };
    let headers = one.headers.iter().flatten().enumerate().map(|(index, header)| {
        let comparison = comparison!(GrpcHeaderType, &header.r#type);
        self::header(&header.name, &header.value, comparison, &format!("{field}.headers[{index}]"), findings)
    });
    let headers = all(headers).map(firsts);
    let (service, method) = names?;
    Some(GrpcMatch { service, method, headers: headers? })
}

/// Service and method; an empty name is one that wasn't given.
fn grpc_names(
    written: &GrpcRouteRulesMatchesMethod,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<(GrpcNameMatch, GrpcNameMatch)> {
    let comparison = findings.check(format!("{field}.type"), comparison!(GrpcMethodType, &written.r#type))?;
    let mut name = |text: Option<&str>, part: &str| match text.filter(|text| !text.is_empty()) {
        None => Some(GrpcNameMatch::Any),
        Some(text) => match comparison {
            Comparison::Exact => {
                findings.check(format!("{field}.{part}"), GrpcName::parse(text)).map(GrpcNameMatch::Exact)
            }
            Comparison::RegularExpression => {
                findings.check(format!("{field}.{part}"), Pattern::parse(text)).map(GrpcNameMatch::Pattern)
            }
        },
    };
    let (service, method) =
        (name(written.service.as_deref(), "service"), name(written.method.as_deref(), "method"));
    if (&service, &method) == (&Some(GrpcNameMatch::Any), &Some(GrpcNameMatch::Any)) {
        findings.unsupported(field, "it names neither service nor method; name one, or remove it");
        return None;
    }
    Some((service?, method?))
}
