//! A service of Envoy's protocol as others have them: built with Envoy's and gRPC's own modules. The request says what the
//! service is to answer, and the service prints what it was asked.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use cluster::go::{self, Kind, Module, Program};
use gateway_agent_proxy::{Reason, Settings};
use http::Method;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::auth_grpc::{external, start_with};
use crate::http2;
use crate::rig::{Act, Origin, Proxy, Response, run_within};

const AUTHZ: Module = Module {
    folder: "authz",
    programs: &[Program { name: "authz", package: ".", kind: Kind::Main, variables: &[] }],
};

/// Go's compiler may have to run first.
const LIMIT: Duration = Duration::from_mins(5);

struct Authz {
    address: SocketAddr,
    child: Child,
    /// None while somebody waits for a line.
    lines: Option<BufReader<ChildStdout>>,
}

impl Authz {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(arguments: &'static [&'static str]) -> Self {
        let child = spawn_blocking(move || {
            let go = go::find().expect("Go, which `cargo xtask cluster up` installs");
            let program = AUTHZ.build(&go).expect("the service").join("authz");
            Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().expect("it runs")
        });
        let mut child = child.await.expect("no panic");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut authz = Self { address, child, lines: Some(lines) };
        authz.address = authz.line().await.parse().expect("an address");
        authz
    }

    async fn line(&mut self) -> String {
        let mut lines = self.lines.take().expect("nobody else waits");
        let (lines, line) = spawn_blocking(move || {
            let mut line = String::new();
            lines.read_line(&mut line).expect("text");
            (lines, line.trim_end().to_owned())
        })
        .await
        .expect("no panic");
        self.lines = Some(lines);
        line
    }

    /// The `CheckRequest`'s attributes.
    async fn asked(&mut self) -> Value {
        let mut question: Value = serde_json::from_str(&self.line().await).expect("JSON");
        question["attributes"].take()
    }
}

impl Drop for Authz {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A `HeaderValueOption`; `rest` says what is to become of fields that are there.
fn option(name: &str, value: &str, rest: &Value) -> Value {
    let mut option = json!({"header": {"key": name, "value": value}});
    for (key, value) in rest.as_object().into_iter().flatten() {
        option[key] = value.clone();
    }
    option
}

fn plain(name: &str, value: &str) -> Value {
    option(name, value, &Value::Null)
}

async fn ask(proxy: &Proxy, target: &str, answer: &Value) -> Response {
    let lines = "X-Client: c\r\nX-Other: c\r\nCookie: a=b\r\n";
    proxy.ask(&format!("GET {target} HTTP/1.1\r\nHost: b\r\n{lines}X-Answer: {answer}\r\n\r\n")).await
}

/// Envoy 1.40, asked the same, tells the same, but for its own headers and ids, and joins cookies by commas.
#[test]
fn a_service_is_told_what_envoy_tells() {
    run_within(LIMIT, async {
        let mut service = Authz::start().await;
        let web = Origin::start(vec![Act::text("web")]).await;
        for (named, body_limit, content, headers, size, body) in [
            (
                &[][..],
                0,
                "text/plain",
                json!({
                    ":authority": "Shop.example:80", ":method": "POST", ":path": "/a/b?c=d&e", ":scheme": "http",
                    "content-length": "5", "content-type": "text/plain", "cookie": "a=b; c=d", "x-team": "a,b",
                    "x-request-id": "17",
                    "x-forwarded-for": "127.0.0.1", "x-forwarded-host": "Shop.example:80", "x-forwarded-proto": "http",
                }),
                json!("5"),
                Value::Null,
            ),
            (
                &["X-Team", "Host"],
                5,
                "text/plain",
                json!({"host": "Shop.example:80", "x-team": "a,b"}),
                json!("5"),
                json!("hello"),
            ),
            (
                &["Content-Length"],
                9,
                "text/plain",
                json!({"content-length": "5"}),
                json!("5"),
                json!("hello"),
            ),
        ] {
            let proxy =
                start_with(Settings::default(), external(named, body_limit), &web, service.address).await;
            let mut client = proxy.connect().await;
            let port = client.socket.local_addr().expect("an address").port();
            client
                .send(&format!(
                    "POST /a/b?c=d&e HTTP/1.1\r\nHost: Shop.example:80\r\nX-Team: a\r\nx-team: b\r\nCookie: a=b\r\ncookie: \
                     c=d\r\nX-Request-Id: 17\r\nContent-Type: {content}\r\nContent-Length: 5\r\n\r\nhello"
                ))
                .await;
            assert_eq!(client.response().await.body, "web");
            let mut asked = service.asked().await;
            let http = &mut asked["request"]["http"];
            if named.is_empty() {
                let trace = http["headers"].as_object_mut().and_then(|headers| headers.remove("traceparent"));
                assert!(trace.is_some(), "{asked}");
            }
            let peer =
                |port| json!({"address": {"socketAddress": {"address": "127.0.0.1", "portValue": port}}});
            assert!(asked["request"]["time"].take().is_string());
            let mut http = json!({
                "id": "17", "method": "POST", "headers": headers, "path": "/a/b?c=d&e", "host": "Shop.example:80",
                "scheme": "http", "size": size, "protocol": "HTTP/1.1",
            });
            if !body.is_null() {
                http["body"] = body;
            }
            let wanted = json!({
                "source": peer(port), "destination": peer(proxy.address.port()), "request": {"time": null, "http": http},
            });
            assert_eq!(asked, wanted, "{named:?}");
        }
    });
}

#[test]
fn what_a_service_allows_is_changed_as_it_says() {
    run_within(LIMIT, async {
        let service = Authz::start().await;
        let web = Origin::start(vec![Act::Send(
            "HTTP/1.1 200 OK\r\nX-Own: o\r\nSet-Cookie: o=1\r\nContent-Length: 3\r\n\r\nweb".to_owned(),
        )])
        .await;
        let proxy = start_with(Settings::default(), external(&[], 0), &web, service.address).await;
        let action = |name| json!({"appendAction": name});
        let append = |append: bool| json!({"append": append});
        // What the endpoint gets of these, and what the client gets.
        for (ok, target, request, response) in [
            (json!({}), "/a?b=c", &["x-client: c", "x-other: c", "cookie: a=b"][..], &["x-own: o"][..]),
            (
                json!({"headers": [plain("X-Client", "s"), plain("x-new", "1"), plain("x-new", "2")]}),
                "/a?b=c",
                &["x-client: s", "x-new: 2", "!x-client: c", "!x-new: 1"],
                &[],
            ),
            (
                json!({"headers": [option("x-client", "s", &append(true)), option("x-new", "n", &append(true))]}),
                "/a?b=c",
                &["x-client: c", "x-client: s", "x-new: n"],
                &[],
            ),
            (
                json!({"headers": [option("x-client", "s", &append(false)), plain("x-empty", "")]}),
                "/a?b=c",
                &["x-client: s", "!x-client: c", "x-empty: "],
                &[],
            ),
            (
                json!({"headers": [
                option("x-client", "s", &action("ADD_IF_ABSENT")), option("x-new", "n", &action("ADD_IF_ABSENT"))]}),
                "/a?b=c",
                &["x-client: c", "!x-client: s", "x-new: n"],
                &[],
            ),
            (
                json!({"headers": [
                option("x-client", "s", &action("OVERWRITE_IF_EXISTS")), option("x-new", "n", &action("OVERWRITE_IF_EXISTS"))]}),
                "/a?b=c",
                &["x-client: s", "!x-client: c", "!x-new"],
                &[],
            ),
            (
                json!({"headers": [
                option("x-client", "s", &action("OVERWRITE_IF_EXISTS_OR_ADD")),
                option("x-new", "n", &action("OVERWRITE_IF_EXISTS_OR_ADD"))]}),
                "/a?b=c",
                &["x-client: s", "!x-client: c", "x-new: n"],
                &[],
            ),
            // What leads the request stays.
            (
                json!({"headers": [plain("Host", "evil"), plain(":path", "/evil"), plain("content-length", "9")],
                    "headersToRemove": ["Host", ":method", "no name", "COOKIE"]}),
                "/a?b=c",
                &["host: b", "!evil", "!cookie", "!content-length"],
                &[],
            ),
            (
                json!({"queryParametersToSet": [{"key": "user", "value": "mary & co"}, {"key": "b", "value": "2"}],
                    "queryParametersToRemove": ["token"]}),
                "/a?%74oken=x&b=c&c=d&token",
                &["get /a?c=d&user=mary%20%26%20co&b=2 http/1.1"],
                &[],
            ),
            (json!({"queryParametersToRemove": ["b"]}), "/a?b=c", &["get /a http/1.1"], &[]),
            (
                json!({"responseHeadersToAdd": [
                plain("set-cookie", "s=1"), plain("set-cookie", "t=1"), option("x-own", "s", &append(false)),
                option("x-new", "n", &action("ADD_IF_ABSENT")), option("x-new", "m", &action("ADD_IF_ABSENT")),
                plain("content-length", "1")]}),
                "/a?b=c",
                &[],
                &[
                    "set-cookie: o=1",
                    "set-cookie: s=1",
                    "set-cookie: t=1",
                    "x-own: s",
                    "!x-own: o",
                    "x-new: n",
                    "!x-new: m",
                ],
            ),
        ] {
            // Some leave the status out.
            assert_eq!(ask(&proxy, target, &json!({"okResponse": ok})).await.status, 200);
            let got = ask(&proxy, target, &json!({"status": {}, "okResponse": ok})).await;
            assert_eq!((got.status, &*got.body), (200, "web"), "{ok}");
            check(&web.last().0, request);
            check(&got.head, response);
        }
    });
}

/// Whether a head has these lines, and nothing of those behind a `!`.
fn check(head: &str, wanted: &[&str]) {
    let head = head.to_ascii_lowercase();
    // The request names all of it there.
    let lines: Vec<_> = head.lines().map(str::trim_end).filter(|it| !it.starts_with("x-answer")).collect();
    for line in wanted {
        let is_right = match line.strip_prefix('!') {
            None => lines.contains(&line.trim_end()),
            Some(gone) => !lines.iter().any(|it| it.contains(gone)),
        };
        assert!(is_right, "{line}: {head}");
    }
}

#[test]
fn what_a_service_denies_is_answered_as_it_says() {
    run_within(LIMIT, async {
        let service = Authz::start().await;
        let web = Origin::start(vec![Act::text("web")]).await;
        let proxy = start_with(Settings::default(), external(&[], 0), &web, service.address).await;
        let denied = |denied: Value| json!({"status": {"code": 7}, "deniedResponse": denied});
        for (answer, status, body, lines, reason) in [
            (denied(json!({})), 403, "", &[][..], Reason::Denied),
            (
                denied(
                    json!({"status": {"code": 401}, "headers": [plain("WWW-Authenticate", "Basic")], "body": "who?"}),
                ),
                401,
                "who?",
                &["www-authenticate: Basic", "content-type: text/plain"],
                Reason::Denied,
            ),
            (
                denied(json!({"headers": [plain("set-cookie", "a=1"), plain("set-cookie", "b=2"),
                    plain("content-type", "application/json"), plain("content-length", "99")], "body": "{}"})),
                403,
                "{}",
                &[
                    "set-cookie: a=1",
                    "set-cookie: b=2",
                    "content-type: application/json",
                    "Content-Length: 2",
                ],
                Reason::Denied,
            ),
            (
                denied(json!({"status": {"code": 302}, "headers": [plain("location", "https://login/")]})),
                302,
                "",
                &["location: https://login/"],
                Reason::Denied,
            ),
            (
                denied(json!({"status": {"code": 200}, "body": "in words"})),
                200,
                "in words",
                &[],
                Reason::Denied,
            ),
            (json!({"status": {"code": 7}, "okResponse": {}}), 403, "", &[], Reason::Denied),
            (json!({"status": {"code": 7}}), 403, "", &[], Reason::Denied),
            (
                json!({"status": {"code": 13}, "errorResponse": {"status": {"code": 503}, "body": "later"}}),
                503,
                "later",
                &[],
                Reason::Denied,
            ),
            (json!({"status": {"code": 13}, "errorResponse": {}}), 500, "", &[], Reason::Denied),
            // Without a status nothing is decided.
            (json!({}), 500, "Internal Server Error", &[], Reason::AuthMalformed),
            (json!({"deniedResponse": {}}), 500, "Internal Server Error", &[], Reason::AuthMalformed),
            (
                json!({"status": {}, "okResponse": {"headers": [plain("a b", "c")]}}),
                500,
                "Internal Server Error",
                &[],
                Reason::AuthMalformed,
            ),
            (
                json!({"status": {}, "okResponse": {"headers": [plain("a", "b\r\nc: d")]}}),
                500,
                "Internal Server Error",
                &[],
                Reason::AuthMalformed,
            ),
        ] {
            let before = proxy.server.counters.replies(reason);
            let got = ask(&proxy, "/", &answer).await;
            assert_eq!((got.status, &*got.body), (status, body), "{answer}");
            for line in lines {
                assert!(got.head.lines().any(|it| it == *line), "{line}: {}", got.head);
            }
            assert_eq!(proxy.server.counters.replies(reason), before + 1, "{answer}");
        }
        assert_eq!(web.connections.get(), 0);
    });
}

#[test]
fn a_service_that_fails_or_is_late_or_gone_lets_nothing_pass() {
    run_within(LIMIT, async {
        let mut service = Authz::start().await;
        let web = Origin::start(vec![Act::text("web")]).await;
        let hasty = Settings { auth_timeout: Duration::from_millis(500), ..Settings::default() };
        let hasty = start_with(hasty, external(&[], 0), &web, service.address).await;
        let proxy = start_with(Settings::default(), external(&[], 0), &web, service.address).await;
        let ask_of = async |proxy: &Proxy, line: &str| {
            proxy.ask(&format!("GET / HTTP/1.1\r\nHost: b\r\n{line}\r\n\r\n")).await.status
        };
        let ask = async |line: &str| ask_of(&proxy, line).await;
        assert_eq!(ask_of(&hasty, "X-Wait: 1h").await, 500);
        assert_eq!(hasty.server.counters.replies(Reason::AuthLate), 1);
        assert_eq!(ask("X-Code: 14").await, 500);
        assert_eq!(proxy.server.counters.replies(Reason::AuthMalformed), 1);
        assert_eq!(web.connections.get(), 0);
        assert_eq!(ask("X-Wait: 0s").await, 200);
        service.child.kill().expect("it runs");
        service.child.wait().expect("it has ended");
        assert_eq!(ask("X-Wait: 0s").await, 500);
        assert_eq!(proxy.server.counters.replies(Reason::AuthUnreachable), 1);
        assert_eq!(web.count(), 1);
    });
}

#[test]
fn callers_of_grpc_are_told_in_its_terms() {
    run_within(LIMIT, async {
        let mut service = Authz::start().await;
        let web = Origin::start(vec![Act::text("web")]).await;
        let proxy = start_with(Settings::default(), external(&[], 0), &web, service.address).await;
        let long = "x".repeat(2000);
        for (answer, status, message) in [
            (
                json!({"status": {"code": 401}, "headers": [plain("www-authenticate", "Basic")], "body": "who? 100% \u{e4}"}),
                "16",
                "who? 100%25 %C3%A4",
            ),
            (json!({}), "7", "Forbidden"),
            (json!({"status": {"code": 429}, "body": long}), "14", "Too Many Requests"),
        ] {
            let text = json!({"status": {"code": 7}, "deniedResponse": answer}).to_string();
            let mut call = http2::request(Method::POST, "/shop.Cart/Add", http2::full("message"));
            for (name, value) in [("content-type", "application/grpc"), ("x-answer", &text)] {
                call.headers_mut()
                    .insert(name, http::HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
            }
            let response = http2::client(&proxy).await.send_request(call).await.expect("a response");
            let (code, headers, body, _) = http2::text(response).await;
            assert_eq!(
                (code, &*body, headers["grpc-status"].as_bytes()),
                (200, "", status.as_bytes()),
                "{answer}"
            );
            assert_eq!(headers["grpc-message"].as_bytes(), message.as_bytes());
            assert_eq!(headers.get_all("content-type").iter().collect::<Vec<_>>(), ["application/grpc"]);
            assert_eq!(headers.contains_key("www-authenticate"), answer["headers"].is_array());
            let asked = service.asked().await;
            assert_eq!(asked["request"]["http"]["protocol"], "HTTP/2");
            assert_eq!(asked["request"]["http"]["headers"][":path"], "/shop.Cart/Add");
        }
        assert_eq!(web.connections.get(), 0);
    });
}

/// Go's servers end connections by GOAWAY: no request that comes at that moment may fail.
#[test]
fn connections_that_a_service_ends_are_replaced() {
    run_within(LIMIT, async {
        let mut service = Authz::start_with(&["-age", "20ms"]).await;
        let web = Origin::start(vec![Act::text("web")]).await;
        let proxy = start_with(Settings::default(), external(&[], 0), &web, service.address).await;
        let mut client = proxy.connect().await;
        for _ in 0..300 {
            client.send("GET / HTTP/1.1\r\nHost: b\r\n\r\n").await;
            let status = client.response().await.status;
            assert_eq!((status, proxy.server.counters.replies(Reason::AuthUnreachable)), (200, 0));
            service.asked().await;
        }
    });
}
