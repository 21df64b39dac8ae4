//! What clients get of listeners, routes and settings.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::TcpListener;

use lab::wait_until;

use crate::node::{ADDRESSES, HELLO, Node, PATIENCE, ROUTE, echo_heads, request, talk, target};

#[test]
fn listeners_accept_and_say_what_they_do_not_do() {
    let node = Node::accepting("accept");
    let holder = node.namespace.run(|| TcpListener::bind("10.9.0.1:8080").unwrap());
    let greeter = std::thread::spawn(move || holder.accept().unwrap().0.write_all(b"mine").unwrap());
    node.client.run(|| {
        for address in ADDRESSES {
            request(target(address, 80)).unwrap();
            assert_eq!(talk(target(address, 443), HELLO).unwrap(), "", "an end, and no alert");
            let nobody = talk(target(address, 81), b"").unwrap_err();
            assert_eq!(nobody.kind(), ErrorKind::ConnectionRefused);
        }
        assert_eq!(
            talk(target(ADDRESSES[0], 8080), b"").unwrap(),
            "mine",
            "the node's own ports stay its own"
        );
    });
    greeter.join().unwrap();
    for (part, wanted) in [
        ("", "listeners that accept connections"),
        ("/listeners/0", "carries traffic"),
        ("/listeners/1", "closed after the ClientHello"),
    ] {
        let (status, message) = node.programmed(part);
        assert_eq!(status, "True", "{part}: {message}");
        assert!(message.contains(wanted), "{part}: {message}");
    }
}

/// The route's tables go from the agent to the proxy, and a request from the client to the endpoint.
#[test]
fn requests_reach_the_endpoints_of_their_routes() {
    let node = Node::accepting("routes");
    echo_heads(&node);
    let files = &node.agent.settings.config[0];
    fs::write(files.join("route.yaml"), ROUTE).unwrap();
    node.client.run(|| {
        let ask = |address| {
            let words = b"GET /api/items?page=1 HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
            talk(target(address, 80), words).unwrap()
        };
        for address in ADDRESSES {
            let mut answer = String::new();
            let served = wait_until("an endpoint's answer", PATIENCE, || {
                answer = ask(address);
                answer.starts_with("HTTP/1.1 200 ")
            });
            assert!(served.is_ok(), "{answer}; {}", node.agent.log());
            assert!(
                answer.contains("\r\n\r\nGET /items?page=1 HTTP/1.1\r\nHost: shop.example\r\n"),
                "{answer}"
            );
            let client = if address.contains(':') { "fd09::2" } else { "10.9.0.2" };
            assert!(answer.contains(&format!("X-Forwarded-For: {client}\r\n")), "{answer}");
            request(target(address, 80)).unwrap();
        }
    });
}

/// Settings of a class reach its Gateways' clients, and change while they are connected.
#[test]
fn settings_hold_for_those_who_connect() {
    let node = Node::accepting("settings");
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nb: {}\r\n\r\n", "c".repeat(2000));
    let ask = || node.client.run(|| talk(target(ADDRESSES[0], 80), large.as_bytes())).unwrap();
    assert!(ask().starts_with("HTTP/1.1 404 "), "{}", ask());
    node.configure("{http: {limits: {headBytes: 1024}}}");
    let holds = wait_until("the limit", PATIENCE, || ask().starts_with("HTTP/1.1 431 "));
    assert!(holds.is_ok(), "{}; {}", ask(), node.agent.log());
    let status = node.status();
    let shown = &status["http"]["shop/edge"];
    assert_eq!(shown["limits"]["headBytes"], 1024, "{status}");
    assert_eq!(shown["timeouts"]["idle"], "1m15s", "{status}");
    assert_eq!(status["devices"].as_array().unwrap().len(), 1);
    node.configure("{devices: {exclude: [\"up?\"]}, http: {limits: {headBytes: 1024}}}");
    let detached =
        wait_until("no device", PATIENCE, || node.status()["devices"].as_array().unwrap().is_empty());
    assert!(detached.is_ok(), "{}", node.agent.log());
}

#[test]
fn the_proxy_can_do_nothing_but_serve() {
    let node = Node::accepting("confined");
    let [proxy] = node.proxies()[..] else { panic!("one proxy: {:?}", node.proxies()) };
    let status = fs::read_to_string(format!("/proc/{proxy}/status")).unwrap();
    let field = |name: &str| {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for capabilities in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
    }
    assert_eq!(field("Uid:"), "65532 65532 65532 65532");
    assert_eq!((field("NoNewPrivs:"), field("Groups:")), ("1".into(), String::new()));
}
