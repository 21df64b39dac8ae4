//! Heads of requests to endpoints that speak HTTP/2, and of their answers.

use h2::RecvStream;
use http::header::{CONTENT_LENGTH, TE};
use http::response::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, uri};

use super::message;
use crate::h1::{
    Ending, Fault, Fields, Framing, HeadLimits, Persistence, RequestHead, RequestLine, ResponseHead,
    write_response_head,
};

/// A request's head as h2 takes it, which saves reading what was written for endpoints of either version.
#[derive(Debug)]
pub(crate) struct Head {
    pub(super) request: Request<()>,
    pub(super) framing: Framing,
    pub(super) asked: Asked,
    /// Bytes of the same head in HTTP/1.1.
    pub(super) len: usize,
}

/// What of a request decides how its answer is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    to_head: bool,
    takes_trailers: bool,
}

impl Head {
    /// None: HTTP/2 has no such request. `len` is what the same head has in HTTP/1.1.
    pub(crate) fn of(
        line: RequestLine<'_>,
        fields: &Fields<'_>,
        framing: Framing,
        takes_trailers: bool,
        len: usize,
    ) -> Option<Self> {
        let path = match line.query {
            Some(query) => PathAndQuery::try_from(format!("{}?{query}", line.path)),
            None => PathAndQuery::try_from(line.path),
        };
        let mut parts = uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(Authority::try_from(line.host).ok()?);
        parts.path_and_query = Some(path.ok()?);
        let mut request = Request::new(());
        *request.method_mut() = line.method.clone();
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        *request.headers_mut() = message::headers(fields);
        let headers = request.headers_mut();
        if let Framing::Length(length) = framing {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        if takes_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        let asked = Asked { to_head: line.method == Method::HEAD, takes_trailers };
        Some(Self { request, framing, asked, len })
    }

    /// The head that these bytes begin with, which was checked when it was received.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let head = RequestHead::parse(bytes, HeadLimits::CARRIED).ok().flatten()?;
        let RequestHead { method, target, host, .. } = &head;
        let line = RequestLine { method, path: target.path, query: target.query, host };
        Self::of(line, &head.fields, head.framing, head.takes_trailers, head.len)
    }
}

/// The head of an answer, perhaps of an interim one.
#[derive(Debug)]
pub(crate) struct Answered {
    status: StatusCode,
    headers: http::HeaderMap,
    pub(super) framing: Framing,
    would_be: Option<u64>,
}

impl Answered {
    pub(super) fn interim(response: Response<()>) -> Self {
        let (Parts { status, headers, .. }, ()) = response.into_parts();
        Self { status, headers, framing: Framing::None, would_be: None }
    }

    pub(super) fn of(response: Response<RecvStream>, asked: Asked) -> (Self, RecvStream) {
        let (Parts { status, headers, .. }, body) = response.into_parts();
        let bodiless = asked.to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = message::content_length(&headers);
        let framing = match length {
            _ if bodiless => Framing::None,
            // HTTP/1.1 has no place for trailers behind a body whose length it tells.
            Some(_) if asked.takes_trailers && !body.is_end_stream() => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None if body.is_end_stream() => Framing::Length(0),
            None => Framing::Chunked,
        };
        let would_be = length.filter(|_| bodiless && status != StatusCode::NO_CONTENT);
        (Self { status, headers, framing, would_be }, body)
    }

    /// The same as of one that came in HTTP/1.1, within its limits.
    pub(crate) fn head(&self, limits: HeadLimits) -> Result<ResponseHead<'_>, Fault> {
        let status = self.status.as_u16();
        if !(100..=599).contains(&status) {
            return Err(Fault::StatusLine);
        }
        if self.headers.len() > limits.fields {
            return Err(Fault::FieldCount);
        }
        if message::answer_bytes(&self.headers) > limits.bytes as u64 {
            return Err(Fault::HeadSize);
        }
        Ok(ResponseHead {
            status,
            reason: self.reason(),
            fields: message::fields(&self.headers, None),
            framing: self.framing,
            would_be: self.would_be,
            // A stream serves one request.
            persistence: Persistence::Close,
            upgrade: None,
            len: 0,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let line = (self.status.as_u16(), self.reason());
        let ending = if self.status.is_informational() { Ending::Open } else { Ending::Close };
        let fields = message::fields(&self.headers, None);
        write_response_head(out, line, &fields, self.framing, self.would_be, ending);
    }

    fn reason(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or_default()
    }
}
