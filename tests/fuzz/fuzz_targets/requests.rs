//! What a client sends, read by the proxy's codec and by hyper: what the codec takes for a request must be the same
//! request to hyper, with the same body, so that what follows begins at the same byte. The codec refuses more.
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use gateway_agent_proxy::h1::{BodyReader, HeadLimits, Persistence, Piece, RequestHead};
use gateway_agent_tables::http::{DoubledSlashes, EncodedSlashes, PathRules};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use libfuzzer_sys::fuzz_target;

/// A request, as far as two readers can compare it.
#[derive(Debug, PartialEq)]
struct Seen {
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

fuzz_target!(|bytes: &[u8]| {
    let ours = by_codec(bytes);
    let theirs = by_hyper(bytes);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!((&ours.method, &ours.target, &ours.body), (&theirs.method, &theirs.target, &theirs.body));
        // Those of the connection are not among ours.
        for field in &ours.fields {
            assert!(theirs.fields.contains(field), "{field:?} is not in {theirs:?}");
        }
    }
});

/// The whole requests up to the first that is malformed or the last of its connection.
fn by_codec(mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Ok(Some(head)) = RequestHead::parse(bytes, HeadLimits::default()) {
        let ends = head.persistence == Persistence::Close || head.upgrade.is_some();
        let Some(request) = whole(&head, &mut bytes) else { break };
        seen.push(request);
        if ends {
            break;
        }
    }
    seen
}

fn whole(head: &RequestHead<'_>, bytes: &mut &[u8]) -> Option<Seen> {
    normalise(head.target.path);
    let mut rest = &bytes[head.len..];
    let mut reader = BodyReader::new(head.framing, HeadLimits::default());
    let mut body = Vec::new();
    while let Piece::Data(data) = reader.next(&mut rest).ok()? {
        body.extend_from_slice(data);
    }
    *bytes = rest;
    let query = head.target.query.map(|query| format!("?{query}")).unwrap_or_default();
    let fields = head.fields.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()));
    reader.has_ended().then(|| Seen {
        method: head.method.to_string(),
        target: format!("{}{query}", head.target.path),
        fields: fields.collect(),
        body,
    })
}

/// A path that is normal stays as it is, and nobody who decodes it once finds a way out of it.
fn normalise(path: &str) {
    for encoded_slashes in [EncodedSlashes::Keep, EncodedSlashes::Decode, EncodedSlashes::Refuse] {
        for doubled_slashes in [DoubledSlashes::Merge, DoubledSlashes::Keep] {
            let rules = PathRules { encoded_slashes, doubled_slashes };
            let Ok(normal) = rules.normalise(path) else { continue };
            assert_eq!(rules.normalise(&normal).as_deref(), Ok(&*normal));
            let decoded = normal.replace("%2F", "/").replace("%5C", "/");
            assert!(decoded.split('/').all(|segment| segment.split(';').next() != Some("..")), "{normal}");
        }
    }
}

fn by_hyper(bytes: &[u8]) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let fields =
                    head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
                let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
                seen.borrow_mut().push(Seen {
                    method: head.method.to_string(),
                    target: if target.is_empty() { "*".to_owned() } else { target },
                    fields: fields.collect(),
                    body: body.to_bytes().to_vec(),
                });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let connection = http1::Builder::new().serve_connection(Script { input: bytes.to_vec(), at: 0 }, service);
    run(connection);
    seen.take()
}

/// Polls for as long as something wakes it: all input is there, so nothing else will.
fn run(future: impl Future) {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    while woken.0.swap(false, Relaxed) {
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return;
        }
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// A connection that has sent all its bytes, and takes everything.
struct Script {
    input: Vec<u8>,
    at: usize,
}

impl Read for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let len = buffer.remaining().min(self.input.len() - self.at);
        buffer.put_slice(&self.input[self.at..self.at + len]);
        self.at += len;
        Poll::Ready(Ok(()))
    }
}

impl Write for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
