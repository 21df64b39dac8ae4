//! Heads of requests: what is read from them, and what is refused, rule by rule of RFC 9110 and RFC 9112.

use gateway_agent_proxy::h1::{Fault, Framing, HeadLimits, Persistence, RequestHead, Version};

fn parse(text: &str) -> Result<Option<RequestHead<'_>>, Fault> {
    RequestHead::parse(text.as_bytes(), HeadLimits::default())
}

fn read(text: &str) -> RequestHead<'_> {
    match parse(text) {
        Ok(Some(head)) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

/// A request with these lines beside Host.
fn with(lines: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn a_head_is_read_whole() {
    let text = "\r\nPUT /a/b?c=d HTTP/1.1\r\nhost: A.example:8080\r\nX-One:  1 \r\nConnection: X-Two, close\r\nX-Two: 2\r\n\
                Content-Length: 3\r\nExpect: 100-Continue\r\nTE: gzip, trailers\r\n\r\nabc";
    let head = read(text);
    assert_eq!((head.method.as_str(), head.version), ("PUT", Version::Http11));
    assert_eq!((head.target.path, head.target.query, head.host), ("/a/b", Some("c=d"), "A.example:8080"));
    let fields: Vec<_> = head.fields.iter().map(|field| (field.name, field.value)).collect();
    assert_eq!(fields, [("X-One", &b"1"[..])]);
    assert_eq!((head.framing, head.persistence), (Framing::Length(3), Persistence::Close));
    assert!(head.expects_continue && head.takes_trailers);
    assert_eq!(&text[head.len..], "abc");
}

#[test]
fn faults_are_refused_with_their_reason() {
    let many = "a: b\r\n".repeat(100);
    let long_line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(40_000));
    let long_field = with(&format!("a: {}\r\n", "b".repeat(40_000)));
    for (text, fault) in [
        // Line ends: RFC 9112, 2.2.
        ("GET / HTTP/1.1\nHost: a\n\n", Fault::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Fault::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Fault::BareLf),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\r\nb: c\rd\r\n\r\n", Fault::BareCr),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n", Fault::BareCr),
        // The request line: RFC 9112, 3.
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET /\r\nHost: a\r\n\r\n", Fault::Protocol),
        ("INVALID CONNECTION PREFACE\r\n\r\n", Fault::Protocol),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", Fault::RequestLine),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Fault::Version),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Fault::Version),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Connect),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
        ("GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
        // Host: RFC 9112, 3.2.
        ("GET / HTTP/1.1\r\n\r\n", Fault::HostMissing),
        ("GET http://a/ HTTP/1.1\r\n\r\n", Fault::HostMissing),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Fault::HostRepeated),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Fault::HostRepeated),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Fault::Host),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Fault::Host),
        ("GET http://a/ HTTP/1.1\r\nHost: a/b\r\n\r\n", Fault::Host),
        // Fields: RFC 9112, 5.
        (&with("a : b\r\n"), Fault::FieldName),
        (&with("a b: c\r\n"), Fault::FieldName),
        (&with(": b\r\n"), Fault::FieldName),
        (&with("a\r\n"), Fault::FieldName),
        (&with("\u{e4}: b\r\n"), Fault::FieldName),
        (&with("a: b\0c\r\n"), Fault::FieldValue),
        (&with("a\0: b\r\n"), Fault::FieldName),
        (&with("Transfer-Encoding : chunked\r\n"), Fault::FieldName),
        (&with("Content-Length : 1\r\n"), Fault::FieldName),
        (&with("\x0bTransfer-Encoding: chunked\r\n"), Fault::FieldName),
        (&with("a: b\u{7f}c\r\n"), Fault::FieldValue),
        (&with("a: b\r\n c\r\n"), Fault::Folded),
        (&with("a: b\r\n\tc: d\r\n"), Fault::Folded),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Fault::Folded),
        // Framing: RFC 9112, 6.
        (&with("Content-Length: 1\r\nContent-Length: 2\r\n"), Fault::ContentLength),
        (&with("Content-Length: 1\r\nContent-Length: 1\r\n"), Fault::ContentLength),
        (&with("Content-Length: 1, 1\r\n"), Fault::ContentLength),
        (&with("Content-Length: +1\r\n"), Fault::ContentLength),
        (&with("Content-Length:\r\n"), Fault::ContentLength),
        (&with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), Fault::LengthAndEncoding),
        (&with("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"), Fault::LengthAndEncoding),
        (&with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Fault::Encoding),
        (&with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), Fault::Encoding),
        (&with("Transfer-Encoding: chunked, identity\r\n"), Fault::Encoding),
        (&with("Transfer-Encoding: \"chunked\"\r\n"), Fault::Encoding),
        (&with("Transfer-Encoding: gzip, chunked\r\n"), Fault::UnknownEncoding),
        (&with("Transfer-Encoding: \x0bchunked\r\n"), Fault::FieldValue),
        (&with("Transfer-Encoding: chunked;q=1\r\n"), Fault::Encoding),
        (&with("Transfer-Encoding: xchunked\r\n"), Fault::Encoding),
        (&with("Transfer-Encoding:\r\n"), Fault::Encoding),
        (&with("Content-Length: 0x1\r\n"), Fault::ContentLength),
        (&with("Content-Length: 1 1\r\n"), Fault::ContentLength),
        (&with("Content-Length: 18446744073709551616\r\n"), Fault::ContentLength),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::Encoding),
        (&with("Expect: 200-ok\r\n"), Fault::Expectation),
        // Limits.
        (&with(&many), Fault::FieldCount),
        (&long_line, Fault::RequestLineSize),
        (&long_field, Fault::HeadSize),
    ] {
        match parse(text) {
            Err(found) => assert_eq!(found, fault, "{text:.200?}"),
            Ok(head) => panic!("{text:.200?} is taken: {head:.200?}"),
        }
    }
}

#[test]
fn what_can_never_become_a_head_is_refused_before_its_end() {
    let empty_lines = "\r\n".repeat(40_000);
    let endless_line = format!("GET /{}", "a".repeat(40_000));
    let endless_field = format!("GET / HTTP/1.1\r\na: b\r\nc: {}", "d".repeat(80_000));
    for (text, fault) in [
        ("GET / HTTP/1.1\nHost: a", Fault::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\nb", Fault::BareLf),
        ("\x16\x03\x01", Fault::Protocol),
        (&empty_lines, Fault::HeadSize),
        (&endless_line, Fault::RequestLineSize),
        (&endless_field, Fault::HeadSize),
    ] {
        assert_eq!(parse(text).map(|_| ()), Err(fault), "{text:.50?}");
    }
}

#[test]
fn connections_persist_as_their_version_has_it() {
    for (version, lines, persistence) in [
        ("1.1", "", Persistence::Keep),
        ("1.1", "Connection: close\r\n", Persistence::Close),
        ("1.1", "Connection: Keep-Alive, CLOSE\r\n", Persistence::Close),
        ("1.1", "Connection: x\r\nConnection: close\r\n", Persistence::Close),
        ("1.0", "", Persistence::Close),
        ("1.0", "Connection: Keep-Alive\r\n", Persistence::KeepAsAsked),
        ("1.0", "Connection: keep-alive, close\r\n", Persistence::Close),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(read(&text).persistence, persistence, "{version} {lines:?}");
    }
}

#[test]
fn fields_of_the_connection_go_no_further() {
    for (lines, kept) in [
        ("Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: trailers\r\na: b\r\n", &["a"][..]),
        ("Connection: A, b\r\na: 1\r\nB: 2\r\nc: 3\r\nA: 4\r\n", &["c"]),
        ("a: 1\r\nConnection: a\r\n", &[]),
        (
            "Connection: close, Authorization, X-Forwarded-For\r\nAuthorization: x\r\nX-Forwarded-For: y\r\n",
            &["Authorization", "X-Forwarded-For"],
        ),
        ("Trailer: x-sum\r\nProxy-Authorization: x\r\n", &["Trailer", "Proxy-Authorization"]),
    ] {
        let text = with(lines);
        let names: Vec<_> = read(&text).fields.iter().map(|field| field.name).collect();
        assert_eq!(names, kept, "{lines:?}");
    }
}

#[test]
fn upgrades_are_offered_for_this_connection_and_not_to_http_2() {
    for (lines, offered) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", Some("websocket")),
        ("Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\nContent-Length: 0\r\n", Some("WebSocket")),
        ("Upgrade: websocket\r\n", None),
        ("Connection: Upgrade\r\n", None),
        ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n", None),
        ("Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n", None),
        ("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", None),
        ("Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n", None),
    ] {
        let text = with(lines);
        let head = read(&text);
        assert_eq!(head.upgrade, offered.map(str::as_bytes), "{lines:?}");
        assert_eq!(head.fields.iter().count(), 0, "{lines:?}");
    }
}

#[test]
fn nobody_waits_for_100_without_a_body_or_in_http_1_0() {
    for (text, expects) in [
        (with("Expect: 100-continue\r\nContent-Length: 1\r\n"), true),
        (with("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"), true),
        (with("Expect: 100-continue\r\n"), false),
        (with("Expect: 100-continue\r\nContent-Length: 0\r\n"), false),
        ("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n".to_owned(), false),
    ] {
        assert_eq!(read(&text).expects_continue, expects, "{text:?}");
    }
}

#[test]
fn hosts_come_from_the_target_first() {
    for (text, host) in [
        ("GET http://b:81/ HTTP/1.1\r\nHost: a\r\n\r\n", "b:81"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", ""),
        ("GET / HTTP/1.0\r\n\r\n", ""),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "a"),
    ] {
        assert_eq!(read(text).host, host, "{text:?}");
    }
}
