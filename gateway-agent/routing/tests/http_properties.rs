//! Laws of the rules of HTTPRoutes and GRPCRoutes, tried on random ones of which many are wrong. API servers keep most
//! of that out, but a newer one may let in what we don't know.

use gateway_agent_api::{Kind, Object, ObjectRef};
use gateway_agent_routing::{Node, Outcome, Service, Snapshot, translate};
use gateway_agent_tables::ObjectName;
use gateway_agent_tables::http::{
    HttpAction, HttpMatcher, HttpRefusal, HttpRouteRule, RequestHead, RequestHost,
};
use http::{HeaderMap, Method};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// Texts that are right in one field or another, or in none.
const TEXTS: [&str; 14] =
    ["", "/", "/a", "/a/", "a", "a b", "X-A", "//", "(", "[a-z]+", "*", "1s", "https://a.example", "a\r\nb"];
const TYPES: [&str; 6] =
    ["Exact", "PathPrefix", "RegularExpression", "ReplaceFullPath", "ReplacePrefixMatch", "Fuzzy"];
const NUMBERS: [i64; 8] = [-1, 0, 1, 100, 301, 503, 8080, 70_000];

fn text() -> impl Strategy<Value = Value> {
    select(&TEXTS).prop_map(Value::from)
}

fn number() -> impl Strategy<Value = Value> {
    select(&NUMBERS).prop_map(Value::from)
}

/// A value that is there or not.
fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::Null), 1 => value]
}

fn list(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::vec(value, 0..3).prop_map(Value::from)
}

fn kind() -> impl Strategy<Value = Value> {
    select(&TYPES).prop_map(Value::from)
}

/// A condition on something with a name.
fn named() -> impl Strategy<Value = Value> {
    (maybe(kind()), text(), text())
        .prop_map(|(kind, name, value)| json!({ "type": kind, "name": name, "value": value }))
}

fn http_match() -> impl Strategy<Value = Value> {
    let path =
        (maybe(kind()), maybe(text())).prop_map(|(kind, value)| json!({ "type": kind, "value": value }));
    let method = select(&["GET", "POST", "BREW"][..]).prop_map(Value::from);
    (maybe(path), maybe(method), list(named()), list(named())).prop_map(|(path, method, headers, query)| {
        json!({ "path": path, "method": method, "headers": headers, "queryParams": query })
    })
}

fn grpc_match() -> impl Strategy<Value = Value> {
    let method = (maybe(kind()), maybe(text()), maybe(text()))
        .prop_map(|(kind, service, method)| json!({ "type": kind, "service": service, "method": method }));
    (maybe(method), list(named()))
        .prop_map(|(method, headers)| json!({ "method": method, "headers": headers }))
}

fn reference() -> impl Strategy<Value = Value> {
    let name = prop_oneof![3 => Just("a"), 1 => Just("gone")];
    let port = prop_oneof![3 => Just(json!(8080)), 1 => maybe(number())];
    (name, port, maybe(number()))
        .prop_map(|(name, port, weight)| json!({ "name": name, "port": port, "weight": weight }))
}

fn header_edits() -> impl Strategy<Value = Value> {
    let field = || (text(), text()).prop_map(|(name, value)| json!({ "name": name, "value": value }));
    (list(field()), list(field()), list(text()))
        .prop_map(|(set, add, remove)| json!({ "set": set, "add": add, "remove": remove }))
}

fn new_path() -> impl Strategy<Value = Value> {
    (kind(), maybe(text()), maybe(text())).prop_map(
        |(kind, full, prefix)| json!({ "type": kind, "replaceFullPath": full, "replacePrefixMatch": prefix }),
    )
}

/// Each filter has the part that belongs to its type, if it has any.
fn filter() -> impl Strategy<Value = Value> {
    let mirror = (reference(), maybe(number()), maybe(number())).prop_map(|(backend, percent, numerator)| {
        let fraction = (!numerator.is_null()).then(|| json!({ "numerator": numerator }));
        json!({ "backendRef": backend, "percent": percent, "fraction": fraction })
    });
    let redirect = (maybe(text()), maybe(text()), maybe(new_path()), maybe(number()), maybe(number())).prop_map(
        |(scheme, hostname, path, port, code)| {
            json!({ "scheme": scheme, "hostname": hostname, "path": path, "port": port, "statusCode": code })
        },
    );
    let rewrite = (maybe(text()), maybe(new_path()))
        .prop_map(|(hostname, path)| json!({ "hostname": hostname, "path": path }));
    let cors = (list(text()), list(text()), maybe(number())).prop_map(|(origins, names, max_age)| {
        json!({ "allowOrigins": origins, "allowMethods": names, "allowHeaders": names, "maxAge": max_age })
    });
    let protocol = select(&["HTTP", "GRPC", "SOAP"][..]);
    let auth = (protocol, reference(), text(), list(text())).prop_map(|(protocol, backend, path, names)| {
        let http = json!({ "path": path, "allowedHeaders": names });
        json!({ "protocol": protocol, "backendRef": backend, "http": http, "grpc": { "allowedHeaders": names } })
    });
    let of =
        |kind: &'static str, field: &'static str| move |part: Value| json!({ "type": kind, field: part });
    prop_oneof![
        header_edits().prop_map(of("RequestHeaderModifier", "requestHeaderModifier")),
        header_edits().prop_map(of("ResponseHeaderModifier", "responseHeaderModifier")),
        mirror.prop_map(of("RequestMirror", "requestMirror")),
        redirect.prop_map(of("RequestRedirect", "requestRedirect")),
        rewrite.prop_map(of("URLRewrite", "urlRewrite")),
        cors.prop_map(of("CORS", "cors")),
        auth.prop_map(of("ExternalAuth", "externalAuth")),
        Just(json!({ "type": "ExtensionRef", "extensionRef": { "group": "a", "kind": "b", "name": "c" } })),
        select(&["CORS", "URLRewrite", "Teleport"][..]).prop_map(|kind| json!({ "type": kind })),
    ]
}

fn rule(one_match: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let few = |value| prop_oneof![3 => Just(json!([])), 1 => list(value)];
    let backend = (reference(), few(filter().boxed())).prop_map(|(mut backend, filters)| {
        backend["filters"] = filters;
        backend
    });
    let timeouts = (maybe(text()), maybe(text()))
        .prop_map(|(request, backend)| json!({ "request": request, "backendRequest": backend }));
    let retry = (maybe(number()), list(number()), maybe(text())).prop_map(
        |(attempts, codes, backoff)| json!({ "attempts": attempts, "codes": codes, "backoff": backoff }),
    );
    let session = (
        maybe(select(&["Cookie", "Header", "Rune"][..]).prop_map(Value::from)),
        text(),
        maybe(text()),
    )
        .prop_map(|(kind, name, lifetime)| {
            let cookie = json!({ "name": name, "lifetimeType": lifetime });
            json!({ "type": kind, "cookie": cookie, "header": { "name": name }, "absoluteTimeout": lifetime })
        });
    let rare = |value| prop_oneof![4 => Just(Value::Null), 1 => value];
    (
        list(one_match),
        few(filter().boxed()),
        list(backend),
        rare(timeouts.boxed()),
        rare(retry.boxed()),
        rare(session.boxed()),
    )
        .prop_map(|(matches, filters, backends, timeouts, retry, session)| {
            json!({
                "matches": matches,
                "filters": filters,
                "backendRefs": backends,
                "timeouts": timeouts,
                "retry": retry,
                "sessionPersistence": session,
            })
        })
}

/// The rules of a route of one of the two kinds.
fn rules() -> impl Strategy<Value = (Kind, Vec<Value>)> {
    prop_oneof![
        2 => prop::collection::vec(rule(http_match()), 1..4).prop_map(|rules| (Kind::HttpRoute, rules)),
        1 => prop::collection::vec(rule(grpc_match()), 1..4).prop_map(|rules| (Kind::GrpcRoute, rules)),
    ]
}

/// JSON as an API server would send it, without the fields that are null.
fn without_nulls(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            for field in fields.values_mut() {
                *field = without_nulls(field.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = without_nulls(item.take());
            }
        }
        _ => {}
    }
    value
}

fn object(kind: Kind, namespace: &str, name: &str, fields: Value) -> Object {
    let mut document = fields;
    document["metadata"] = json!({ "namespace": namespace, "name": name });
    Object::decode(kind, without_nulls(document), &mut |_| ()).expect("an object")
}

/// What follows from a route with these rules, at a Gateway that takes all.
fn outcome(kind: Kind, rules: &[Value]) -> Outcome {
    let address = "192.0.2.1".parse().expect("an address");
    let mut snapshot = Snapshot::new(Node {
        name: "node-a".to_owned(),
        addresses: vec![address],
        gateway_addresses: vec![address],
        ..Node::default()
    });
    snapshot.served.insert(Service::Http);
    let listener = json!({ "name": "http", "protocol": "HTTP", "port": 80 });
    let class = json!({ "spec": { "controllerName": "gateway-agent.io/controller" } });
    snapshot.insert(object(Kind::GatewayClass, "", "gateway-agent", class));
    let gateway = json!({ "spec": { "gatewayClassName": "gateway-agent", "listeners": [listener] } });
    snapshot.insert(object(Kind::Gateway, "shop", "edge", gateway));
    snapshot.insert(object(Kind::Service, "shop", "a", json!({ "spec": { "ports": [{ "port": 8080 }] } })));
    let route = json!({ "spec": { "parentRefs": [{ "name": "edge" }], "rules": rules } });
    snapshot.insert(object(kind, "shop", "route", route));
    translate(&snapshot)
}

/// Status and reason of a condition of the route; None: it has no such condition.
fn condition(outcome: &Outcome, kind: Kind, name: &str) -> Option<(String, String)> {
    let status = &outcome.statuses[&ObjectRef::new(kind, "shop", "route")];
    let conditions = status["parents"][0]["conditions"].as_array().expect("conditions");
    let found = conditions.iter().find(|condition| condition["type"] == name)?;
    assert!(found["message"].as_str().is_some_and(|message| message.len() < 32_768));
    let text = |field: &str| found[field].as_str().expect("text").to_owned();
    Some((text("status"), text("reason")))
}

/// The compiled rules, without the index that their names hold.
fn compiled(outcome: &Outcome, kind: Kind) -> Vec<Value> {
    fn shown<M: serde::Serialize>(rules: &[HttpRouteRule<M>]) -> Vec<Value> {
        let rules = rules.iter().map(|rule| serde_json::to_value(rule).expect("JSON"));
        let without_index = rules.map(|mut rule| {
            rule["rule"]["name"]["rule"].take();
            // A cookie's name is made of it, unless the route has one.
            rule["rule"]["session"].take();
            rule
        });
        without_index.collect()
    }
    let name = ObjectName { namespace: "shop".to_owned(), name: "route".to_owned() };
    match kind {
        Kind::HttpRoute => shown(&outcome.tables.http.http_routes[&name].rules),
        _ => shown(&outcome.tables.http.grpc_routes[&name].rules),
    }
}

fn is_accepted(outcome: &Outcome, kind: Kind) -> bool {
    condition(outcome, kind, "Accepted").expect("Accepted").0 == "True"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_rule_is_the_same_whatever_stands_beside_it((kind, rules) in rules()) {
        let whole = outcome(kind, &rules);
        let alone: Vec<_> = rules.iter().map(|rule| outcome(kind, std::slice::from_ref(rule))).collect();
        let parts: Vec<_> = alone.iter().flat_map(|one| compiled(one, kind)).collect();
        prop_assert_eq!(compiled(&whole, kind), parts);
        let good = alone.iter().filter(|one| is_accepted(one, kind)).count();
        prop_assert_eq!(is_accepted(&whole, kind), good > 0);
        let partial = condition(&whole, kind, "PartiallyInvalid");
        prop_assert_eq!(partial.is_some(), good > 0 && good < rules.len());
        let resolved = |one: &Outcome| condition(one, kind, "ResolvedRefs").expect("ResolvedRefs").0 == "True";
        prop_assert_eq!(resolved(&whole), alone.iter().all(resolved));
    }

    #[test]
    fn requests_meet_what_could_be_read((kind, rules) in rules()) {
        let outcome = outcome(kind, &rules);
        let matcher = HttpMatcher::new(&outcome.tables.http);
        let frontend = outcome.tables.http.frontends.keys().next().expect("a frontend");
        let (host, fields) = (RequestHost::of("a.example"), HeaderMap::new());
        let listener = matcher.listener(frontend, &host).expect("a listener");
        for path in ["/", "/a", "/a/b", "/a//b", "*", ""] {
            let head = RequestHead::new(&host, &Method::GET, path, &fields).with_grpc(kind == Kind::GrpcRoute);
            if let Some(rule) = listener.pick(&head) {
                prop_assert!(rules.len() > usize::from(rule.name.rule));
                let invalid = rule.action == HttpAction::Refuse(HttpRefusal::InvalidRule);
                prop_assert!(!invalid || rule.filters.is_empty());
            }
        }
    }
}

/// The laws above mean little if random rules are all wrong, or all right.
#[test]
fn random_rules_are_right_and_wrong() {
    let mut runner = TestRunner::deterministic();
    let (mut accepted, mut refused, mut partial, mut forwards) = (0, 0, 0, 0);
    for _ in 0..300 {
        let (kind, rules) = rules().new_tree(&mut runner).expect("rules").current();
        let outcome = outcome(kind, &rules);
        let shown = Value::from(compiled(&outcome, kind)).to_string();
        forwards += usize::from(shown.contains("Forward"));
        partial += usize::from(condition(&outcome, kind, "PartiallyInvalid").is_some());
        if is_accepted(&outcome, kind) { accepted += 1 } else { refused += 1 }
    }
    assert!(
        accepted >= 50 && refused >= 50 && partial >= 20 && forwards >= 40,
        "{accepted} {refused} {partial} {forwards}"
    );
}
