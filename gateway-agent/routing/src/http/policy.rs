//! Time-outs, retries and session persistence.

use std::num::NonZeroU32;
use std::time::Duration;

use gateway_agent_api::http_route::{
    HttpRouteRulesRetry as RetrySpec, HttpRouteRulesSessionPersistence as SessionSpec,
    HttpRouteRulesSessionPersistenceCookie as CookieSpec,
    HttpRouteRulesSessionPersistenceCookieLifetimeType as LifetimeType,
    HttpRouteRulesSessionPersistenceType as SessionType, HttpRouteRulesTimeouts as TimeoutsSpec,
};
use gateway_agent_tables::http::{
    CookieLifetime, FieldName, HttpRuleName, Path, Retry, RetryCode, SessionKey, SessionPersistence,
    SessionToken, Timeout, Timeouts,
};
use sha2::{Digest as _, Sha256};

use super::Context;
use super::findings::{RuleFindings, unknown};
use crate::duration::duration;

pub(super) fn timeouts(timeouts: Option<&TimeoutsSpec>, findings: &mut RuleFindings) -> Timeouts {
    let Some(TimeoutsSpec { request, backend_request }) = timeouts else { return Timeouts::default() };
    let mut timeout = |text: Option<&str>, field: &str| match text {
        None => Timeout::Default,
        Some(text) => match findings.check(field, duration(text)) {
            None => Timeout::Default,
            Some(Duration::ZERO) => Timeout::Never,
            Some(duration) => Timeout::After(duration),
        },
    };
    let request = timeout(request.as_deref(), "timeouts.request");
    let backend_request = timeout(backend_request.as_deref(), "timeouts.backendRequest");
    if let (Timeout::After(request), Timeout::After(one)) = (request, backend_request)
        && one > request
    {
        let cause = "it is longer than timeouts.request, which ends every try; shorten it";
        findings.unsupported("timeouts.backendRequest", cause);
    }
    Timeouts { request, backend_request }
}

/// None: no retries are wanted, or what is wanted can't be read.
pub(super) fn retry(retry: Option<&RetrySpec>, findings: &mut RuleFindings) -> Option<Retry> {
    let RetrySpec { codes, attempts, backoff } = retry?;
    let codes = codes.iter().flatten().enumerate().map(|(index, code)| {
        let parsed = u16::try_from(*code).ok().and_then(|code| RetryCode::new(code).ok());
        let parsed = parsed.ok_or_else(|| format!("{code} is no code to retry on; use 400 to 599"));
        findings.check(format!("retry.codes[{index}]"), parsed)
    });
    let codes: Vec<_> = codes.collect();
    // 1: the API's default.
    let attempts = attempts.unwrap_or(1);
    let attempts =
        u32::try_from(attempts).map_err(|_| format!("{attempts} is no number of retries; use 0 or more"));
    let attempts = findings.check("retry.attempts", attempts);
    let backoff = backoff.as_deref().map(|text| findings.check("retry.backoff", duration(text)));
    let backoff = match backoff {
        None => Some(None),
        Some(backoff) => backoff.map(Some),
    };
    Some(Retry {
        codes: codes.into_iter().collect::<Option<_>>()?,
        attempts: attempts.and_then(NonZeroU32::new)?,
        backoff: backoff?,
    })
}

pub(super) fn session(
    session: Option<&SessionSpec>,
    context: &Context<'_, '_>,
    rule: &HttpRuleName,
    findings: &mut RuleFindings,
) -> Option<SessionPersistence> {
    let SessionSpec { absolute_timeout, cookie, header, r#type } = session?;
    let absolute_timeout = match absolute_timeout {
        None => None,
        Some(text) => Some(findings.check("sessionPersistence.absoluteTimeout", duration(text))?),
    };
    let token = match r#type {
        None | Some(SessionType::Cookie) => self::cookie(cookie.as_ref(), absolute_timeout, rule, findings)?,
        Some(SessionType::Header) => {
            let Some(header) = header else {
                let cause = "type Header needs the field header; add it";
                findings.unsupported("sessionPersistence", cause);
                return None;
            };
            let field = "sessionPersistence.header.name";
            let name = findings.check(field, FieldName::parse(&header.name))?;
            if name.is_of_the_connection() {
                findings.unsupported(field, format!("{name} belongs to the connection; use another header"));
                return None;
            }
            SessionToken::Header(name)
        }
        Some(SessionType::Unknown(other)) => {
            findings.unsupported("sessionPersistence.type", unknown(other, "Cookie or Header"));
            return None;
        }
    };
    let uid = context.route.metadata.uid.as_deref().unwrap_or_default();
    Some(SessionPersistence { token, key: key(rule, uid), absolute_timeout })
}

fn cookie(
    cookie: Option<&CookieSpec>,
    absolute_timeout: Option<Duration>,
    rule: &HttpRuleName,
    findings: &mut RuleFindings,
) -> Option<SessionToken> {
    let default = CookieSpec::default();
    let CookieSpec { lifetime_type, name, path } = cookie.unwrap_or(&default);
    let name = match name {
        None => Some(cookie_name(rule)),
        // A cookie's name has the characters of a header's.
        Some(name) => {
            let parsed = FieldName::parse(name).map(|_| name.clone());
            let parsed =
                parsed.map_err(|_| format!("{name:?} is no name for a cookie; use letters, digits, - and _"));
            findings.check("sessionPersistence.cookie.name", parsed)
        }
    };
    let path = path.as_deref().map_or_else(|| Ok(Path::root()), Path::parse);
    let path = findings.check("sessionPersistence.cookie.path", path);
    let lifetime = match (lifetime_type, absolute_timeout) {
        (None | Some(LifetimeType::Session), _) => Some(CookieLifetime::Session),
        (Some(LifetimeType::Permanent), Some(lifetime)) => Some(CookieLifetime::Permanent(lifetime)),
        (Some(LifetimeType::Permanent), None) => {
            let cause = "a permanent cookie needs sessionPersistence.absoluteTimeout; add it";
            findings.unsupported("sessionPersistence.cookie.lifetimeType", cause);
            None
        }
        (Some(LifetimeType::Unknown(other)), _) => {
            let field = "sessionPersistence.cookie.lifetimeType";
            findings.unsupported(field, unknown(other, "Session or Permanent"));
            None
        }
    };
    Some(SessionToken::Cookie { name: name?, path: path?, lifetime: lifetime? })
}

/// The same on every node and for every version of the rule, and no other rule's.
fn cookie_name(rule: &HttpRuleName) -> String {
    let text = identity(rule);
    // FNV-1a, 64 bits: short, and says nothing of namespaces to clients.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("session-{hash:016x}")
}

/// What seals the tokens of a rule. A cluster's clients don't see the route's uid, which is random; an object from a file
/// has none, so there whoever knows the route's name can read the addresses of its endpoints from tokens.
fn key(rule: &HttpRuleName, uid: &str) -> SessionKey {
    SessionKey(Sha256::digest([&identity(rule), uid].join("\0")).into())
}

/// A rule with a name stays the same wherever it stands.
fn identity(HttpRuleName { kind, route, rule, name }: &HttpRuleName) -> String {
    match name {
        Some(name) => format!("{kind} {route}/{name}"),
        None => format!("{kind} {route}/{rule}"),
    }
}
