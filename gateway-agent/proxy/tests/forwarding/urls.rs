//! Redirects and rewrites, as clients and endpoints see them.

use gateway_agent_proxy::Settings;
use gateway_agent_tables::http::{
    Filter, Hostname, HttpAction, Path, PathRewrite, Redirect, RedirectStatus, Scheme, UrlRewrite,
};

use crate::rig::{Act, Origin, Proxy, backend, rule, run, split, tables};

fn prefix(matched: &str, replacement: &str) -> PathRewrite {
    let path = |text| Path::parse(text).expect("a path");
    PathRewrite::Prefix { matched: path(matched), replacement: path(replacement) }
}

fn full(path: &str) -> PathRewrite {
    PathRewrite::Full(Path::parse(path).expect("a path"))
}

/// `PORT` stands for the listener's.
#[test]
fn a_location_is_made_of_scheme_host_port_path_and_query() {
    run(async {
        let name = |text: &str| Some(Hostname::parse(text).expect("a name"));
        let https = Some(Scheme::Https);
        for (rule_path, scheme, hostname, path, port, target, host, location) in [
            ("/", None, None, None, None, "/a?b=c&d", "a", "http://a:PORT/a?b=c&d"),
            ("/", None, None, None, None, "/a?", "a", "http://a:PORT/a?"),
            ("/", None, None, None, None, "/a", "A.Example:1234", "http://a.example:PORT/a"),
            ("/", None, None, None, None, "/a", "[2001:DB8::1]:1234", "http://[2001:db8::1]:PORT/a"),
            ("/", None, None, None, None, "/a", "192.0.2.1", "http://192.0.2.1:PORT/a"),
            ("/", https, None, None, None, "/a", "[2001:db8::1]:1234", "https://[2001:db8::1]/a"),
            ("/", https, None, None, None, "/a", "a:1234", "https://a/a"),
            ("/", https, None, None, Some(443), "/a", "a", "https://a/a"),
            ("/", https, None, None, Some(80), "/a", "a", "https://a:80/a"),
            ("/", Some(Scheme::Http), None, None, None, "/a", "a", "http://a/a"),
            ("/", None, None, None, Some(80), "/a", "a", "http://a/a"),
            ("/", None, None, None, Some(8080), "/a", "a", "http://a:8080/a"),
            ("/", None, name("b.example"), None, None, "/a?b", "a", "http://b.example:PORT/a?b"),
            ("/", https, name("b.example"), Some(full("/c")), None, "/a?b", "a", "https://b.example/c?b"),
            ("/old", https, None, Some(prefix("/old", "/new")), None, "/old?b", "a", "https://a/new?b"),
            ("/old", https, None, Some(prefix("/old", "/new/")), None, "/old/x/", "a", "https://a/new/x/"),
            ("/old", https, None, Some(prefix("/old/", "/")), None, "/old/x", "a", "https://a/x"),
            ("/old", https, None, Some(prefix("/old", "/")), None, "/old", "a", "https://a/"),
            ("/", https, None, Some(prefix("/", "/new")), None, "/", "a", "https://a/new/"),
            // Encoded characters stay as they are; what was normalised is what is named.
            (
                "/old",
                https,
                None,
                Some(prefix("/old", "/n%20w")),
                None,
                "/./old/x%2Fy%c3%a4//z",
                "a",
                "https://a/n%20w/x%2Fy%C3%A4/z",
            ),
            ("/", https, None, None, None, "//evil.example/%2e./", "a", "https://a/"),
        ] {
            let port = port.and_then(std::num::NonZeroU16::new);
            let redirect = Redirect { scheme, hostname, path, port, status: RedirectStatus::Found };
            let proxy = Proxy::start(Settings::default()).await;
            let rules = vec![(rule_path, rule(HttpAction::Redirect(redirect)))];
            proxy.server.replace(&tables(proxy.address, rules, &[]));
            let response = proxy.ask(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            let location = location.replace("PORT", &proxy.address.port().to_string());
            let found = response.head.lines().find_map(|line| line.strip_prefix("Location: "));
            assert_eq!((response.status, found), (302, Some(&*location)), "{target} {host}");
        }
    });
}

#[test]
fn requests_without_host_or_path_are_redirected_too() {
    run(async {
        let proxy = Proxy::start(Settings::default()).await;
        let path = Some(prefix("/", "/new"));
        let [plain, moved] = [None, path].map(|path| {
            let https = Some(Scheme::Https);
            let redirect = Redirect {
                scheme: https,
                hostname: None,
                path,
                port: None,
                status: RedirectStatus::SeeOther,
            };
            rule(HttpAction::Redirect(redirect))
        });
        for (rule, request, location) in [
            (&plain, "GET /a HTTP/1.0\r\n\r\n", "https://127.0.0.1/a"),
            (&plain, "GET /a HTTP/1.1\r\nHost:\r\n\r\n", "https://127.0.0.1/a"),
            (&plain, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "https://a"),
            (&moved, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "https://a"),
            (&moved, "GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", "https://b/new/"),
            (&moved, "GET http://b?c HTTP/1.1\r\nHost: a\r\n\r\n", "https://b/new/?c"),
        ] {
            proxy.server.replace(&tables(proxy.address, vec![("/", rule.clone())], &[]));
            let response = proxy.ask(request).await;
            let found = response.head.lines().find_map(|line| line.strip_prefix("Location: "));
            assert_eq!((response.status, found), (303, Some(location)), "{request}");
        }
    });
}

#[test]
fn every_code_of_the_api_is_answered_as_it_is() {
    run(async {
        for code in [301, 302, 303, 307, 308] {
            let status = RedirectStatus::parse(code).expect("a code of the API");
            let redirect = Redirect { scheme: None, hostname: None, path: None, port: None, status };
            let proxy = Proxy::start(Settings::default()).await;
            proxy.server.replace(&tables(
                proxy.address,
                vec![("/", rule(HttpAction::Redirect(redirect)))],
                &[],
            ));
            for method in ["GET", "POST"] {
                let response = proxy.ask(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
                assert_eq!(i64::from(response.status), code, "{method}");
            }
        }
    });
}

#[test]
fn endpoints_get_the_new_host_and_path_and_learn_the_old_host() {
    run(async {
        let host = |text: &str| Some(Hostname::parse(text).expect("a name"));
        for (rule_path, hostname, path, target, line, to) in [
            ("/", host("b.example"), None, "/a?b=c", "GET /a?b=c HTTP/1.1", "b.example"),
            ("/", None, Some(full("/one")), "/a/b?c", "GET /one?c HTTP/1.1", "a.example:8080"),
            ("/a", None, Some(prefix("/a", "/x")), "/a", "GET /x HTTP/1.1", "a.example:8080"),
            ("/a", None, Some(prefix("/a", "/x")), "/a/", "GET /x/ HTTP/1.1", "a.example:8080"),
            ("/a", None, Some(prefix("/a/", "/x/")), "/a/b", "GET /x/b HTTP/1.1", "a.example:8080"),
            ("/a", None, Some(prefix("/a", "/")), "/a", "GET / HTTP/1.1", "a.example:8080"),
            ("/a", None, Some(prefix("/a", "/")), "/a/b%2Fc", "GET /b%2Fc HTTP/1.1", "a.example:8080"),
            ("/a", None, Some(prefix("/a", "/x")), "/%61/b?%61", "GET /x/b?%61 HTTP/1.1", "a.example:8080"),
            ("/", None, Some(prefix("/", "/x")), "/", "GET /x/ HTTP/1.1", "a.example:8080"),
            ("/", host("b.example"), Some(prefix("/", "/x/y")), "/ab", "GET /x/y/ab HTTP/1.1", "b.example"),
        ] {
            let filter = Filter::Rewrite(UrlRewrite { hostname, path });
            let to_web = |filters| split(vec![backend("web", 1, filters)]);
            let mut of_rule = rule(to_web(vec![]));
            of_rule.filters = vec![filter.clone()];
            for rule in [of_rule, rule(to_web(vec![filter]))] {
                let web = Origin::start(vec![Act::text("ok")]).await;
                let proxy = Proxy::start(Settings::default()).await;
                proxy.server.replace(&tables(
                    proxy.address,
                    vec![(rule_path, rule)],
                    &[("web", &[web.address])],
                ));
                let got = proxy.ask(&format!("GET {target} HTTP/1.1\r\nHost: a.example:8080\r\n\r\n")).await;
                assert_eq!(got.status, 200);
                let head = web.last().0;
                assert!(head.starts_with(&format!("{line}\r\nHost: {to}\r\n")), "{target}: {head}");
                assert!(head.contains("X-Forwarded-Host: a.example:8080\r\n"), "{head}");
            }
        }
    });
}

/// The server as a whole has no path that could be below a prefix.
#[test]
fn options_for_the_server_stays_what_it_is() {
    run(async {
        let web = Origin::start(vec![Act::text("ok")]).await;
        let mut rule = rule(split(vec![backend("web", 1, vec![])]));
        rule.filters = vec![Filter::Rewrite(UrlRewrite { hostname: None, path: Some(prefix("/", "/x")) })];
        let proxy = Proxy::with(rule, &[web.address]).await;
        assert_eq!(proxy.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
        assert!(web.last().0.starts_with("OPTIONS * HTTP/1.1\r\n"), "{}", web.last().0);
    });
}
