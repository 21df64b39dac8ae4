//! What callers of gRPC learn of what goes wrong, and endpoints of callers that give up.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use gateway_agent_proxy::Settings;
use gateway_agent_proxy::filter::grpc_timeout;
use gateway_agent_tables::http::{
    BackendProtocol, HttpAction, HttpLimits, HttpRefusal, HttpRule, Retry, RetryCode, Timeout,
};
use h2::Reason;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use hyper::body::{Bytes, Incoming};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{spawn_local, yield_now};

use crate::failures::refusing;
use crate::frames::{self, DATA, END_HEADERS, HEADERS, POST_BLOCK, SETTINGS, WINDOW_UPDATE, frame, next_of};
use crate::http2::{Echo, Out, client, full, request, speaking, text};
use crate::rig::{Act, Origin, Proxy, rule, run, split, tables};

fn call(path: &str, body: Out) -> Request<Out> {
    let mut call = request(Method::POST, path, body);
    call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
    call
}

/// How an endpoint ends a stream.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// Before it answers.
    Resets(Reason),
    /// After a part of the answer.
    BreaksOff(Reason),
    /// The same, with its connection.
    Dies,
    Answers,
}

/// An endpoint that does these in turn, the last of them again and again, and how many streams it had.
async fn endpoint(ends: &'static [Ends]) -> (SocketAddr, Rc<Cell<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    let count = Rc::<Cell<usize>>::default();
    let seen = Rc::clone(&count);
    spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let seen = Rc::clone(&seen);
            spawn_local(async move {
                let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
                while let Some(Ok((_request, mut respond))) = connection.accept().await {
                    let end = ends[seen.replace(seen.get() + 1).min(ends.len() - 1)];
                    let mut begin = |ended| {
                        let head = Response::builder().header("content-type", "application/grpc");
                        respond.send_response(head.body(()).expect("a head"), ended).expect("a stream")
                    };
                    match end {
                        Ends::Resets(reason) => respond.send_reset(reason),
                        Ends::BreaksOff(reason) => {
                            let mut stream = begin(false);
                            stream.send_data(Bytes::from_static(b"part"), false).expect("room");
                            // Else the reset overtakes the data.
                            spawn_local(async move {
                                for _ in 0..20 {
                                    yield_now().await;
                                }
                                stream.send_reset(reason);
                            });
                        }
                        Ends::Dies => {
                            let mut stream = begin(false);
                            stream.send_data(Bytes::from_static(b"part"), false).expect("room");
                            let mut turns = 0;
                            std::future::poll_fn(|cx| {
                                turns += 1;
                                cx.waker().wake_by_ref();
                                let closed = connection.poll_closed(cx).is_ready();
                                if closed || turns > 20 {
                                    std::task::Poll::Ready(())
                                } else {
                                    std::task::Poll::Pending
                                }
                            })
                            .await;
                            return;
                        }
                        Ends::Answers => drop(begin(true)),
                    }
                }
            });
        }
    });
    (address, count)
}

/// The status of gRPC, from wherever it stands.
async fn status(response: Response<Incoming>) -> (String, String) {
    let (code, headers, body, trailers) = text(response).await;
    assert_eq!(code, 200);
    let found = headers.get("grpc-status").cloned().or_else(|| trailers?.get("grpc-status").cloned());
    (body, found.expect("a status").to_str().expect("text").to_owned())
}

#[test]
fn a_stream_that_an_endpoint_ends_has_a_status() {
    run(async {
        for (ends, body, expected) in [
            (&[Ends::Resets(Reason::CANCEL)][..], "", "1"),
            (&[Ends::Resets(Reason::INTERNAL_ERROR)], "", "13"),
            (&[Ends::Resets(Reason::ENHANCE_YOUR_CALM)], "", "8"),
            (&[Ends::Resets(Reason::INADEQUATE_SECURITY)], "", "7"),
            (&[Ends::BreaksOff(Reason::CANCEL)], "part", "1"),
            (&[Ends::BreaksOff(Reason::INTERNAL_ERROR)], "part", "13"),
            (&[Ends::Dies], "part", "14"),
        ] {
            let (address, _) = endpoint(ends).await;
            let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[address]).await;
            let mut client = client(&proxy).await;
            let response = client.send_request(call("/shop.Cart/Add", full("x"))).await.expect("a response");
            assert_eq!(status(response).await, (body.to_owned(), expected.to_owned()), "{ends:?}");
            if body.is_empty() {
                continue;
            }
            assert_eq!(proxy.server.counters.aborted(), 1, "{ends:?}");
            let plain = request(Method::POST, "/", full("x"));
            let broken = match client.send_request(plain).await {
                Ok(response) => response.into_body().collect().await.is_err(),
                Err(_) => true,
            };
            assert!(broken, "not of gRPC, it breaks off");
        }
    });
}

/// An endpoint that has not looked at a request lets another one have it, or itself once more.
#[test]
fn what_was_refused_unprocessed_is_sent_again() {
    run(async {
        const REFUSE: Ends = Ends::Resets(Reason::REFUSED_STREAM);
        for (ends, expected) in [(&[REFUSE, Ends::Answers][..], None), (&[REFUSE], Some("14"))] {
            let (address, count) = endpoint(ends).await;
            let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[address]).await;
            let mut client = client(&proxy).await;
            let response = client.send_request(call("/shop.Cart/Add", full("x"))).await.expect("a response");
            let found = response.headers().get("grpc-status").map(|it| it.to_str().expect("text"));
            assert_eq!((found, count.get()), (expected, 2));
        }
    });
}

/// Callers map codes of HTTP themselves (gRPC, "HTTP to gRPC Status Code Mapping").
#[test]
fn answers_of_endpoints_pass_as_they_are() {
    run(async {
        let origin = Origin::start(vec![Act::Send(
            "HTTP/1.1 503 Sorry\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nbusy".to_owned(),
        )])
        .await;
        let proxy = Proxy::of(&[origin.address]).await;
        let response = client(&proxy).await.send_request(call("/a", full("x"))).await.expect("a response");
        let (code, headers, body, _) = text(response).await;
        assert_eq!(
            (code, &*body, &headers["content-type"]),
            (503, "busy", &"text/html".parse().expect("a value"))
        );
        assert!(!headers.contains_key("grpc-status"));
    });
}

/// gRPC-Web is another protocol, whatever its name begins with.
#[test]
fn own_answers_have_the_status_that_callers_look_for() {
    run(async {
        let silent = Origin::start(vec![Act::Silence]).await;
        let closing = Origin::start(vec![Act::Close]).await;
        let web = |name: &str| rule(split(vec![crate::rig::backend(name, 1, vec![])]));
        let late = |mut rule: HttpRule| {
            rule.timeouts.request = Timeout::After(Duration::from_millis(100));
            rule
        };
        let rules = vec![
            ("/invalid", rule(HttpAction::Refuse(HttpRefusal::InvalidBackend))),
            ("/empty", web("empty")),
            ("/gone", web("gone")),
            ("/late", late(web("silent"))),
            ("/closing", web("closing")),
        ];
        let proxy = Proxy::start(Settings::default()).await;
        let services: [(&str, &[_]); 4] = [
            ("empty", &[]),
            ("gone", &[refusing()]),
            ("silent", &[silent.address]),
            ("closing", &[closing.address]),
        ];
        let mut tables = tables(proxy.address, rules, &services);
        let limits = HttpLimits { body_bytes: Some(10), ..HttpLimits::default() };
        tables.listeners.values_mut().for_each(|it| it.settings.limits = limits);
        proxy.server.replace(&tables);
        let mut client = client(&proxy).await;
        for (path, body, code, expected) in [
            ("/nowhere", "x", 404, "12"),
            ("/invalid", "x", 500, "14"),
            ("/empty", "x", 503, "14"),
            ("/gone", "x", 503, "14"),
            ("/late", "x", 504, "4"),
            ("/closing", "x", 502, "14"),
            ("/closing", "more than ten", 413, "8"),
            ("/%00", "x", 400, "13"),
        ] {
            let called = client.send_request(call(path, full(body))).await.expect("a response");
            assert_eq!(status(called).await, (String::new(), expected.to_owned()), "{path}");
            let mut web = call(path, full(body));
            web.headers_mut().insert("content-type", "application/grpc-web+proto".parse().expect("a value"));
            let found = client.send_request(web).await.expect("a response");
            assert_eq!(
                (found.status().as_u16(), found.headers().contains_key("grpc-status")),
                (code, false),
                "{path}"
            );
        }
        let mut limited = tables.clone();
        limited.listeners.values_mut().for_each(|it| it.settings.limits.requests = 0);
        proxy.server.replace(&limited);
        let mut client = crate::http2::client(&proxy).await;
        let called = client.send_request(call("/closing", full("x"))).await.expect("a response");
        assert_eq!(status(called).await.1, "14", "the Gateway is busy");
    });
}

/// Small messages come by the thousand in one read, and wait for an endpoint that doesn't read: h2 would end connections that
/// have brought many which nobody has taken.
#[test]
fn small_messages_pass_however_many() {
    const MESSAGES: usize = 20_000;
    // An empty message (gRPC over HTTP/2, "Length-Prefixed-Message").
    let message = frame(DATA, 0, 1, &[0; 5]);
    run(async {
        let endpoint = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = endpoint.local_addr().expect("an address");
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[address]).await;
        let mut client = frames::open(&proxy).await;
        let head = [POST_BLOCK, b"\x40\x0ccontent-type\x10application/grpc"].concat();
        let begin = frame(HEADERS, END_HEADERS, 1, &head);
        client.write_all(&begin).await.expect("taken");
        let (mut from, mut to) = client.into_split();
        let sent = message.clone();
        spawn_local(async move {
            // Within the window that each stream begins with.
            to.write_all(&sent.repeat(MESSAGES / 2)).await.expect("the connection stays");
            std::future::pending::<()>().await;
        });
        // What has no window to go on to is kept.
        let (mut socket, _) = endpoint.accept().await.expect("a connection");
        frames::preface(&mut socket).await;
        let closed = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        socket.write_all(&closed).await.expect("taken");
        next_of(&mut socket, HEADERS).await;
        let answer = frame(HEADERS, END_HEADERS, 1, &[0x88]);
        socket.write_all(&[answer, message.repeat(MESSAGES / 2)].concat()).await.expect("taken");
        let mut answered = 0;
        let mut received = [0; 4096];
        while answered < 5 * MESSAGES / 2 {
            let read = from.read(&mut received).await.expect("the connection stays");
            assert!(read > 0, "the connection stays");
            answered += read;
        }
        let open = frame(WINDOW_UPDATE, 0, 1, &(1_u32 << 20).to_be_bytes());
        socket.write_all(&open).await.expect("taken");
        let mut data = 0;
        while data < 5 * MESSAGES / 2 {
            let received = next_of(&mut socket, DATA).await;
            data += received.payload.len();
        }
    });
}

/// A caller that cancels one call ends its stream at the endpoint, whether it waits or streams, and no other.
#[test]
fn calls_that_are_cancelled_end_at_the_endpoint() {
    run(async {
        let echo = Echo::start().await;
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[echo.address]).await;
        let mut client = client(&proxy).await;
        let (mut kept, body) = Channel::<Bytes, Infallible>::new(1);
        let mut other = client.send_request(call("/a", body.boxed())).await.expect("a response").into_body();
        let waiting = spawn_local(client.send_request(call("/silence", full("x"))));
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        let mut streaming =
            client.send_request(call("/a", body.boxed())).await.expect("a response").into_body();
        sender.send_data(Bytes::from_static(b"one")).await.expect("room");
        assert_eq!(
            streaming.frame().await.expect("a frame").expect("no error").into_data().expect("data"),
            "one"
        );
        while echo.open.get() < 3 {
            yield_now().await;
        }
        waiting.abort();
        drop((streaming, sender));
        while echo.open.get() > 1 {
            yield_now().await;
        }
        kept.send_data(Bytes::from_static(b"two")).await.expect("room");
        assert_eq!(
            other.frame().await.expect("a frame").expect("no error").into_data().expect("data"),
            "two"
        );
    });
}

/// Endpoints learn how much of the caller's time is left, not how much there was; and no more than the rule gives them.
#[test]
fn tries_have_the_time_that_is_left() {
    run(async {
        let (address, timeouts) = busy().await;
        let mut retried = speaking(BackendProtocol::Http2);
        let backoff = Duration::from_millis(50);
        retried.retry = Some(Box::new(Retry {
            codes: BTreeSet::from([RetryCode::new(503).expect("a code")]),
            attempts: NonZeroU32::new(2).expect("not zero"),
            backoff: Some(backoff),
        }));
        let mut limited = retried.clone();
        limited.timeouts.backend_request = Timeout::After(Duration::from_secs(50));
        for (rule, value, most) in [
            (&retried, Some("100S"), Duration::from_secs(100)),
            (&limited, Some("100S"), Duration::from_secs(50)),
            (&retried, Some("soon"), Duration::MAX),
            (&retried, None, Duration::MAX),
        ] {
            timeouts.borrow_mut().clear();
            let proxy = Proxy::with(rule.clone(), &[address]).await;
            let mut call = call("/a", full("x"));
            if let Some(value) = value {
                call.headers_mut().insert("grpc-timeout", value.parse().expect("a value"));
            }
            let response = client(&proxy).await.send_request(call).await.expect("a response");
            assert_eq!(response.status(), 503);
            let seen = timeouts.borrow();
            assert_eq!(seen.len(), 3);
            if most == Duration::MAX {
                assert!(seen.iter().all(|it| it.as_deref() == value), "{seen:?}");
                continue;
            }
            let left: Vec<_> = seen
                .iter()
                .map(|it| grpc_timeout(it.as_deref().expect("a field").as_bytes()).expect("a time"))
                .collect();
            assert!(left[0] <= most && left[0] > most.saturating_sub(Duration::from_secs(40)), "{left:?}");
            if most == Duration::from_secs(100) {
                assert!(left[1] + backoff <= left[0] && left[2] + 2 * backoff <= left[1], "{left:?}");
            }
        }
    });
}

/// What requests say of their callers' time.
type Timeouts = Rc<RefCell<Vec<Option<String>>>>;

/// An endpoint that is always busy.
async fn busy() -> (SocketAddr, Timeouts) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    let timeouts = Timeouts::default();
    let seen = Rc::clone(&timeouts);
    spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let seen = Rc::clone(&seen);
            spawn_local(async move {
                let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let timeout = request.headers().get("grpc-timeout");
                    seen.borrow_mut().push(timeout.map(|it| it.to_str().expect("text").to_owned()));
                    let head = Response::builder().status(503).body(()).expect("a head");
                    respond.send_response(head, true).expect("a stream");
                }
            });
        }
    });
    (address, timeouts)
}

/// The caller's time is over, whatever was tried meanwhile, and however much of the answer is there.
#[test]
fn deadlines_hold_across_tries_and_within_streams() {
    /// Two tries and a message come before it, also on a slow machine.
    const DEADLINE: &str = "3S";
    run(async {
        let origin =
            Origin::start(vec![Act::Send("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n".to_owned())]).await;
        let mut retried = speaking(BackendProtocol::Http1);
        retried.retry = Some(Box::new(Retry {
            codes: BTreeSet::from([RetryCode::new(503).expect("a code")]),
            attempts: NonZeroU32::new(1000).expect("not zero"),
            backoff: Some(Duration::from_millis(20)),
        }));
        let proxy = Proxy::with(retried, &[origin.address]).await;
        let mut limited = call("/a", full("x"));
        limited.headers_mut().insert("grpc-timeout", DEADLINE.parse().expect("a value"));
        let response = client(&proxy).await.send_request(limited).await.expect("a response");
        assert_eq!(status(response).await.1, "4");
        assert!(origin.count() > 1);

        let echo = Echo::start().await;
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[echo.address]).await;
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        let mut limited = call("/a", body.boxed());
        limited.headers_mut().insert("grpc-timeout", DEADLINE.parse().expect("a value"));
        let mut client = client(&proxy).await;
        let response = client.send_request(limited).await.expect("a response");
        sender.send_data(Bytes::from_static(b"one")).await.expect("room");
        assert_eq!(status(response).await, ("one".to_owned(), "4".to_owned()));
        while echo.open.get() > 0 {
            yield_now().await;
        }
    });
}
