//! Services that are asked by HTTP whether a request goes on.

use std::time::Duration;

use gateway_agent_proxy::{Reason, Settings};
use gateway_agent_tables::http::{
    AuthProtocol, BackendProtocol, ExternalAuth, FieldName, FieldValue, Filter, Fraction, HeaderEdits,
    HttpAction, HttpLimits, HttpRule, HttpTarget, Mirror, Path, PathRewrite, Redirect, RedirectStatus,
    Timeout, Upstream, UrlRewrite,
};
use http::Method;
use proptest::prelude::*;
use tokio::net::TcpListener;

use crate::failures::refusing;
use crate::http2;
use crate::rig::{Act, Origin, Proxy, backend, chunked, rule, run, service, split, tables};

/// What is in front of the backend `web` and asks the service `auth`.
fn external() -> ExternalAuth {
    ExternalAuth {
        upstream: Upstream { service: service("auth"), protocol: BackendProtocol::Http1, encrypted: false },
        protocol: AuthProtocol::Http { prefix: None, request_headers: vec![], response_headers: vec![] },
        body_limit: 0,
    }
}

fn with(request: &[&str], response: &[&str]) -> ExternalAuth {
    let names = |names: &[&str]| names.iter().map(|it| FieldName::parse(it).expect("a name")).collect();
    let protocol = AuthProtocol::Http {
        prefix: Some(Path::parse("/check/").expect("a path")),
        request_headers: names(request),
        response_headers: names(response),
    };
    ExternalAuth { protocol, ..external() }
}

fn guarded(auth: ExternalAuth) -> HttpRule {
    let mut rule = rule(split(vec![backend("web", 1, vec![])]));
    rule.filters = vec![Filter::ExternalAuth(auth)];
    rule
}

fn set(name: &str, value: &str) -> HeaderEdits {
    let field = (FieldName::parse(name).expect("a name"), FieldValue::parse(value).expect("a value"));
    HeaderEdits::new(vec![field], vec![], vec![]).expect("edits")
}

async fn start(rule: HttpRule, web: &Origin, auth: &[std::net::SocketAddr]) -> Proxy {
    start_with(Settings::default(), rule, web, auth).await
}

async fn start_with(
    settings: Settings,
    rule: HttpRule,
    web: &Origin,
    auth: &[std::net::SocketAddr],
) -> Proxy {
    let proxy = Proxy::start(settings).await;
    let services: [(&str, &[_]); 2] = [("web", &[web.address]), ("auth", auth)];
    proxy.server.replace(&tables(proxy.address, vec![("/", rule)], &services));
    proxy
}

fn answer(status: &str, fields: &str, body: &str) -> Act {
    Act::Send(format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()))
}

/// The lines of a head below its first, sorted, in lower case, without Host and those that the proxy adds.
fn lines(head: &str) -> Vec<String> {
    let lines = head.lines().skip(1).filter(|line| !line.is_empty()).map(str::to_ascii_lowercase);
    let mut kept: Vec<_> = lines
        .filter(|line| !["host:", "x-forwarded", "traceparent:"].iter().any(|added| line.starts_with(added)))
        .collect();
    kept.sort();
    kept
}

#[test]
fn what_a_service_allows_goes_on_with_its_fields() {
    run(async {
        let sent = "x-user: root\r\nX-Team: a\r\nAuthorization: Basic eA==\r\nCookie: c=d\r\n";
        for (auth, fields, asked, arrived) in [
            // Nothing is named: little is sent, all is copied.
            (
                external(),
                "X-User: mary\r\nX-Group: 1\r\nX-Group: 2\r\nHost: evil\r\nContent-Type: text/plain\r\n",
                vec!["authorization: basic ea==", "content-length: 0"],
                vec![
                    "authorization: basic ea==",
                    "cookie: c=d",
                    "x-group: 1",
                    "x-group: 2",
                    "x-team: a",
                    "x-user: mary",
                ],
            ),
            (
                with(&["Cookie", "x-forwarded-nothing"], &["X-User"]),
                "X-User: mary\r\nX-Group: 1\r\n",
                vec!["authorization: basic ea==", "content-length: 0", "cookie: c=d"],
                vec!["authorization: basic ea==", "cookie: c=d", "x-team: a", "x-user: mary"],
            ),
            // A client can't say what the service alone may say.
            (
                with(&[], &["X-User", "X-Team"]),
                "",
                vec!["authorization: basic ea==", "content-length: 0"],
                vec!["authorization: basic ea==", "cookie: c=d"],
            ),
        ] {
            let (web, service) = (
                Origin::start(vec![Act::text("web")]).await,
                Origin::start(vec![answer("200 OK", fields, "ignored")]).await,
            );
            let proxy = start(guarded(auth.clone()), &web, &[service.address]).await;
            let mut client = proxy.connect().await;
            for _ in 0..3 {
                client.send(&format!("GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\n{sent}\r\n")).await;
                let response = client.response().await;
                assert_eq!((response.status, &*response.body), (200, "web"));
                let path = if auth == external() { "/a?b=c" } else { "/check/a?b=c" };
                let question = service.last().0;
                assert!(
                    question.starts_with(&format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n")),
                    "{question}"
                );
                assert_eq!(lines(&question), asked);
                assert_eq!(lines(&web.last().0), arrived);
                assert!(web.last().0.starts_with("GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\n"));
            }
            assert_eq!((service.count(), service.connections.get()), (3, 1), "one connection for all");
        }
    });
}

#[test]
fn what_a_service_denies_gets_its_answer() {
    run(async {
        let login = "Location: https://login.example/\r\nSet-Cookie: s=1\r\nSet-Cookie: t=2\r\n";
        for (act, status, body, has) in [
            (
                answer("401 No", "WWW-Authenticate: Basic\r\nContent-Type: text/html\r\n", "<p>who?"),
                401,
                "<p>who?",
                "WWW-Authenticate: basic",
            ),
            (answer("302 Found", login, ""), 302, "", "Set-Cookie: t=2"),
            (answer("403 No", "", "no"), 403, "no", ""),
            (answer("500 No", "", "broken"), 500, "broken", ""),
            // Of all codes of success only one allows; a client must not take the others for the endpoint's.
            (answer("201 Created", "", "made"), 403, "", ""),
            (Act::Send("HTTP/1.1 204 X\r\n\r\n".to_owned()), 403, "", ""),
            (Act::SendAndClose("HTTP/1.1 429 X\r\n\r\nslow down".to_owned()), 429, "slow down", ""),
            (
                Act::Send(format!(
                    "HTTP/1.1 403 X\r\nTransfer-Encoding: chunked\r\n\r\n{}",
                    chunked(&["a", "b"], "")
                )),
                403,
                "ab",
                "",
            ),
        ] {
            let (web, service) =
                (Origin::start(vec![Act::text("web")]).await, Origin::start(vec![act.clone()]).await);
            let mut rule = guarded(external());
            rule.filters.push(Filter::ResponseHeaders(set("X-Rule", "1")));
            let proxy = start(rule, &web, &[service.address]).await;
            let mut client = proxy.connect().await;
            for _ in 0..2 {
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                let response = client.response().await;
                assert_eq!((response.status, &*response.body), (status, body), "{act:?}");
                let head = response.head.to_ascii_lowercase();
                assert!(head.contains(&has.to_ascii_lowercase()) && head.contains("x-rule: 1"), "{head}");
            }
            assert_eq!((web.count(), web.connections.get()), (0, 0));
            assert_eq!(proxy.server.counters.replies(Reason::Denied), 2);
        }
    });
}

/// Whatever goes wrong refuses the request, and says why.
#[test]
fn without_a_decision_nothing_goes_on() {
    run(async {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let origin = |act: Act| async { Origin::start(vec![act]).await.address };
        let long = "x".repeat(70_000);
        for (auth, reason) in [
            (vec![], Reason::AuthUnreachable),
            (vec![refusing(), refusing()], Reason::AuthUnreachable),
            (vec![origin(Act::Close).await], Reason::AuthUnreachable),
            (vec![silent.local_addr().expect("an address")], Reason::AuthLate),
            (vec![origin(Act::Silence).await], Reason::AuthLate),
            (
                vec![origin(Act::Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab".to_owned())).await],
                Reason::AuthLate,
            ),
            (
                vec![
                    origin(Act::SendAndClose("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab".to_owned()))
                        .await,
                ],
                Reason::AuthMalformed,
            ),
            (vec![origin(Act::Send("SSH-2.0-x\r\n".to_owned())).await], Reason::AuthMalformed),
            (
                vec![
                    origin(Act::Send(
                        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(),
                    ))
                    .await,
                ],
                Reason::AuthMalformed,
            ),
            (vec![origin(answer("403 No", "", &long)).await], Reason::AuthMalformed),
            (vec![origin(Act::Upgrade).await], Reason::AuthMalformed),
        ] {
            let web = Origin::start(vec![Act::text("web")]).await;
            let mut settings = Settings::default();
            if reason == Reason::AuthLate {
                settings.auth_timeout = Duration::from_millis(300);
            }
            let proxy = start_with(settings, guarded(external()), &web, &auth).await;
            let response = proxy.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!((response.status, web.count()), (500, 0), "{reason:?}");
            assert_eq!(proxy.server.counters.replies(reason), 1, "{reason:?}");
        }
    });
}

/// Endpoints of the service that refuse are passed over, and so is a connection that was closed while it was idle.
#[test]
fn a_service_is_reached_if_it_can_be() {
    run(async {
        let web = Origin::start(vec![Act::text("web")]).await;
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned();
        let service = Origin::start(vec![Act::Send(ok.clone()), Act::Close, Act::SendAndClose(ok)]).await;
        let proxy = start(guarded(external()), &web, &[refusing(), service.address]).await;
        for _ in 0..10 {
            assert_eq!(proxy.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
        }
        assert_eq!(service.count(), 11, "one question was asked twice");
    });
}

#[test]
fn a_rules_time_counts_what_a_service_takes() {
    run(async {
        let web = Origin::start(vec![Act::text("web")]).await;
        let service = Origin::start(vec![Act::Silence]).await;
        let mut rule = guarded(external());
        rule.timeouts.request = Timeout::After(Duration::from_millis(100));
        let proxy = start(rule, &web, &[service.address]).await;
        let response = proxy.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!((response.status, web.count()), (504, 0));
    });
}

#[test]
fn bodies_are_shown_up_to_the_limit() {
    run(async {
        let long = "0123456789abcdef".repeat(2_000);
        for (fields, body, shown, status) in [
            ("", String::new(), "", 200),
            ("Content-Length: 5\r\n", "hello".to_owned(), "hello", 200),
            ("Content-Length: 32000\r\n", long.clone(), &*long, 200),
            ("Content-Length: 32001\r\n", format!("{long}x"), "", 413),
            ("Content-Length: 32001\r\n", String::new(), "", 413),
            ("Transfer-Encoding: chunked\r\n", chunked(&["he", "llo"], "x-sum: 1\r\n"), "hello", 200),
            ("Transfer-Encoding: chunked\r\n", chunked(&[&long], ""), &long, 200),
            ("Transfer-Encoding: chunked\r\n", chunked(&[&long, "x"], ""), "", 413),
        ] {
            let web = Origin::start(vec![Act::text("web")]).await;
            let service = Origin::start(vec![answer("200 OK", "X-User: mary\r\n", "")]).await;
            let proxy =
                start(guarded(ExternalAuth { body_limit: 32_000, ..external() }), &web, &[service.address])
                    .await;
            let response = proxy.ask(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")).await;
            assert_eq!(response.status, status, "{fields}");
            assert_eq!(
                (web.count(), service.count()),
                if status == 200 { (1, 1) } else { (0, 0) },
                "{fields}"
            );
            if status == 200 {
                let (question, seen) = service.last();
                assert!(
                    seen == shown && question.contains(&format!("Content-Length: {}\r\n", shown.len())),
                    "{question}"
                );
                let (head, arrived) = web.last();
                let trailers = if body.contains("x-sum") { "x-sum: 1\r\n" } else { "" };
                assert!(arrived == format!("{shown}{trailers}") && head.contains("x-user: mary"), "{head}");
                assert!(head.contains(fields), "{head}");
            }
        }
    });
}

/// A client that asks whether it may send its body is told so by the proxy if the service is to see it, else by the
/// endpoint, once the service has allowed the request.
#[test]
fn a_client_may_wait_until_it_is_to_send_its_body() {
    run(async {
        let ask = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        for (body_limit, act) in [
            (10, Act::text("web")),
            (0, Act::Continue("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nweb".to_owned())),
        ] {
            let web = Origin::start(vec![act]).await;
            let service = Origin::start(vec![answer("200 OK", "", ""), answer("403 No", "", "no")]).await;
            let proxy =
                start(guarded(ExternalAuth { body_limit, ..external() }), &web, &[service.address]).await;
            let mut client = proxy.connect().await;
            client.send(ask).await;
            assert_eq!(client.response().await.status, 100);
            client.send("hello").await;
            assert_eq!(client.response().await.body, "web");
            assert_eq!(web.last().1, "hello");
            assert_eq!(web.last().0.contains("Expect"), body_limit == 0);
            if body_limit == 0 {
                client.send(ask).await;
                assert_eq!(client.response().await.status, 403, "nothing asked for the body");
            }
        }
    });
}

/// Nothing is gathered of a body that the service doesn't see.
#[test]
fn large_bodies_stream_past_a_service() {
    run(async {
        let web = Origin::start(vec![Act::text("web")]).await;
        let service = Origin::start(vec![answer("200 OK", "", "")]).await;
        let proxy = start(guarded(external()), &web, &[service.address]).await;
        let body = "0123456789abcdef".repeat(10 << 16);
        let mut client = proxy.connect().await;
        client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len())).await;
        while service.count() == 0 {
            tokio::task::yield_now().await;
        }
        client.send(&body).await;
        assert_eq!(client.response().await.body, "web");
        assert!(web.last().1 == body && service.last().1.is_empty());
    });
}

#[test]
fn filters_meet_a_request_in_their_order() {
    run(async {
        let path = |path: &str| {
            let path = Some(PathRewrite::Full(Path::parse(path).expect("a path")));
            Filter::Rewrite(UrlRewrite { hostname: None, path })
        };
        let (first, second) = (
            with(&["x-before", "x-after"], &["x-user"]),
            with(&["x-before", "x-after", "x-user"], &["x-user"]),
        );
        let of_backend =
            vec![Filter::ExternalAuth(second), Filter::RequestHeaders(set("x-last", "1")), path("/two")];
        let mut rule = rule(split(vec![backend("web", 1, of_backend)]));
        rule.filters = vec![
            Filter::RequestHeaders(set("x-before", "1")),
            path("/one"),
            Filter::ExternalAuth(first),
            Filter::RequestHeaders(set("x-after", "1")),
        ];
        let web = Origin::start(vec![Act::text("web")]).await;
        let service = Origin::start(vec![
            answer("200 OK", "X-User: mary\r\n", ""),
            answer("200 OK", "X-User: bob\r\n", ""),
        ])
        .await;
        let proxy = start(rule, &web, &[service.address]).await;
        assert_eq!(proxy.ask("GET /zero HTTP/1.1\r\nHost: a\r\nX-User: root\r\n\r\n").await.body, "web");
        let asked: Vec<_> = service
            .requests
            .borrow()
            .iter()
            .map(|(head, _)| (head.lines().next().map(str::to_owned), lines(head)))
            .collect();
        let line = Some("GET /check/one HTTP/1.1".to_owned());
        assert_eq!(
            asked,
            [
                (line.clone(), vec!["content-length: 0".to_owned(), "x-before: 1".to_owned()]),
                (
                    line,
                    ["content-length: 0", "x-after: 1", "x-before: 1", "x-user: mary"]
                        .map(str::to_owned)
                        .to_vec()
                ),
            ]
        );
        let head = web.last().0;
        assert!(head.starts_with("GET /two "), "{head}");
        assert_eq!(lines(&head), ["x-after: 1", "x-before: 1", "x-last: 1", "x-user: bob"]);
    });
}

/// Where a client would be sent is for those to know who may go there.
#[test]
fn redirects_wait_for_the_decision() {
    run(async {
        let to =
            Redirect { scheme: None, hostname: None, path: None, port: None, status: RedirectStatus::Found };
        let mut of_backend = backend("web", 1, vec![Filter::ExternalAuth(external())]);
        of_backend.target = HttpTarget::Redirect(to.clone());
        let mut of_rule = rule(HttpAction::Redirect(to));
        of_rule.filters = vec![Filter::ExternalAuth(external())];
        for rule in [of_rule, rule(split(vec![of_backend]))] {
            let web = Origin::start(vec![Act::text("web")]).await;
            let service = Origin::start(vec![answer("403 No", "", "no"), answer("200 OK", "", "")]).await;
            let proxy = start(rule, &web, &[service.address]).await;
            for status in [403, 302] {
                let response = proxy.ask("GET /a HTTP/1.1\r\nHost: b\r\n\r\n").await;
                assert_eq!(response.status, status);
                assert_eq!(response.head.contains("Location: http://b"), status == 302, "{}", response.head);
            }
            assert_eq!((service.count(), web.count()), (2, 0));
        }
    });
}

#[test]
fn clients_of_http_2_are_asked_about_too() {
    run(async {
        let web = Origin::start(vec![Act::text("web")]).await;
        let service = Origin::start(vec![
            answer("401 No", "WWW-Authenticate: Basic\r\n", "who"),
            answer("200 OK", "X-User: mary\r\n", ""),
        ])
        .await;
        let proxy =
            start(guarded(ExternalAuth { body_limit: 5, ..external() }), &web, &[service.address]).await;
        let mut client = http2::client(&proxy).await;
        for (body, status, text) in
            [("hello", 401, "who"), ("hello", 200, "web"), ("hello!", 413, "Payload Too Large")]
        {
            let request = http2::request(Method::POST, "/a", http2::full(body));
            let response = client.send_request(request).await.expect("a response");
            let (found, headers, body, _) = http2::text(response).await;
            assert_eq!((found, &*body), (status, text));
            assert_eq!(headers.contains_key("www-authenticate"), status == 401);
        }
        assert_eq!((web.last().1, service.last().1), ("hello".to_owned(), "hello".to_owned()));
        assert!(web.last().0.contains("x-user: mary"));
    });
}

/// A call of gRPC learns of a denial in its own words.
#[test]
fn calls_of_grpc_are_denied_by_a_status_of_grpc() {
    run(async {
        for (act, status) in [
            (answer("401 No", "", "who"), "16"),
            (answer("403 No", "", ""), "7"),
            (answer("503 No", "", ""), "14"),
            (answer("418 No", "", ""), "2"),
            (Act::Close, "14"),
        ] {
            let web = Origin::start(vec![Act::text("web")]).await;
            let service = Origin::start(vec![act]).await;
            let proxy = start(guarded(external()), &web, &[service.address]).await;
            let mut call = http2::request(Method::POST, "/shop.Cart/Add", http2::full("message"));
            call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
            let response = http2::client(&proxy).await.send_request(call).await.expect("a response");
            let (code, headers, body, _) = http2::text(response).await;
            assert_eq!((code, &*body, headers["grpc-status"].as_bytes()), (200, "", status.as_bytes()));
            assert_eq!(web.count(), 0);
        }
    });
}

/// Bodies that many clients send slowly can't fill the memory.
#[test]
fn gathered_bodies_are_bounded_together() {
    run(async {
        let web = Origin::start(vec![Act::text("web")]).await;
        let service = Origin::start(vec![answer("200 OK", "", "")]).await;
        let settings = Settings::default();
        let proxy = Proxy::start(settings).await;
        let mut rule = guarded(ExternalAuth { body_limit: 1 << 30, ..external() });
        rule.timeouts.request = Timeout::Never;
        let services: [(&str, &[_]); 2] = [("web", &[web.address]), ("auth", &[service.address])];
        let mut tables = tables(proxy.address, vec![("/", rule)], &services);
        let limits = HttpLimits { body_bytes: None, ..HttpLimits::default() };
        tables.listeners.values_mut().for_each(|it| it.settings.limits = limits);
        proxy.server.replace(&tables);
        let mut client = proxy.connect().await;
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 100 << 20);
        client.send(&head).await;
        let piece = "x".repeat(1 << 20);
        // The proxy may stop reading before all is sent: it has answered.
        let mut sent = 0;
        while sent < 40
            && tokio::io::AsyncWriteExt::write_all(&mut client.socket, piece.as_bytes()).await.is_ok()
        {
            sent += 1;
        }
        assert_eq!((web.count(), service.count()), (0, 0));
        assert_eq!(proxy.server.counters.replies(Reason::GatewayBusy), 1);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a service says, only a whole 200 lets a request reach the endpoint or a mirror.
    #[test]
    fn only_a_whole_200_lets_a_request_pass(
        status in prop_oneof![Just(200_u16), 100..600_u16],
        length in 0..4_usize,
        sent in 0..4_usize,
        garbage in proptest::option::of("[ -~]{0,40}"),
        body_limit in prop_oneof![Just(0_u32), Just(3), Just(100)],
        body in "[a-z]{0,6}",
    ) {
        run(async {
            let text = match &garbage {
                Some(text) => text.clone(),
                None => format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{}", &"abcd"[..sent]),
            };
            let (web, copy) = (Origin::start(vec![Act::text("web")]).await, Origin::start(vec![Act::text("copy")]).await);
            let authz = Origin::start(vec![Act::SendAndClose(text)]).await;
            let mut rule = guarded(ExternalAuth { body_limit, ..external() });
            let mirror = Upstream { service: service("copy"), protocol: BackendProtocol::Http1, encrypted: false };
            rule.filters.insert(0, Filter::Mirror(Mirror { upstream: mirror, share: Fraction::ALL }));
            let proxy = Proxy::start(Settings::default()).await;
            let services: [(&str, &[_]); 3] = [("web", &[web.address]), ("auth", &[authz.address]), ("copy", &[copy.address])];
            proxy.server.replace(&tables(proxy.address, vec![("/", rule)], &services));
            let response = proxy.ask(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
            let fits = body_limit == 0 || body.len() <= body_limit as usize;
            let passes = garbage.is_none() && status == 200 && sent >= length && fits;
            assert_eq!(response.body == "web", passes, "{status} {length} {sent} {}", response.head);
            assert_eq!(web.connections.get(), usize::from(passes));
            if passes {
                while copy.count() == 0 {
                    tokio::task::yield_now().await;
                }
            }
            assert_eq!(copy.connections.get(), usize::from(passes));
        });
    }
}
