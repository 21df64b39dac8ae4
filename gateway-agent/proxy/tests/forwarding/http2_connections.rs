//! How many connections endpoints that speak HTTP/2 get, and what becomes of requests when one can't be had or ends.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use gateway_agent_proxy::Settings;
use gateway_agent_tables::http::{BackendProtocol, HttpRule};
use h2::server::{Builder, SendResponse};
use http::Response;
use hyper::body::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local, yield_now};

use crate::failures::refusing;
use crate::frames::{self, END_HEADERS, END_STREAM, GOAWAY, HEADERS, SETTINGS, frame, next_of};
use crate::http2::speaking;
use crate::http2_endpoints::accept;
use crate::rig::{Proxy, run, tables};

/// `:status` 200 (RFC 7541, appendix A).
const OK_BLOCK: &[u8] = &[0x88];

/// An endpoint that answers when it is told to.
struct Held {
    address: SocketAddr,
    connections: Rc<Cell<usize>>,
    waiting: Rc<RefCell<Vec<SendResponse<Bytes>>>>,
    /// Connections that have ended.
    ended: Rc<Cell<usize>>,
    drain: Rc<Notify>,
}

impl Held {
    /// One that takes so many streams at once on each connection.
    async fn start(streams: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let held = Self {
            address,
            connections: Rc::default(),
            waiting: Rc::default(),
            ended: Rc::default(),
            drain: Rc::default(),
        };
        let (connections, waiting) = (Rc::clone(&held.connections), Rc::clone(&held.waiting));
        let (ended, drain) = (Rc::clone(&held.ended), Rc::clone(&held.drain));
        spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                connections.set(connections.get() + 1);
                let (waiting, ended, drain) = (Rc::clone(&waiting), Rc::clone(&ended), Rc::clone(&drain));
                spawn_local(async move {
                    let mut builder = Builder::new();
                    let mut connection =
                        builder.max_concurrent_streams(streams).handshake(socket).await.expect("HTTP/2");
                    loop {
                        tokio::select! {
                            taken = connection.accept() => match taken {
                                Some(Ok((_, respond))) => waiting.borrow_mut().push(respond),
                                _ => break,
                            },
                            () = drain.notified() => connection.graceful_shutdown(),
                        }
                    }
                    ended.set(ended.get() + 1);
                });
            }
        });
        held
    }

    /// Waits until it has so many requests.
    async fn has(&self, requests: usize) {
        while self.waiting.borrow().len() < requests {
            yield_now().await;
        }
    }

    /// Answers those that it has.
    fn answer(&self) {
        for mut respond in self.waiting.borrow_mut().drain(..) {
            respond.send_response(Response::new(()), true).expect("a stream");
        }
    }

    /// The same for the one that came first.
    fn answer_first(&self) {
        let mut respond = self.waiting.borrow_mut().remove(0);
        respond.send_response(Response::new(()), true).expect("a stream");
    }
}

fn http2() -> HttpRule {
    speaking(BackendProtocol::Http2)
}

/// So many requests at once, each on its own connection to the proxy, and the codes of their answers.
fn ask(proxy: &Rc<Proxy>, requests: usize) -> Vec<JoinHandle<u16>> {
    let ask = |_| {
        let proxy = Rc::clone(proxy);
        spawn_local(async move { proxy.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.status })
    };
    (0..requests).map(ask).collect()
}

async fn codes(asked: Vec<JoinHandle<u16>>) -> Vec<u16> {
    let mut codes = Vec::new();
    for asked in asked {
        codes.push(asked.await.expect("an answer"));
    }
    codes
}

#[test]
fn many_first_requests_make_as_few_connections_as_hold_them() {
    run(async {
        for (streams, connections) in [(1000, 1), (100, 1), (30, 4), (10, 10)] {
            let endpoint = Held::start(streams).await;
            let proxy = Rc::new(Proxy::with(http2(), &[endpoint.address]).await);
            let asked = ask(&proxy, 100);
            endpoint.has(100).await;
            assert_eq!(endpoint.connections.get(), connections, "{streams} streams each");
            endpoint.answer();
            assert_eq!(codes(asked).await, [200; 100]);
            let asked = ask(&proxy, 100);
            endpoint.has(100).await;
            assert_eq!(endpoint.connections.get(), connections, "they are used again");
            endpoint.answer();
            codes(asked).await;
        }
    });
}

/// An endpoint may say that it takes no stream at all for now: a request on each connection waits there.
#[test]
fn endpoints_that_take_no_stream_get_a_connection_for_each() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let proxy = Rc::new(Proxy::with(http2(), &[address]).await);
        let asked = ask(&proxy, 2);
        let (mut one, _) = listener.accept().await.expect("a connection");
        let none = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0]);
        one.write_all(&none).await.expect("taken");
        // It has had its first request before it could say so.
        frames::preface(&mut one).await;
        assert_eq!(next_of(&mut one, HEADERS).await.stream, 1);
        let (mut other, _) = listener.accept().await.expect("another one");
        frames::preface(&mut other).await;
        for socket in [&mut one, &mut other] {
            let change = [none.clone(), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])].concat();
            socket.write_all(&change).await.expect("taken");
        }
        assert_eq!(next_of(&mut other, HEADERS).await.stream, 1);
        for socket in [&mut one, &mut other] {
            let answer = frame(HEADERS, END_HEADERS | END_STREAM, 1, OK_BLOCK);
            socket.write_all(&answer).await.expect("taken");
        }
        assert_eq!(codes(asked).await, [200; 2]);
    });
}

/// Those who wait for one connection go elsewhere as each would that made its own.
#[test]
fn a_connection_that_fails_sends_all_elsewhere() {
    run(async {
        let endpoint = Held::start(1000).await;
        let proxy = Rc::new(Proxy::with(http2(), &[refusing(), endpoint.address]).await);
        let asked = ask(&proxy, 50);
        endpoint.has(50).await;
        endpoint.answer();
        assert_eq!(codes(asked).await, [200; 50]);
        let proxy = Rc::new(Proxy::with(http2(), &[refusing(), refusing()]).await);
        assert_eq!(codes(ask(&proxy, 50)).await, [503; 50]);
    });
}

/// It accepts connections and says nothing. One request each is sent before that is known.
#[test]
fn nobody_waits_long_for_an_endpoint_that_says_nothing() {
    run(async {
        let mute = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = mute.local_addr().expect("an address");
        let settings = Settings { connect_timeout: Duration::from_millis(300), ..Settings::default() };
        let proxy = Rc::new(Proxy::start(settings).await);
        proxy.server.replace(&tables(proxy.address, vec![("/", http2())], &[("web", &[address])]));
        let mut asked = ask(&proxy, 20);
        let (socket, _) = mute.accept().await.expect("a connection");
        let mut late = 0;
        while late < 19 {
            yield_now().await;
            let done: Vec<_>;
            (done, asked) = asked.into_iter().partition(JoinHandle::is_finished);
            late += done.len();
            assert!(codes(done).await.iter().all(|code| *code == 503));
        }
        drop(socket);
        assert_eq!(codes(asked).await, [502], "the endpoint may have seen it");
    });
}

#[test]
fn connections_without_streams_end() {
    run(async {
        let endpoint = Held::start(1).await;
        let settings = Settings { upstream_idle_timeout: Duration::from_millis(500), ..Settings::default() };
        let proxy = Rc::new(Proxy::start(settings).await);
        proxy.server.replace(&tables(proxy.address, vec![("/", http2())], &[("web", &[endpoint.address])]));
        let asked = ask(&proxy, 3);
        endpoint.has(3).await;
        endpoint.answer_first();
        endpoint.answer_first();
        while endpoint.ended.get() < 2 {
            yield_now().await;
        }
        endpoint.answer();
        assert_eq!(codes(asked).await, [200; 3]);
        while endpoint.ended.get() < 3 {
            yield_now().await;
        }
    });
}

/// An endpoint that is about to stop: what it has it answers, and what comes then is on another connection.
#[test]
fn a_connection_that_drains_keeps_what_it_has_and_gets_no_more() {
    run(async {
        let endpoint = Held::start(1000).await;
        let proxy = Rc::new(Proxy::with(http2(), &[endpoint.address]).await);
        let before = ask(&proxy, 5);
        endpoint.has(5).await;
        endpoint.drain.notify_one();
        let mut after = 0;
        let mut asked = Vec::new();
        while endpoint.connections.get() < 2 {
            asked.extend(ask(&proxy, 1));
            after += 1;
            endpoint.has(5 + after).await;
        }
        assert_eq!(endpoint.ended.get(), 0);
        endpoint.answer();
        assert_eq!(codes(before).await, [200; 5]);
        assert!(codes(asked).await.iter().all(|code| *code == 200));
        while endpoint.ended.get() < 1 {
            yield_now().await;
        }
    });
}

/// Streams above the last that an endpoint says it has looked at go to another connection; those below are answered.
#[test]
fn what_an_endpoint_has_not_looked_at_goes_to_another_connection() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let proxy = Rc::new(Proxy::with(http2(), &[address]).await);
        let asked = ask(&proxy, 3);
        let mut one = accept(&listener).await;
        for _ in 0..3 {
            next_of(&mut one, HEADERS).await;
        }
        let ok = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, OK_BLOCK);
        one.write_all(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await.expect("taken");
        let mut other = accept(&listener).await;
        for stream in [1, 3] {
            assert_eq!(next_of(&mut other, HEADERS).await.stream, stream);
        }
        one.write_all(&ok(1)).await.expect("taken");
        other.write_all(&[ok(1), ok(3)].concat()).await.expect("taken");
        assert_eq!(codes(asked).await, [200; 3]);
        while frames::next(&mut one).await.is_some() {}
    });
}

/// An endpoint may close a connection just as a request is sent on it, without a word.
#[test]
fn what_meets_a_connection_that_closes_is_sent_again() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let proxy = Rc::new(Proxy::with(http2(), &[address]).await);
        let ok = frame(HEADERS, END_HEADERS | END_STREAM, 1, OK_BLOCK);
        let asked = ask(&proxy, 1);
        let mut one = accept(&listener).await;
        next_of(&mut one, HEADERS).await;
        one.write_all(&ok).await.expect("taken");
        assert_eq!(codes(asked).await, [200]);
        let asked = ask(&proxy, 1);
        next_of(&mut one, HEADERS).await;
        drop(one);
        let mut other = accept(&listener).await;
        next_of(&mut other, HEADERS).await;
        other.write_all(&ok).await.expect("taken");
        assert_eq!(codes(asked).await, [200]);
        // What changes something the endpoint may have done.
        let mut client = proxy.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").await;
        next_of(&mut other, HEADERS).await;
        drop(other);
        assert_eq!(client.response().await.status, 502);
    });
}
