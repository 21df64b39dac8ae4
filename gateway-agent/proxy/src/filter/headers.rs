//! Changes to fields, host and path.

use std::borrow::Cow;

use gateway_agent_tables::http::{Filter, HeaderEdits, HttpBackend, HttpRule};

use super::rewrite::rewrite;
use super::{CorsAnswer, filters};
use crate::h1::Fields;

/// A request as an endpoint will get it.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    pub host: Cow<'a, str>,
    /// Normalised.
    pub path: Cow<'a, str>,
    pub fields: Fields<'a>,
}

/// Applies the filters of a rule, and then those of the backend that was picked, in their order, beginning with the one
/// at `from`. The index of the first that asks whether the request may go on: those behind it wait for the answer.
#[must_use = "the request may have to wait"]
pub fn change_request<'a>(
    request: &mut Outgoing<'a>,
    rule: &'a HttpRule,
    backend: Option<&'a HttpBackend>,
    from: usize,
) -> Option<usize> {
    for (index, filter) in filters(rule, backend).enumerate().skip(from) {
        match filter {
            Filter::RequestHeaders(edits) => edit_request(request, edits),
            Filter::Rewrite(to) => rewrite(request, to),
            Filter::ExternalAuth(_) => return Some(index),
            Filter::ResponseHeaders(_) | Filter::Mirror(_) | Filter::Cors(_) => {}
        }
    }
    None
}

/// Applies the filters of the backend, and then those of the rule: a response meets them on its way out. None: the
/// response is the proxy's own, and no backend had a part in it.
pub fn change_response<'a>(
    fields: &mut Fields<'a>,
    rule: &'a HttpRule,
    backend: Option<&'a HttpBackend>,
    cors: Option<&'a CorsAnswer>,
) {
    if let Some(cors) = cors {
        cors.apply(fields);
    }
    let of_backend = backend.map_or(&[][..], |backend| &backend.filters);
    for filter in of_backend.iter().chain(&rule.filters) {
        if let Filter::ResponseHeaders(edits) = filter {
            edit(fields, edits);
        }
    }
}

/// Host is no field here but a part of the request: what is set or added replaces it, and it can't be removed.
fn edit_request<'a>(request: &mut Outgoing<'a>, edits: &'a HeaderEdits) {
    edit(&mut request.fields, edits);
    request.fields.remove("host");
    let host = edits.set().iter().chain(edits.add()).find(|(name, _)| name.as_str() == "host");
    if let Some((_, value)) = host {
        request.host = String::from_utf8_lossy(value.as_bytes());
    }
}

fn edit<'a>(fields: &mut Fields<'a>, edits: &'a HeaderEdits) {
    for name in edits.remove() {
        fields.remove(name.as_str());
    }
    for (name, value) in edits.set() {
        fields.remove(name.as_str());
        fields.push(name.as_str(), value.as_bytes());
    }
    for (name, value) in edits.add() {
        fields.push(name.as_str(), value.as_bytes());
    }
}
