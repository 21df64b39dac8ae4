//! Sessions: who shows a token meets the endpoint that it names.

use std::net::SocketAddr;
use std::time::Duration;

use gateway_agent_proxy::session::Token;
use gateway_agent_tables::Endpoint;
use gateway_agent_tables::http::{
    CookieLifetime, FieldName, HttpRule, HttpTables, Path, SessionKey, SessionPersistence, SessionToken,
};

use crate::rig::{Act, Origin, Proxy, Response, backend, rule, run, service, split, tables};

const KEY: SessionKey = SessionKey([7; 32]);

fn cookie(lifetime: CookieLifetime) -> SessionToken {
    SessionToken::Cookie { name: "shop".to_owned(), path: Path::root(), lifetime }
}

/// One whose backends have these weights.
fn persistent(token: SessionToken, backends: &[(&str, u32)]) -> HttpRule {
    let backends = backends.iter().map(|(name, weight)| backend(name, *weight, vec![])).collect();
    let session = SessionPersistence { token, key: KEY, absolute_timeout: Some(Duration::from_hours(1)) };
    HttpRule { session: Some(Box::new(session)), ..rule(split(backends)) }
}

/// Endpoints that answer with their own addresses.
async fn origins(count: usize) -> Vec<Origin> {
    let mut origins = Vec::new();
    for number in 0..count {
        origins.push(Origin::start(vec![Act::text(&number.to_string())]).await);
    }
    origins
}

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(|origin| origin.address).collect()
}

/// The answer to a request with these field lines.
async fn ask(proxy: &Proxy, lines: &str) -> Response {
    proxy.ask(&format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n")).await
}

fn field(response: &Response, name: &str) -> Option<String> {
    let lines = response.head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(its_name, _)| its_name.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.to_owned())
        .next()
}

/// The Cookie field of a client that has got this response.
fn returned(response: &Response) -> String {
    let cookie = field(response, "set-cookie").expect("a cookie");
    format!("Cookie: other=1; {}\r\n", cookie.split(';').next().expect("a pair"))
}

/// What its cookie says.
fn token(response: &Response) -> Token {
    let cookie = returned(response);
    let (_, token) = cookie.trim_end().rsplit_once('=').expect("a pair");
    Token::open(token.as_bytes(), &KEY).expect("a token")
}

fn serving(proxy: &Proxy, rule: &HttpRule, services: &[(&str, &[SocketAddr])]) -> HttpTables {
    tables(proxy.address, vec![("/", rule.clone())], services)
}

#[test]
fn a_cookie_keeps_its_endpoint() {
    run(async {
        let origins = origins(4).await;
        let rule = persistent(cookie(CookieLifetime::Session), &[("web", 1)]);
        let proxy = Proxy::with(rule, &addresses(&origins)).await;
        let first = ask(&proxy, "").await;
        let cookie = field(&first, "set-cookie").expect("a cookie");
        assert!(cookie.starts_with("shop=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"));
        for _ in 0..20 {
            let again = ask(&proxy, &returned(&first)).await;
            assert_eq!((&again.body, field(&again, "set-cookie")), (&first.body, None));
        }
        let mut met: Vec<_> = Vec::new();
        for _ in 0..60 {
            met.push(ask(&proxy, "Cookie: shop=forged\r\n").await.body);
        }
        met.sort();
        met.dedup();
        assert_eq!(met.len(), 4, "those without a session go anywhere");
    });
}

#[test]
fn a_header_keeps_its_endpoint_and_a_permanent_cookie_its_time() {
    run(async {
        let origins = origins(4).await;
        let name = FieldName::parse("X-Session").expect("a name");
        let by_header = persistent(SessionToken::Header(name), &[("web", 1)]);
        let proxy = Proxy::with(by_header, &addresses(&origins)).await;
        let first = ask(&proxy, "").await;
        let token = field(&first, "x-session").expect("a token");
        for _ in 0..20 {
            let again = ask(&proxy, &format!("x-session: {token}\r\n")).await;
            assert_eq!((&again.body, field(&again, "x-session")), (&first.body, None));
        }
        let lifetime = CookieLifetime::Permanent(Duration::from_hours(1));
        let permanent = persistent(cookie(lifetime), &[("web", 1)]);
        proxy.server.replace(&serving(&proxy, &permanent, &[("web", &addresses(&origins))]));
        let cookie = field(&ask(&proxy, "").await, "set-cookie").expect("a cookie");
        assert!(cookie.contains("; Path=/; Max-Age=3600; "), "{cookie}");
    });
}

/// GEP-1619: weights choose the backend of each request; a client has an endpoint at each backend that it met.
#[test]
fn weights_go_before_sessions_which_last_at_each_backend() {
    run(async {
        let origins = origins(8).await;
        let (old, new) = (addresses(&origins[..4]), addresses(&origins[4..]));
        let services: [(&str, &[SocketAddr]); 2] = [("old", &old), ("new", &new)];
        let proxy = Proxy::start(gateway_agent_proxy::Settings::default()).await;
        let weigh = |old, new| {
            let rule = persistent(cookie(CookieLifetime::Session), &[("old", old), ("new", new)]);
            proxy.server.replace(&serving(&proxy, &rule, &services));
        };
        weigh(1, 0);
        let first = ask(&proxy, "").await;
        weigh(0, 1);
        let second = ask(&proxy, &returned(&first)).await;
        assert!(first.body.parse::<usize>().is_ok_and(|it| it < 4), "{first:?}");
        assert!(second.body.parse::<usize>().is_ok_and(|it| it >= 4), "{second:?}");
        let both = returned(&second);
        for (old, new, body) in [(1, 0, &first.body), (0, 1, &second.body)] {
            weigh(old, new);
            for _ in 0..20 {
                let again = ask(&proxy, &both).await;
                assert_eq!((&again.body, field(&again, "set-cookie")), (body, None));
            }
        }
        weigh(3, 1);
        let mut of_old = 0;
        for _ in 0..400 {
            let again = ask(&proxy, &both).await.body;
            assert!([&first.body, &second.body].contains(&&again));
            of_old += usize::from(again == first.body);
        }
        // 300 expected; outside of five standard deviations once in two million runs.
        assert!((257..343).contains(&of_old), "{of_old}");
    });
}

#[test]
fn a_draining_endpoint_keeps_its_sessions_and_one_that_is_gone_loses_them() {
    run(async {
        let origins = origins(2).await;
        let rule = persistent(cookie(CookieLifetime::Session), &[("web", 1)]);
        let proxy = Proxy::with(rule.clone(), &[origins[0].address]).await;
        let first = ask(&proxy, "").await;
        let mut drained = serving(&proxy, &rule, &[("web", &[origins[1].address])]);
        let endpoints = drained.services.get_mut(&service("web")).expect("a Service");
        endpoints.draining.insert(Endpoint { address: origins[0].address, node: None });
        proxy.server.replace(&drained);
        assert_eq!(ask(&proxy, &returned(&first)).await.body, "0");
        assert_eq!(ask(&proxy, "").await.body, "1", "no new sessions");

        proxy.server.replace(&serving(&proxy, &rule, &[("web", &[origins[1].address])]));
        let moved = ask(&proxy, &returned(&first)).await;
        assert_eq!(moved.body, "1");
        let again = ask(&proxy, &returned(&moved)).await;
        assert_eq!((&*again.body, field(&again, "set-cookie")), ("1", None));
    });
}

#[test]
fn an_endpoint_that_refuses_hands_its_sessions_on() {
    run(async {
        let origins = origins(1).await;
        let rule = persistent(cookie(CookieLifetime::Session), &[("web", 1)]);
        // Nobody listens there.
        let dead: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let proxy = Proxy::with(rule, &[origins[0].address, dead]).await;
        let known = ask(&proxy, "").await;
        let token = token(&known);
        assert_eq!(token.endpoint, origins[0].address, "whoever answered is named");
        let of_dead = Token { endpoint: dead, ..token }.seal(&KEY);
        let moved = ask(&proxy, &format!("Cookie: shop={of_dead}\r\n")).await;
        assert_eq!((moved.status, &*moved.body), (200, "0"));
        assert_eq!(self::token(&moved).endpoint, origins[0].address);
    });
}

#[test]
fn a_session_ends_with_its_time() {
    run(async {
        let origins = origins(1).await;
        let rule = persistent(cookie(CookieLifetime::Session), &[("web", 1)]);
        let proxy = Proxy::with(rule, &addresses(&origins)).await;
        let first = ask(&proxy, "").await;
        let token = token(&first);
        for (age, lives) in [(3500, true), (3601, false)] {
            let older = Token { begun: token.begun - age, ..token }.seal(&KEY);
            let answer = ask(&proxy, &format!("Cookie: shop={older}\r\n")).await;
            assert_eq!(field(&answer, "set-cookie").is_none(), lives, "{age} s");
        }
    });
}
