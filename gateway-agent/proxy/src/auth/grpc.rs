//! Services that are asked by gRPC: Envoy's `envoy.service.auth.v3.Authorization`.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use gateway_agent_tables::http::{FieldName, FieldValue, Scheme, Upstream};
use http::{Method, StatusCode};
use prost::Message as _;

use super::About;
use super::call::{Answer, CallError};
use super::messages::{
    Address, AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption,
    HttpRequest, HttpResponse, OkHttpResponse, Peer, Request, SocketAddress, Timestamp,
};
use super::query::QueryEdits;
use super::verdict::{Denial, Edits, Grant, Verdict, may_change};
use crate::h1::{
    AnswerTo, Fields, Framing, HeadLimits, Offers, RequestHead, RequestLine, ResponseHead, Version,
    write_request_head,
};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Before each message: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 1 + 4;

pub(super) fn question(
    about: &About<'_>,
    service: &Upstream,
    request_headers: &[FieldName],
) -> (Vec<u8>, AnswerTo) {
    let message = CheckRequest { attributes: Some(attributes(about, request_headers)) };
    let length = message.encoded_len();
    let mut fields = Fields::default();
    fields.push("content-type", b"application/grpc");
    let host = format!(
        "{}.{}.svc:{}",
        service.service.service.name, service.service.service.namespace, service.service.port
    );
    let line = RequestLine { method: &Method::POST, path: CHECK, query: None, host: &host };
    let offers = Offers { trailers: true, ..Offers::default() };
    let mut request = Vec::new();
    write_request_head(&mut request, line, &fields, Framing::Length((PREFIX + length) as u64), offers);
    request.push(0);
    // Below 4 GB, as all that is kept of a request.
    request.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    request.extend_from_slice(&message.encode_to_vec());
    (request, AnswerTo { head: false, upgrade: false })
}

fn attributes(about: &About<'_>, request_headers: &[FieldName]) -> AttributeContext {
    let (client, port) = &about.awaits.client;
    let frontend = about.awaits.frontend;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = Timestamp {
        seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        nanos: now.subsec_nanos().cast_signed(),
    };
    AttributeContext {
        source: Some(peer(client.to_string(), *port)),
        destination: Some(peer(frontend.address.to_string(), frontend.port.get())),
        request: Some(Request { time: Some(time), http: Some(request(about, request_headers)) }),
    }
}

fn peer(address: String, port: u16) -> Peer {
    let socket_address = Some(SocketAddress { address, port_value: Some(port.into()) });
    Peer { address: Some(Address { socket_address }) }
}

fn request(about: &About<'_>, request_headers: &[FieldName]) -> HttpRequest {
    let head = about.head;
    let text = str::from_utf8(about.body).ok();
    let line = Line {
        method: head.method.as_str(),
        path: path(head),
        host: head.host,
        scheme: match about.awaits.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        },
    };
    HttpRequest {
        id: id(head),
        headers: headers(head, &line, request_headers),
        method: line.method.to_owned(),
        host: line.host.to_owned(),
        scheme: line.scheme.to_owned(),
        path: line.path,
        size: match head.framing {
            Framing::None => 0,
            Framing::Length(length) => i64::try_from(length).unwrap_or(i64::MAX),
            Framing::Chunked | Framing::UntilClose => {
                i64::try_from(about.body.len()).ok().filter(|it| *it > 0).unwrap_or(-1)
            }
        },
        protocol: match about.client.version {
            _ if about.client.is_http2 => "HTTP/2".to_owned(),
            Version::Http11 => "HTTP/1.1".to_owned(),
            Version::Http10 => "HTTP/1.0".to_owned(),
        },
        body: text.unwrap_or_default().to_owned(),
        raw_body: if text.is_some() { Vec::new() } else { about.body.to_vec() },
    }
}

/// What leads a request, in the terms of HTTP/2.
struct Line<'a> {
    method: &'a str,
    path: String,
    host: &'a str,
    scheme: &'a str,
}

fn path(head: &RequestHead<'_>) -> String {
    let query = head.target.query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", head.target.path)
}

/// What the client calls the request, or else the id of its trace: the proxy has written a traceparent (W3C Trace Context,
/// 3.2.2).
fn id(head: &RequestHead<'_>) -> String {
    let text = |name| head.fields.first(name).map(String::from_utf8_lossy);
    let trace = || text("traceparent").and_then(|value| value.split('-').nth(1).map(str::to_owned));
    text("x-request-id").map(String::from).or_else(trace).unwrap_or_default()
}

/// Those that are named; or all, and with them what leads the request, which services written for Envoy look for here.
fn headers(head: &RequestHead<'_>, line: &Line<'_>, named: &[FieldName]) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    if named.is_empty() {
        let pseudo = [
            (":authority", line.host),
            (":method", line.method),
            (":path", &line.path),
            (":scheme", line.scheme),
        ];
        headers.extend(pseudo.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    let is_sent = |name: &str| named.is_empty() || named.iter().any(|it| it.as_str() == name);
    if let Framing::Length(length) = head.framing
        && is_sent("content-length")
    {
        headers.insert("content-length".to_owned(), length.to_string());
    }
    if named.iter().any(|it| it.as_str() == "host") {
        headers.insert("host".to_owned(), line.host.to_owned());
    }
    for field in head.fields.iter() {
        let name = field.name.to_ascii_lowercase();
        if is_sent(&name) {
            // The one field whose lines are not joined by commas (RFC 6265, 4.2.1).
            let separator = if name == "cookie" { "; " } else { "," };
            let all: &mut String = headers.entry(name).or_default();
            if !all.is_empty() {
                all.push_str(separator);
            }
            all.push_str(&String::from_utf8_lossy(field.value));
        }
    }
    headers
}

/// Only a whole message with a status says anything.
pub(super) fn verdict(answer: &Answer, to: AnswerTo) -> Result<Verdict, CallError> {
    let response = message(answer, to).ok_or(CallError::Malformed)?;
    let decided = match (response.status, response.http_response) {
        (Some(status), Some(HttpResponse::Ok(ok))) if status.code == 0 => granted(&ok),
        // Some leave the status out that means OK, which Envoy takes.
        (None, Some(HttpResponse::Ok(ok))) => granted(&ok),
        (Some(status), _) if status.code == 0 => Ok(Verdict::Granted(Grant::default())),
        (Some(_), Some(HttpResponse::Denied(denied))) => denial(&denied, StatusCode::FORBIDDEN),
        // It can't decide, and has an answer for that.
        (Some(_), Some(HttpResponse::Error(error))) => denial(&error, StatusCode::INTERNAL_SERVER_ERROR),
        (Some(_), _) => Ok(Verdict::Denied(Denial::bare(StatusCode::FORBIDDEN))),
        (None, _) => Err(()),
    };
    decided.map_err(|()| CallError::Malformed)
}

/// None: the call has failed, or its answer is none of gRPC.
fn message(answer: &Answer, to: AnswerTo) -> Option<CheckResponse> {
    let head = ResponseHead::parse(&answer.head, to, HeadLimits::CARRIED).ok()??;
    let trailers = str::from_utf8(&answer.trailers).ok()?;
    let mut statuses = trailers.lines().filter_map(|line| line.split_once(':'));
    let status = statuses.find(|(name, _)| name.eq_ignore_ascii_case("grpc-status"));
    if head.status != 200 || status?.1.trim() != "0" {
        return None;
    }
    let (prefix, message) = answer.body.split_first_chunk::<PREFIX>()?;
    let [compressed, length @ ..] = *prefix;
    let is_whole = compressed == 0 && u32::from_be_bytes(length) as usize == message.len();
    CheckResponse::decode(message).ok().filter(|_| is_whole)
}

fn granted(ok: &OkHttpResponse) -> Result<Verdict, ()> {
    let mut request = edits(&ok.headers, Edits::set)?;
    // No field has another name, so there is nothing to remove.
    for name in ok.headers_to_remove.iter().filter_map(|name| FieldName::parse(name).ok()).filter(may_change)
    {
        request.remove(name);
    }
    let parameters = ok.query_parameters_to_set.iter();
    let query = QueryEdits {
        set: parameters.map(|it| (it.key.clone(), it.value.clone())).collect(),
        remove: ok.query_parameters_to_remove.clone(),
    };
    let response = edits(&ok.response_headers_to_add, Edits::append)?;
    let response = (!response.is_empty()).then_some(response);
    Ok(Verdict::Granted(Grant { request, query, response }))
}

fn denial(denied: &DeniedHttpResponse, default: StatusCode) -> Result<Verdict, ()> {
    let code = denied.status.as_ref().map_or(0, |status| status.code);
    let status = match u16::try_from(code).map_err(drop)? {
        0 => default,
        code @ 200..=599 => StatusCode::from_u16(code).map_err(drop)?,
        _ => return Err(()),
    };
    let fields = denied
        .headers
        .iter()
        .filter_map(field)
        .filter(|it| !matches!(it, Ok((name, _)) if !may_change(name)));
    let mut fields = fields.collect::<Result<Vec<_>, _>>()?;
    let is_typed = fields.iter().any(|(name, _)| name.as_str() == "content-type");
    if !is_typed && !denied.body.is_empty() {
        // Browsers must not guess that it is a page.
        fields.push((
            FieldName::parse("content-type").map_err(drop)?,
            FieldValue::parse("text/plain").map_err(drop)?,
        ));
    }
    Ok(Verdict::Denied(Denial { status, fields, body: denied.body.clone().into_bytes() }))
}

/// Each field is set in the way that the service says, or else as `otherwise` has it. What a client has sent must not
/// stand beside what the service says of it, so fields of requests are replaced; a response may have several of one name,
/// such as Set-Cookie, so there they are added.
fn edits(
    options: &[HeaderValueOption],
    otherwise: fn(&mut Edits, FieldName, FieldValue),
) -> Result<Edits, ()> {
    let mut edits = Edits::default();
    for option in options {
        let Some((name, value)) = field(option).transpose()? else { continue };
        if !may_change(&name) {
            continue;
        }
        match (option.append.as_ref().map(|it| it.value), option.append_action) {
            (Some(true), _) => edits.append(name, value),
            (Some(false), _) | (None, HeaderValueOption::OVERWRITE_IF_EXISTS_OR_ADD) => {
                edits.set(name, value);
            }
            (None, HeaderValueOption::ADD_IF_ABSENT) => edits.append_if_absent(name, value),
            (None, HeaderValueOption::OVERWRITE_IF_EXISTS) => edits.replace(name, value),
            (None, _) => otherwise(&mut edits, name, value),
        }
    }
    Ok(edits)
}

/// None: it is none of HTTP/1.1, but a part of the request line in HTTP/2, which stays as it is.
fn field(option: &HeaderValueOption) -> Option<Result<(FieldName, FieldValue), ()>> {
    let header = option.header.as_ref()?;
    if header.key.starts_with(':') {
        return None;
    }
    let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
    let name = FieldName::parse(&header.key).map_err(drop);
    Some(name.and_then(|name| Ok((name, FieldValue::try_from(value.to_vec()).map_err(drop)?))))
}
