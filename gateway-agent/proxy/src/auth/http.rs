//! Services that are asked by HTTP: a request with the client's method and path, which 200 allows.

use gateway_agent_tables::http::{FieldName, FieldValue, Path};
use http::StatusCode;

use super::About;
use super::call::{Answer, CallError};
use super::verdict::{Denial, Edits, Grant, Verdict, may_change};
use crate::h1::{
    AnswerTo, Field, Fields, Framing, HeadLimits, Offers, RequestLine, ResponseHead, write_request_head,
};

/// What is always sent, beside the method, the path, Host and Content-Length.
const AUTHORIZATION: &str = "authorization";

pub(super) fn question(
    about: &About<'_>,
    prefix: Option<&Path>,
    request_headers: &[FieldName],
) -> (Vec<u8>, AnswerTo) {
    let head = about.head;
    let is_named = |field: &&Field<'_>| {
        let mut names = request_headers.iter().map(FieldName::as_str).chain([AUTHORIZATION]);
        names.any(|name| field.name.eq_ignore_ascii_case(name))
    };
    let mut fields = Fields::default();
    for field in head.fields.iter().filter(is_named) {
        fields.push(field.name, field.value);
    }
    let path = format!("{}{}", prefix.map_or("", Path::as_prefix), head.target.path);
    let line = RequestLine { method: &head.method, path: &path, query: head.target.query, host: head.host };
    let mut request = Vec::new();
    let framing = Framing::Length(about.body.len() as u64);
    write_request_head(&mut request, line, &fields, framing, Offers::default());
    request.extend_from_slice(about.body);
    (request, AnswerTo::new(&head.method, false))
}

pub(super) fn verdict(
    answer: Answer,
    to: AnswerTo,
    response_headers: &[FieldName],
) -> Result<Verdict, CallError> {
    let head = ResponseHead::parse(&answer.head, to, HeadLimits::CARRIED).ok().flatten();
    let head = head.ok_or(CallError::Malformed)?;
    let status = StatusCode::from_u16(head.status).map_err(|_| CallError::Malformed)?;
    Ok(match status {
        StatusCode::OK => {
            Verdict::Granted(Grant { request: edits(&head.fields, response_headers)?, ..Grant::default() })
        }
        // A client would take it for the endpoint's.
        _ if status.is_success() => Verdict::Denied(Denial::bare(StatusCode::FORBIDDEN)),
        _ => {
            let fields = head.fields.iter().map(parsed).collect::<Result<_, _>>()?;
            Verdict::Denied(Denial { status, fields, body: answer.body })
        }
    })
}

/// Fields that are named come from the service or not at all. Without names all count but such as lead the request, or
/// describe the body of the service's own answer, as Content-Type does.
fn edits(fields: &Fields<'_>, named: &[FieldName]) -> Result<Edits, CallError> {
    let mut edits = Edits::default();
    let parsed = fields.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
    let counts = |name: &FieldName| match named {
        [] => may_change(name) && !name.as_str().starts_with("content-"),
        named => may_change(name) && named.contains(name),
    };
    let replaced =
        if named.is_empty() { parsed.iter().map(|(name, _)| name.clone()).collect() } else { named.to_vec() };
    for name in replaced.into_iter().filter(|name| counts(name)) {
        edits.remove(name);
    }
    for (name, value) in parsed.into_iter().filter(|(name, _)| counts(name)) {
        edits.append(name, value);
    }
    Ok(edits)
}

fn parsed(field: &Field<'_>) -> Result<(FieldName, FieldValue), CallError> {
    let name = FieldName::parse(field.name).map_err(|_| CallError::Malformed)?;
    let value = FieldValue::try_from(field.value.to_vec()).map_err(|_| CallError::Malformed)?;
    Ok((name, value))
}
