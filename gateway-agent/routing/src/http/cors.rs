//! The CORS filter.

use std::num::NonZeroU32;

use gateway_agent_api::http_route::HttpRouteRulesFiltersCors as CorsSpec;
use gateway_agent_tables::http::{AllowList, Cors, FieldName, InvalidField, MethodName, Origin};

use super::findings::RuleFindings;

pub(super) fn parse(cors: &CorsSpec, field: &str, findings: &mut RuleFindings) -> Option<Cors> {
    let origins = cors.allow_origins.iter().flatten().enumerate();
    let origins: Vec<_> = origins
        .map(|(index, origin)| {
            findings.check(format!("{field}.allowOrigins[{index}]"), Origin::parse(origin))
        })
        .collect();
    let methods =
        list(cors.allow_methods.as_deref(), MethodName::parse, &format!("{field}.allowMethods"), findings);
    let headers =
        list(cors.allow_headers.as_deref(), FieldName::parse, &format!("{field}.allowHeaders"), findings);
    let exposed =
        list(cors.expose_headers.as_deref(), FieldName::parse, &format!("{field}.exposeHeaders"), findings);
    let max_age = match cors.max_age {
        None => Some(Cors::DEFAULT_MAX_AGE),
        Some(seconds) => {
            let parsed = u32::try_from(seconds).ok().and_then(NonZeroU32::new);
            let parsed = parsed.ok_or_else(|| format!("{seconds} seconds are too few; use 1 or more"));
            findings.check(format!("{field}.maxAge"), parsed)
        }
    };
    Some(Cors {
        allow_origins: origins.into_iter().collect::<Option<_>>()?,
        allow_credentials: cors.allow_credentials.unwrap_or_default(),
        allow_methods: methods?,
        allow_headers: headers?,
        expose_headers: exposed?,
        max_age: max_age?,
    })
}

fn list<T>(
    entries: Option<&[String]>,
    parse: impl Fn(&str) -> Result<T, InvalidField>,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<AllowList<T>> {
    let entries = entries.unwrap_or_default();
    if entries.iter().any(|entry| entry == "*") {
        return Some(AllowList::All);
    }
    let entries = entries.iter().enumerate();
    let parsed: Vec<_> =
        entries.map(|(index, entry)| findings.check(format!("{field}[{index}]"), parse(entry))).collect();
    parsed.into_iter().collect::<Option<_>>().map(AllowList::These)
}
