//! What is counted of requests.

use gateway_agent_proxy::telemetry::{Class, ListenerFigures, Protocol, RequestFigures, Target};
use gateway_agent_tables::http::{HttpAction, HttpRefusal, HttpRule};
use http::Method;
use http_body_util::BodyExt as _;

use crate::failures::refusing;
use crate::http2;
use crate::rig::{Act, Client, Origin, Proxy, backend, chunked, rule, run, split, tables};

const GET: &str = "GET /web HTTP/1.1\r\nHost: a\r\n\r\n";

impl Proxy {
    /// Requests whose rule has this place, if it is one; there must be one series of them.
    fn requests(&self, of: impl Fn(&Target) -> bool) -> RequestFigures {
        let figures = self.server.figures();
        let mut found = figures.requests.into_iter().filter(|it| of(&it.subject.target));
        let one = found.next().expect("a series");
        assert_eq!(found.next(), None);
        one
    }

    fn listener(&self) -> ListenerFigures {
        let figures = self.server.figures();
        let of = |listener: &&ListenerFigures| listener.listener.is_some();
        figures.listeners.iter().find(of).expect("a listener").clone()
    }
}

fn of_backend(target: &Target, name: &str) -> bool {
    matches!(target, Target::Rule(_, Some(backend)) if backend == name)
}

fn only(class: Class, count: u64) -> [u64; 6] {
    let mut codes = [0; 6];
    codes[class as usize] = count;
    codes
}

#[test]
fn requests_are_told_apart_by_backend_and_code() {
    run(async {
        let origin = Origin::start(vec![
            Act::text("ok"),
            Act::Send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into()),
        ])
        .await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = proxy.connect().await;
        let mut bytes = 0;
        for status in [200, 404, 404] {
            client.send(GET).await;
            let response = client.response().await;
            assert_eq!(response.status, status);
            bytes += response.head.len() + response.body.len();
        }
        let requests = proxy.requests(|target| of_backend(target, "web"));
        assert_eq!(requests.codes, [0, 0, 1, 0, 2, 0]);
        assert_eq!(requests.subject.protocol, Protocol::Http1);
        assert_eq!(requests.subject.listener.as_ref().map(|it| it.listener.as_str()), Some("http"));
        assert_eq!(requests.request_bytes, 3 * GET.len() as u64);
        assert_eq!(requests.response_bytes, bytes as u64);
        let listener = proxy.listener();
        assert_eq!((listener.active, listener.duration.count(), listener.first_byte.count()), (0, 3, 3));
        assert!(listener.first_byte.nanoseconds <= listener.duration.nanoseconds);
    });
}

#[test]
fn what_the_proxy_answers_itself_counts_for_the_rule_and_backend_it_met() {
    run(async {
        let proxy = Proxy::start(gateway_agent_proxy::Settings::default()).await;
        let refused = rule(HttpAction::Refuse(HttpRefusal::NoBackend));
        let empty = rule(split(vec![backend("empty", 1, vec![])]));
        let mut tables =
            tables(proxy.address, vec![("/refused", refused), ("/empty", empty)], &[("empty", &[])]);
        number_rules(&mut tables);
        proxy.server.replace(&tables);
        for (path, status) in [("/refused", 500), ("/empty", 503), ("/none", 404)] {
            let response = proxy.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            assert_eq!(response.status, status, "{path}");
        }
        assert_eq!(proxy.ask("GET / HTTP/1.1\r\nHost: a b\r\n\r\n").await.status, 400);
        let refused = proxy.requests(|target| matches!(target, Target::Rule(name, None) if name.rule == 0));
        assert_eq!(refused.codes, only(Class::ServerError, 1));
        let empty = proxy.requests(|target| of_backend(target, "empty"));
        assert_eq!(empty.codes, only(Class::ServerError, 1));
        let figures = proxy.server.figures();
        let mut unmatched: Vec<_> =
            figures.requests.iter().filter(|it| it.subject.target == Target::None).collect();
        unmatched.sort_by_key(|it| &it.subject);
        let codes: Vec<_> = unmatched.iter().map(|it| (it.subject.listener.is_some(), it.codes)).collect();
        let once = only(Class::ClientError, 1);
        assert_eq!(codes, [(false, once), (true, once)], "of no listener, and of no route");
    });
}

/// The indices that rules have in their route.
fn number_rules(tables: &mut gateway_agent_tables::http::HttpTables) {
    for route in tables.http_routes.values_mut() {
        let route = std::sync::Arc::make_mut(route);
        for (index, of_rule) in (0..).zip(&mut route.rules) {
            let rule: &mut HttpRule = std::sync::Arc::make_mut(&mut of_rule.rule);
            rule.name.rule = index;
        }
    }
}

#[test]
fn a_client_that_leaves_has_no_code_and_one_that_waits_is_active() {
    run(async {
        let origin = Origin::start(vec![Act::Silence]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client: Client = proxy.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na").await;
        while origin.connections.get() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(proxy.listener().active, 1);
        drop(client);
        while proxy.listener().active > 0 {
            tokio::task::yield_now().await;
        }
        let requests = proxy.requests(|target| of_backend(target, "web"));
        assert_eq!(requests.codes, only(Class::None, 1));
        assert_eq!(proxy.listener().first_byte.count(), 0);
    });
}

#[test]
fn retries_and_failovers_count() {
    run(async {
        let gone = refusing();
        let proxy = Proxy::of(&[gone]).await;
        assert_eq!(proxy.ask(GET).await.status, 503);
        let requests = proxy.requests(|target| of_backend(target, "web"));
        assert_eq!((requests.codes, requests.retries), (only(Class::ServerError, 1), 0));

        let origin = Origin::start(vec![Act::text("ok")]).await;
        proxy.server.replace(&tables(
            proxy.address,
            vec![("/", rule(split(vec![backend("web", 1, vec![])])))],
            &[("web", &[gone, origin.address])],
        ));
        while proxy.requests(|target| of_backend(target, "web")).retries == 0 {
            assert_eq!(proxy.ask(GET).await.status, 200);
        }
        let requests = proxy.requests(|target| of_backend(target, "web"));
        assert!(requests.codes[Class::Successful as usize] > 0, "the series goes on in new tables");
        assert_eq!(requests.retries, 1);
    });
}

#[test]
fn an_upgraded_connection_counts_its_bytes_and_has_no_duration() {
    run(async {
        let origin = Origin::start(vec![Act::Upgrade]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = proxy.connect().await;
        let request =
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned();
        client.send(&request).await;
        assert_eq!(client.response().await.status, 101);
        client.send("12345").await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.socket).await.expect("shut down");
        assert!(client.rest().await.ends_with("12345"));
        while proxy.listener().active > 0 {
            tokio::task::yield_now().await;
        }
        let requests = proxy.requests(|target| of_backend(target, "web"));
        assert_eq!(requests.codes, only(Class::Informational, 1));
        assert_eq!(requests.request_bytes, request.len() as u64 + 5);
        assert_eq!(proxy.listener().duration.count(), 0);
    });
}

/// Its code of HTTP is 200 whatever comes of it.
#[test]
fn a_call_counts_by_the_status_that_it_ends_with() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n";
        let ends_with = |status: &str| {
            let body = chunked(&["message"], &format!("grpc-status: {status}\r\n"));
            Act::Send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}"))
        };
        let origin = Origin::start(vec![
            ends_with("0"),
            ends_with("5"),
            ends_with("5"),
            Act::Send(format!("{head}grpc-status: 14\r\nContent-Length: 0\r\n\r\n")),
            Act::SendAndClose(format!("{head}Content-Length: 10\r\n\r\nbroken")),
        ])
        .await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut client = http2::client(&proxy).await;
        for _ in 0..5 {
            let mut call = http2::request(Method::POST, "/shop.Web/Get", http2::empty());
            call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
            // The last one breaks off.
            if let Ok(response) = client.send_request(call).await {
                let _ = response.into_body().collect().await;
            }
        }
        let requests = proxy.requests(|target| of_backend(target, "web"));
        assert_eq!(requests.codes, only(Class::Successful, 5));
        let mut calls = requests.calls;
        calls.sort();
        let expected = [("NOT_FOUND", 2), ("OK", 1), ("UNAVAILABLE", 1), ("none", 1)];
        assert_eq!(calls, expected.map(|(status, count)| (status.to_owned(), count)));
        let http = http2::request(Method::GET, "/", http2::empty());
        let _ = client.send_request(http).await;
        let other = |it: &RequestFigures| it.subject.protocol == Protocol::Http2;
        let figures = proxy.server.figures();
        assert_eq!(figures.requests.iter().find(|it| other(it)).expect("a series").calls, []);
    });
}

#[test]
fn open_connections_count_for_their_gateway_and_port() {
    run(async {
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let open = || {
            let [connections] = &proxy.server.figures().connections[..] else { panic!("one port") };
            assert_eq!(connections.gateway.to_string(), "shop/gateway");
            assert_eq!(connections.port.get(), proxy.address.port());
            connections.open
        };
        assert_eq!(open(), 0);
        let mut clients = [proxy.connect().await, proxy.connect().await];
        for client in &mut clients {
            client.send(GET).await;
            client.response().await;
        }
        assert_eq!(open(), 2);
        let rule = rule(split(vec![backend("web", 1, vec![])]));
        let mut tables = tables(proxy.address, vec![("/", rule)], &[("web", &[origin.address])]);
        tables.listeners.values_mut().for_each(|listener| listener.settings.limits.connections = 1);
        proxy.server.replace(&tables);
        assert_eq!(open(), 2, "those that came before the limits changed");
        drop(clients);
        while open() > 0 {
            tokio::task::yield_now().await;
        }
    });
}
