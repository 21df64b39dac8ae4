//! What is known of requests: the agent's page, and the access log.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use lab::wait_until;
use serde_json::{Value, json};

use crate::node::{ADDRESSES, Node, PATIENCE, ROUTE, echo_heads, end, request, talk, target};
use crate::page;

/// Turns the access log on for all Gateways of the class.
const LOGGED: &str = "{telemetry: {accessLog: {mode: All}}}";

/// A rule that answers itself, and one whose backend is nowhere.
const MORE_ROUTES: &str = "\
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: more, namespace: shop}
spec:
  parentRefs: [{name: edge, sectionName: web}]
  rules:
  - name: moved
    matches: [{path: {type: PathPrefix, value: /old}}]
    filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /new}}}]
  - matches: [{path: {type: PathPrefix, value: /empty}}]
    backendRefs: [{name: empty, port: 80}]
";

#[test]
fn what_the_proxy_counts_is_on_the_agents_page() {
    let node = Node::new("counted", &["--metrics", "127.0.0.1:9890"]);
    node.until_accepting();
    let to = target(ADDRESSES[0], 80);
    node.client.run(|| request(to)).unwrap();
    let wanted = [
        "gateway_agent_proxy_up 1.0",
        "gateway_agent_http_connections_active{gateway=\"shop/edge\",port=\"80\"} 0.0",
        "gateway_agent_http_requests_total{gateway=\"shop/edge\",listener=\"web\",route=\"\",rule=\"\",backend=\"\",\
         protocol=\"http1\",code=\"4xx\"} 1.0",
        "gateway_agent_http_request_duration_seconds_count{gateway=\"shop/edge\",listener=\"web\"} 1",
        "gateway_agent_http_replies_total{reason=\"no_route\"} 1.0",
    ];
    let mut page = String::new();
    let mut missing = Vec::new();
    // A client may have its answer before it is counted, and see the end of its connection before that is.
    let counted = wait_until("what is counted", PATIENCE, || {
        page = node.page();
        missing = wanted.into_iter().filter(|line| !page.lines().any(|it| it == *line)).collect();
        missing.is_empty()
    });
    assert!(counted.is_ok(), "{missing:?} is not in {page}");
    page::documented(&page::families(&page));
}

/// A call of gRPC without a route: preface, SETTINGS, and HEADERS (RFC 7541, appendix A) with `:method` POST, `:scheme`
/// http, `:authority` a, `:path` /a.B/C and the content type.
const CALL: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x20\x01\x05\0\0\0\x01\x83\x86\x01\x01a\x04\x06/a.B/C\x0f\x10\x10application/grpc";

/// From GatewayConfig to the proxy's standard output.
#[test]
fn the_access_log_has_a_line_for_each_request() {
    let node = Node::new("logged", &["--proxy-socket", "LAB/proxy.sock"]);
    let mut proxy = node.proxy("proxy.sock", Stdio::piped());
    let lines = lines(&mut proxy);
    node.until_accepting();
    echo_heads(&node);
    let files = &node.agent.settings.config[0];
    fs::write(files.join("route.yaml"), ROUTE).unwrap();
    fs::write(files.join("more.yaml"), MORE_ROUTES).unwrap();
    node.configure(LOGGED);
    let ask = |words: &str| {
        let words = words.replace("CLOSE", "Host: shop.example\r\nConnection: close\r\n\r\n");
        node.client.run(|| talk(target(ADDRESSES[0], 80), words.as_bytes())).unwrap()
    };
    let applied = wait_until("the first line", PATIENCE, || {
        ask("GET /wait HTTP/1.1\r\nCLOSE");
        lines.try_recv().is_ok()
    });
    assert!(applied.is_ok(), "{}", node.agent.log());
    let next = || loop {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        if line["path"] != "/wait" {
            return line;
        }
    };

    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traced = format!("traceparent: 00-{trace}-b7ad6b7169203331-01\r\n");
    let line = |more: Value| {
        let mut line = json!({
            "client": "10.9.0.2", "method": "GET", "host": "shop.example", "protocol": "HTTP/1.1",
            "gateway": "shop/edge", "listener": "web", "retries": 0,
        });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let (api, more) = ("HTTPRoute shop/web", "HTTPRoute shop/more");
    for (words, expected) in [
        (
            format!(
                "POST /api/items?page=1 HTTP/1.1\r\nUser-Agent: \"me\"\r\nContent-Length: 4\r\n{traced}CLOSEbody"
            ),
            line(json!({
                "method": "POST", "path": "/api/items", "user_agent": "\"me\"", "status": 200, "route": api,
                "rule": "0", "backend": "shop/web:80", "endpoint": "10.9.0.2:9000", "trace_id": trace,
            })),
        ),
        (
            "GET /other HTTP/1.0\r\nCLOSE".to_owned(),
            line(json!({"path": "/other", "protocol": "HTTP/1.0", "status": 404, "failure": "no_route"})),
        ),
        (
            "GET /old HTTP/1.1\r\nCLOSE".to_owned(),
            line(json!({"path": "/old", "status": 302, "route": more, "rule": "moved"})),
        ),
        (
            "GET /empty HTTP/1.1\r\nCLOSE".to_owned(),
            line(json!({
                "path": "/empty", "status": 503, "route": more, "rule": "1", "backend": "shop/empty:80",
                "failure": "no_endpoint",
            })),
        ),
        // No listener has it: there is no line before the next one's.
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), Value::Null),
    ] {
        let answer = ask(&words);
        if expected.is_null() {
            continue;
        }
        let mut line = next();
        let fields = line.as_object_mut().unwrap();
        for field in ["time", "duration_ms"] {
            assert!(fields.remove(field).is_some(), "{field} of {words}");
        }
        assert_eq!(fields.remove("bytes_out"), Some(answer.len().into()), "{words}");
        let sent = words.replace("CLOSE", "Host: shop.example\r\nConnection: close\r\n\r\n").len();
        assert_eq!(fields.remove("bytes_in"), Some(sent.into()), "{words}");
        assert_eq!(line, expected, "{words}");
    }
    let mut stream = node.client.run(|| TcpStream::connect(target(ADDRESSES[1], 80))).unwrap();
    stream.write_all(CALL).unwrap();
    let line = next();
    let fields = ["client", "protocol", "method", "path", "status", "grpc_status", "failure"];
    assert_eq!(
        json!(fields.map(|field| &line[field])),
        json!(["fd09::2", "HTTP/2", "POST", "/a.B/C", 200, 12, "no_route"])
    );
    end(&mut proxy);
    assert!(lines.recv().is_err(), "no line that nobody asked for");
}

/// Nobody reads the log: lines are lost, requests are not, and the two add up.
#[test]
fn lines_that_found_no_room_are_counted() {
    let extra = ["--proxy-socket", "LAB/proxy.sock", "--metrics", "127.0.0.1:9890"];
    let node = Node::new("unread", &extra);
    node.configure(LOGGED);
    let mut proxy = node.proxy("proxy.sock", Stdio::piped());
    node.until_accepting();
    let lost = || -> usize {
        let page = node.page();
        let line =
            page.lines().find_map(|line| line.strip_prefix("gateway_agent_access_log_lines_lost_total "));
        line.unwrap().trim_end_matches(".0").parse().unwrap()
    };
    // 20 kB in a line: 50 fill a worker's ring.
    let long = "x".repeat(20 << 10);
    let words = format!("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: {long}\r\nConnection: close\r\n\r\n");
    let mut asked = 0;
    let filled = wait_until("lost lines", PATIENCE, || {
        for _ in 0..50 {
            let answer = node.client.run(|| talk(target(ADDRESSES[0], 80), words.as_bytes())).unwrap();
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        }
        asked += 50;
        lost() > 0
    });
    assert!(filled.is_ok(), "none of {asked} lines is lost: {}", node.agent.log());
    // A proxy that ends gives up lines that nobody reads for a second: all are read before.
    let lines = lines(&mut proxy);
    let (mut written, mut counted) = (0, 0);
    let found = wait_until("the other lines", PATIENCE, || {
        counted = lost();
        written += lines.try_iter().count();
        written + counted >= asked
    });
    end(&mut proxy);
    written += lines.iter().count();
    assert!(found.is_ok() && written + counted == asked, "{written} written, {counted} lost, {asked} asked");
}

/// The proxy's lines as they come, parsed; it ends with the proxy.
fn lines(proxy: &mut Child) -> Receiver<Value> {
    let output = proxy.stdout.take().unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let line = serde_json::from_str(&line.unwrap()).unwrap();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
