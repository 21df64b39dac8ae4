//! Redirects, and the new paths that redirects and rewrites have in common.

use std::num::NonZeroU16;

use gateway_agent_api::http_route::{
    HttpRouteRulesFiltersRequestRedirect as RedirectSpec,
    HttpRouteRulesFiltersRequestRedirectPathType as PathType,
    HttpRouteRulesFiltersRequestRedirectScheme as SchemeSpec,
};
use gateway_agent_tables::http::{Hostname, Path, PathRewrite, Redirect, RedirectStatus, Scheme};

use super::findings::{RuleFindings, unknown};

pub(super) fn parse(
    redirect: &RedirectSpec,
    prefix: Option<&Path>,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<Redirect> {
    let scheme = match &redirect.scheme {
        None => Some(None),
        Some(scheme) => self::scheme(scheme, &format!("{field}.scheme"), findings).map(Some),
    };
    let hostname = match &redirect.hostname {
        None => Some(None),
        Some(name) => findings.check(format!("{field}.hostname"), Hostname::parse(name)).map(Some),
    };
    let path = match &redirect.path {
        None => Some(None),
        Some(path) => path_rewrite!(PathType, path, prefix, &format!("{field}.path"), findings).map(Some),
    };
    let port = match redirect.port {
        None => Some(None),
        Some(port) => {
            let parsed = u16::try_from(port).ok().and_then(NonZeroU16::new);
            let parsed = parsed.ok_or_else(|| format!("{port} is no port; use 1 to 65535"));
            findings.check(format!("{field}.port"), parsed).map(Some)
        }
    };
    // 302: the API's default.
    let code = redirect.status_code.unwrap_or(302);
    let status = RedirectStatus::parse(code)
        .ok_or_else(|| format!("{code} is not supported; use 301, 302, 303, 307 or 308"));
    let status = findings.check(format!("{field}.statusCode"), status);
    Some(Redirect { scheme: scheme?, hostname: hostname?, path: path?, port: port?, status: status? })
}

fn scheme(scheme: &SchemeSpec, field: &str, findings: &mut RuleFindings) -> Option<Scheme> {
    match scheme {
        SchemeSpec::Http => Some(Scheme::Http),
        SchemeSpec::Https => Some(Scheme::Https),
        SchemeSpec::Unknown(other) => {
            findings.unsupported(field, unknown(other, "http or https"));
            None
        }
    }
}

/// The generated types of a redirect's and a rewrite's path differ in name only.
macro_rules! path_rewrite {
    ($types:path, $path:expr, $prefix:expr, $field:expr, $findings:expr) => {{
        use $types as Types;
        let path = $path;
        let modifier = match &path.r#type {
            Types::ReplaceFullPath => {
                Ok($crate::http::redirect::Modifier::Full(path.replace_full_path.as_deref()))
            }
            Types::ReplacePrefixMatch => {
                Ok($crate::http::redirect::Modifier::Prefix(path.replace_prefix_match.as_deref()))
            }
            Types::Unknown(other) => Err(other.as_str()),
        };
        $crate::http::redirect::replaced(modifier, $prefix, $field, $findings)
    }};
}
pub(super) use path_rewrite;

/// How a path is replaced, with the field that belongs to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Modifier<'a> {
    Full(Option<&'a str>),
    Prefix(Option<&'a str>),
}

/// `modifier` is the type's name if that isn't known.
pub(super) fn replaced(
    modifier: Result<Modifier<'_>, &str>,
    prefix: Option<&Path>,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<PathRewrite> {
    match modifier {
        Err(other) => {
            findings.unsupported(
                format!("{field}.type"),
                unknown(other, "ReplaceFullPath or ReplacePrefixMatch"),
            );
            None
        }
        Ok(Modifier::Full(None)) => {
            findings.unsupported(field, "type ReplaceFullPath needs the field replaceFullPath; add it");
            None
        }
        Ok(Modifier::Prefix(None)) => {
            findings.unsupported(field, "type ReplacePrefixMatch needs the field replacePrefixMatch; add it");
            None
        }
        Ok(Modifier::Full(Some(path))) => {
            findings.check(format!("{field}.replaceFullPath"), replacement(path)).map(PathRewrite::Full)
        }
        Ok(Modifier::Prefix(Some(path))) => {
            let Some(matched) = prefix else {
                let cause = "ReplacePrefixMatch needs a rule with one match, of type PathPrefix; change the matches, or \
                             use ReplaceFullPath";
                findings.unsupported(field, cause);
                return None;
            };
            let replacement = findings.check(format!("{field}.replacePrefixMatch"), replacement(path))?;
            Some(PathRewrite::Prefix { matched: matched.clone(), replacement })
        }
    }
}

/// The API lets it be empty, which means the root.
fn replacement(path: &str) -> Result<Path, gateway_agent_tables::http::InvalidPath> {
    if path.is_empty() { Ok(Path::root()) } else { Path::parse(path) }
}
