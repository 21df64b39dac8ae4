//! Lines about requests, as JSON that is parsed again.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_agent_proxy::telemetry::Output;
use gateway_agent_proxy::{Server, Settings};
use gateway_agent_tables::http::{HttpAction, HttpRefusal, HttpTables};
use http::Method;
use serde_json::{Value, json};

use crate::http2;
use crate::rig::{Act, Origin, Proxy, backend, rule, run, split, tables};

/// Far longer than writing takes.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A proxy whose log can be read.
struct Logged {
    proxy: Proxy,
    written: Written,
}

impl Logged {
    async fn start() -> Self {
        let written = Written::default();
        let proxy = Proxy::of_server(Server::with_log(Settings::default(), Box::new(written.clone()))).await;
        Self { proxy, written }
    }

    fn lines(&self) -> Vec<Value> {
        self.proxy.server.flush(PATIENCE);
        let text = String::from_utf8(self.written.0.lock().expect("no panic").clone()).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    fn update(&self, one_in: Option<u32>, mut tables: HttpTables) {
        set_log(&mut tables, one_in);
        self.proxy.server.replace(&tables);
    }
}

fn set_log(tables: &mut HttpTables, one_in: Option<u32>) {
    for listener in tables.listeners.values_mut() {
        listener.telemetry.access_log = one_in.and_then(NonZeroU32::new);
    }
}

/// The line without what differs from run to run, which must be there.
fn stable(line: &Value) -> Value {
    let mut line = line.clone();
    let fields = line.as_object_mut().expect("an object");
    let time = fields.remove("time").expect("a time");
    let time = time.as_str().expect("text");
    assert!(time.len() == "2026-01-02T03:04:05.678Z".len() && time.ends_with('Z'), "{time}");
    assert!(fields.remove("duration_ms").is_some_and(|it| it.is_f64()), "a duration");
    line
}

#[test]
fn a_line_says_what_became_of_a_request() {
    run(async {
        let origin = Origin::start(vec![Act::text("hello")]).await;
        let logged = Logged::start().await;
        let address = logged.proxy.address;
        let refused = rule(HttpAction::Refuse(HttpRefusal::NoBackend));
        let forward = rule(split(vec![backend("shop/web:80", 1, vec![])]));
        let mut tables = tables(
            address,
            vec![("/refused", refused), ("/", forward)],
            &[("shop/web:80", &[origin.address])],
        );
        tables.listeners.values_mut().for_each(|it| it.telemetry.most_series = 0);
        logged.update(Some(1), tables);
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let request = format!(
            "GET /a\"b?secret=1 HTTP/1.1\r\nHost: shop.example:80\r\nUser-Agent: \"x\"\\\u{e4}\t{{\r\n\
             traceparent: 00-{trace}-b7ad6b7169203331-01\r\n\r\n"
        )
        .replace("\"b", "%22b");
        let response = logged.proxy.ask(&request).await;
        assert_eq!(response.body, "hello");
        logged.proxy.ask("GET /refused HTTP/1.0\r\nHost: a\r\nUser-Agent: \r\n\r\n").await;
        let lines = logged.lines();
        assert_eq!(
            stable(&lines[0]),
            json!({
                "client": "127.0.0.1", "method": "GET", "host": "shop.example:80", "path": "/a%22b",
                "protocol": "HTTP/1.1", "user_agent": "\"x\"\\\u{e4}\t{", "trace_id": trace,
                "gateway": "shop/gateway", "listener": "http", "route": "HTTPRoute shop/web", "rule": "0",
                "backend": "shop/web:80", "endpoint": origin.address.to_string(), "status": 200, "retries": 0,
                "bytes_in": request.len(), "bytes_out": response.head.len() + response.body.len(),
            })
        );
        let refused = stable(&lines[1]);
        assert_eq!(refused["status"], 500);
        assert_eq!(refused["failure"], "invalid_route");
        assert_eq!(refused["protocol"], "HTTP/1.0");
        assert_eq!(refused["endpoint"], Value::Null);
        assert_eq!(lines.len(), 2);
    });
}

#[test]
fn failures_have_their_reason() {
    run(async {
        let gone = "127.0.0.1:1".parse().expect("an address");
        let early = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_owned();
        let origin = Origin::start(vec![Act::SendAndClose(early), Act::Silence]).await;
        let logged = Logged::start().await;
        let web = |name: &str| rule(split(vec![backend(name, 1, vec![])]));
        logged.update(
            Some(1),
            tables(
                logged.proxy.address,
                vec![("/gone", web("gone")), ("/", web("web"))],
                &[("gone", &[gone]), ("web", &[origin.address])],
            ),
        );
        assert_eq!(logged.proxy.ask("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 503);
        let mut client = logged.proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(client.rest().await.ends_with("half"));
        let mut client = logged.proxy.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na").await;
        while origin.connections.get() < 2 {
            tokio::task::yield_now().await;
        }
        drop(client);
        while logged.lines().len() < 3 {
            tokio::task::yield_now().await;
        }
        let lines = logged.lines();
        let reasons: Vec<_> = lines.iter().map(|line| (&line["failure"], &line["status"])).collect();
        assert_eq!(reasons[0], (&json!("unreachable"), &json!(503)));
        assert_eq!(reasons[1], (&json!("aborted"), &json!(200)));
        assert_eq!(reasons[2], (&json!("client_gone"), &Value::Null));
    });
}

#[test]
fn answers_of_the_proxy_have_their_reason_over_http_2_too() {
    run(async {
        let logged = Logged::start().await;
        let refused = rule(HttpAction::Refuse(HttpRefusal::NoBackend));
        logged.update(Some(1), tables(logged.proxy.address, vec![("/", refused)], &[]));
        let mut client = http2::client(&logged.proxy).await;
        let answer = client.send_request(http2::request(Method::GET, "/", http2::empty())).await;
        assert_eq!(answer.expect("an answer").status(), 500);
        while logged.lines().is_empty() {
            tokio::task::yield_now().await;
        }
        let line = &logged.lines()[0];
        assert_eq!((&line["status"], &line["failure"]), (&json!(500), &json!("invalid_route")));
    });
}

#[test]
fn the_log_follows_the_tables() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let logged = Logged::start().await;
        let web = || {
            let web = rule(split(vec![backend("web", 1, vec![])]));
            tables(logged.proxy.address, vec![("/", web)], &[("web", &[origin.address])])
        };
        let mut client = logged.proxy.connect().await;
        for (one_in, times, lines) in
            [(None, 3, 0..=0), (Some(1), 3, 3..=3), (Some(1_000_000), 3, 3..=4), (None, 3, 3..=4)]
        {
            logged.update(one_in, web());
            for _ in 0..times {
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                assert_eq!(client.response().await.status, 200);
            }
            let found = logged.lines().len();
            assert!(lines.contains(&found), "{found} lines with {one_in:?}");
        }
    });
}

/// Takes bytes only when it is told to.
struct Stuck(Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn nobody_waits_for_the_log_and_what_is_lost_is_counted() {
    run(async {
        let (release, stuck) = channel();
        // More than rings hold, and one line.
        for (output, requests) in [(Box::new(Stuck(stuck)) as Output, 400), (Box::new(Full), 1)] {
            let proxy = Proxy::of_server(Server::with_log(Settings::default(), output)).await;
            let refused = rule(HttpAction::Refuse(HttpRefusal::NoBackend));
            let mut tables = tables(proxy.address, vec![("/", refused)], &[]);
            set_log(&mut tables, Some(1));
            proxy.server.replace(&tables);
            let mut client = proxy.connect().await;
            let request = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(6_000));
            for _ in 0..requests {
                client.send(&request).await;
                assert_eq!(client.response().await.status, 500);
            }
            if requests == 1 {
                proxy.server.flush(PATIENCE);
            }
            assert!(proxy.server.figures().failures.unlogged > 0);
        }
        drop(release);
    });
}
