//! Cross-origin requests (the Fetch standard, 3.2): preflight requests are answered here, responses get their fields.

use gateway_agent_tables::http::{AllowList, Cors};
use http::Method;

use crate::h1::Fields;

const VARY: &str = "Vary";
const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
const ALLOW_METHODS: &str = "Access-Control-Allow-Methods";
const ALLOW_HEADERS: &str = "Access-Control-Allow-Headers";
const EXPOSE_HEADERS: &str = "Access-Control-Expose-Headers";
const MAX_AGE: &str = "Access-Control-Max-Age";
const REQUEST_METHOD: &str = "Access-Control-Request-Method";
const REQUEST_HEADERS: &str = "Access-Control-Request-Headers";

/// The fields of a response that say who may read it. They replace whatever the endpoint says, also where there are none:
/// the filter decides alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsAnswer {
    fields: Vec<(&'static str, Vec<u8>)>,
}

/// Whether a browser asks what it may send.
pub fn is_preflight(method: &Method, fields: &Fields<'_>) -> bool {
    method == Method::OPTIONS && fields.first("Origin").is_some() && fields.first(REQUEST_METHOD).is_some()
}

/// The method that a preflight request asks about; None: it isn't one, or asks about none that there could be.
pub fn asked_method(method: &Method, fields: &Fields<'_>) -> Option<Method> {
    let asked = is_preflight(method, fields).then(|| fields.first(REQUEST_METHOD))??;
    Method::from_bytes(asked).ok()
}

/// The answer to a preflight request; None: its origin is not allowed.
pub fn preflight(cors: &Cors, fields: &Fields<'_>) -> Option<CorsAnswer> {
    let mut answer = CorsAnswer::of(cors, fields);
    if answer.fields.is_empty() {
        return None;
    }
    let asked = |name| fields.first(name).unwrap_or_default();
    answer.allow(ALLOW_METHODS, listed(&cors.allow_methods, asked(REQUEST_METHOD)));
    answer.allow(ALLOW_HEADERS, listed(&cors.allow_headers, asked(REQUEST_HEADERS)));
    answer.allow(MAX_AGE, cors.max_age.to_string().into_bytes());
    Some(answer)
}

impl CorsAnswer {
    /// Of the response to a request with these fields. It has none if the request comes from no origin, or from one that
    /// may not read it.
    pub fn of(cors: &Cors, fields: &Fields<'_>) -> Self {
        let mut answer = Self::default();
        let origin = fields.first("Origin").and_then(|origin| std::str::from_utf8(origin).ok());
        let Some(origin) = origin.filter(|origin| cors.allows_origin(origin)) else { return answer };
        answer.allow(ALLOW_ORIGIN, origin.as_bytes().to_vec());
        if cors.allow_credentials {
            answer.allow(ALLOW_CREDENTIALS, b"true".to_vec());
        }
        // With credentials `*` is the name of a field, not all of them.
        let all: &[u8] = if cors.allow_credentials { b"" } else { b"*" };
        answer.allow(EXPOSE_HEADERS, listed(&cors.expose_headers, all));
        answer
    }

    pub fn apply<'a>(&'a self, fields: &mut Fields<'a>) {
        const OF_ENDPOINTS: [&str; 6] =
            [ALLOW_ORIGIN, ALLOW_CREDENTIALS, ALLOW_METHODS, ALLOW_HEADERS, EXPOSE_HEADERS, MAX_AGE];
        for name in OF_ENDPOINTS {
            fields.remove(name);
        }
        for (name, value) in &self.fields {
            fields.push(name, value);
        }
        // Caches must not give the answer to another origin, nor to this one what others got (Fetch, "CORS protocol and
        // HTTP caches").
        let named = |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(b"Origin");
        if !fields
            .iter()
            .any(|field| field.name.eq_ignore_ascii_case(VARY) && members(field.value).any(named))
        {
            fields.push(VARY, b"Origin");
        }
    }

    fn allow(&mut self, name: &'static str, value: Vec<u8>) {
        if !value.is_empty() {
            self.fields.push((name, value));
        }
    }
}

/// The list as text; where it holds all, what was asked for.
fn listed<T: ToString>(list: &AllowList<T>, asked: &[u8]) -> Vec<u8> {
    match list {
        AllowList::All => asked.to_vec(),
        AllowList::These(names) => {
            names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ").into_bytes()
        }
    }
}

/// Of a field's list (RFC 9110, 5.6.1).
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}
