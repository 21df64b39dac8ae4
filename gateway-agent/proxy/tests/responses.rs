//! Heads of responses, as RFC 9112 (6.3) frames them.

use gateway_agent_proxy::h1::{AnswerTo, Fault, Framing, HeadLimits, Persistence, ResponseHead};
use http::Method;

fn parse(text: &str, to: AnswerTo) -> Result<Option<ResponseHead<'_>>, Fault> {
    ResponseHead::parse(text.as_bytes(), to, HeadLimits::default())
}

fn to(method: &Method) -> AnswerTo {
    AnswerTo::new(method, false)
}

#[test]
fn framing_follows_request_status_and_fields() {
    use Framing::{Chunked, Length, None as Nothing, UntilClose};
    for (method, status, lines, framing, would_be) in [
        (Method::GET, 200, "Content-Length: 5\r\n", Length(5), None),
        (Method::GET, 200, "Transfer-Encoding: chunked\r\n", Chunked, None),
        (Method::GET, 200, "", UntilClose, None),
        (Method::GET, 404, "", UntilClose, None),
        (Method::HEAD, 200, "Content-Length: 5\r\n", Nothing, Some(5)),
        (Method::HEAD, 200, "Transfer-Encoding: chunked\r\n", Nothing, None),
        (Method::HEAD, 200, "", Nothing, None),
        (Method::GET, 204, "Content-Length: 5\r\n", Nothing, None),
        (Method::HEAD, 204, "Content-Length: 0\r\n", Nothing, None),
        (Method::GET, 304, "Content-Length: 5\r\n", Nothing, Some(5)),
        (Method::GET, 304, "", Nothing, None),
        (Method::GET, 100, "", Nothing, None),
        (Method::GET, 103, "Content-Length: 5\r\n", Nothing, None),
        (Method::POST, 205, "Content-Length: 0\r\n", Length(0), None),
    ] {
        let text = format!("HTTP/1.1 {status} X\r\n{lines}\r\n");
        let head = parse(&text, to(&method)).expect("no fault").expect("a head");
        assert_eq!((head.framing, head.would_be), (framing, would_be), "{method} {status} {lines:?}");
        assert_eq!(head.is_interim(), status < 200);
    }
}

#[test]
fn faults_are_refused_with_their_reason() {
    for (text, fault) in [
        ("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", Fault::BareLf),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n", Fault::BareLf),
        ("HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n", Fault::BareCr),
        ("HTTP/2.0 200 OK\r\n\r\n", Fault::StatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 600 OK\r\n\r\n", Fault::StatusLine),
        ("ICY 200 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 200 OK\r\na : b\r\n\r\n", Fault::FieldName),
        ("HTTP/1.1 200 OK\r\na: b\r\r\nc: d\r\n\r\n", Fault::BareCr),
        ("HTTP/1.1 200 OK\rSet-Cookie: a=b\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 200 O\0K\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 200 OK\r\na: b\0\r\n\r\n", Fault::FieldValue),
        ("HTTP/1.1  200 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 +20 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", Fault::ContentLength),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Fault::Encoding,
        ),
        ("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", Fault::Folded),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Fault::ContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Fault::ContentLength),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Fault::LengthAndEncoding,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Fault::Encoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Fault::UnknownEncoding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::Encoding),
        ("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", Fault::Upgrade),
    ] {
        match parse(text, to(&Method::GET)) {
            Err(found) => assert_eq!(found, fault, "{text:?}"),
            Ok(head) => panic!("{text:?} is taken: {head:?}"),
        }
    }
}

#[test]
fn protocols_change_only_for_those_who_offered_it() {
    let offered = AnswerTo::new(&Method::GET, true);
    let head = parse("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\na: b\r\n\r\n", offered);
    let head = head.expect("no fault").expect("a head");
    assert_eq!((head.upgrade, head.is_interim()), (Some(&b"websocket"[..]), false));
    assert_eq!(head.fields.iter().map(|field| field.name).collect::<Vec<_>>(), ["a"]);
    for text in
        ["HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 X\r\nConnection: upgrade\r\n\r\n"]
    {
        assert_eq!(parse(text, offered).map(|_| ()), Err(Fault::Upgrade), "{text:?}");
    }
}

#[test]
fn connections_persist_as_their_version_has_it() {
    for (text, persistence) in [
        ("HTTP/1.1 200 OK\r\n\r\n", Persistence::Keep),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", Persistence::Close),
        ("HTTP/1.0 200 OK\r\n\r\n", Persistence::Close),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", Persistence::KeepAsAsked),
    ] {
        let head = parse(text, to(&Method::GET)).expect("no fault").expect("a head");
        assert_eq!(head.persistence, persistence, "{text:?}");
    }
}
