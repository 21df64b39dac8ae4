//! The agent's and the controller's way with a real API server. Needs root.
//!
//! One story after the other on one cluster: each begins with what the one before left, as in real life.
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]
#![allow(unreachable_pub, reason = "in private modules, `pub` means: for the other modules")]

mod addresses;
mod experimental;
mod objects;
mod rig;
mod rights;
mod secrets;

use std::time::Instant;

use lab::wait_until;
use objects::{
    attached, class, gateway, http_route, namespace, ours, route_verdict, service, tcp_route, verdict,
};
use rig::{NODE, NODE_ADDRESS, PATIENCE, Rig, Role, SECOND_ADDRESS};
use serde_json::{Value, json};

#[test]
fn roles_and_a_real_api_server() {
    let rig = Rig::new("roles", "2");
    let agent = rig.agent("agent");
    let controller = rig.separable_controller("controller-1");

    crds_come_late(&rig, &controller);
    the_agent_applies_what_it_sees(&rig, &agent);
    an_agent_speaks_for_its_own_node(&rig);
    gateway_nodes_belong_to_nodes(&rig);
    let second = a_second_node_joins(&rig);
    let cut_off = rig.cut_off_agent();
    statuses_of_others_survive(&rig);
    every_kind_gets_a_verdict(&rig);
    experimental::older_backends_get_verdicts(&rig);
    secrets::agents_see_what_gateways_may_use(&rig, &agent);
    an_invented_filter_harms_nobody_else(&rig);
    an_agent_that_is_cut_off_shows(&rig, &second, cut_off);
    many_routes_are_few_writes_of_their_gateway(&rig, &controller);
    churn_and_conflicts_end_well(&rig);
    the_api_server_restarts(&rig, &controller);
    newer_crds_change_nothing(&rig);
    experimental::kinds_get_verdicts(&rig);
    another_one_takes_over(&rig, &controller);
    rights::are_exact(&rig);
    rights::a_missing_one_is_named(&rig, &controller);
    controller.terminate();
}

/// Nothing of the Gateway API is there when the roles start.
fn crds_come_late(rig: &Rig, controller: &Role) {
    controller.until_told("leading", "writes statuses");
    rig.install_crds("v1.6.3");
    for plural in ["gatewayclasses", "gateways", "tcproutes", "httproutes"] {
        let crd = format!("{plural}.gateway.networking.k8s.io");
        rig.kubectl(&["wait", "--for=condition=Established", "crd", &crd, "--timeout=300s"]);
    }
    rig.apply(&[class(), namespace("late"), gateway("late", "edge", 9000), service("late", "server")]);
    rig.apply(&[tcp_route("late", "orders", "edge")]);
    let class = rig.until("gatewayclass", "", "gateway-agent", |it| {
        verdict(&it["status"]["conditions"], "Accepted") == "True Accepted"
    });
    assert_eq!(verdict(&class["status"]["conditions"], "SupportedVersion"), "True SupportedVersion");
    rig.until("tcproute", "late", "orders", |it| route_verdict(it, "Accepted") == "True Accepted");
    let edge = rig.until("gateway", "late", "edge", |it| {
        attached(it, "tcp") == Some(1) && it["status"]["addresses"] != json!([])
    });
    assert_eq!(edge["status"]["addresses"], json!([{ "type": "IPAddress", "value": NODE_ADDRESS }]));
    let conditions = edge["status"]["conditions"].as_array().unwrap();
    let generation = &edge["metadata"]["generation"];
    assert!(
        conditions.iter().all(|condition| condition["observedGeneration"] == *generation),
        "{conditions:?}"
    );
}

fn the_agent_applies_what_it_sees(rig: &Rig, agent: &Role) {
    agent.until_told("ready", "the first tables are applied");
    wait_until("a frontend", PATIENCE, || rig.status("agent")["frontends"] == 1).unwrap();
    assert_eq!(rig.status("agent")["statuses"], json!([]), "statuses are the controller's");
    let node = rig.until("gatewaynode", "", NODE, |it| it["status"]["addresses"] == json!([NODE_ADDRESS]));
    assert_eq!(verdict(&node["status"]["conditions"], "Ready"), "True Ready");
    let edge = rig.until("gateway", "late", "edge", |it| {
        verdict(&it["status"]["conditions"], "Programmed") == "True Programmed"
    });
    let conditions = edge["status"]["conditions"].as_array().unwrap();
    let programmed = conditions.iter().find(|condition| condition["type"] == "Programmed").unwrap();
    assert!(programmed["message"].as_str().unwrap().contains("1 of 1 nodes"), "{programmed}");
}

/// RBAC alone can't say this; an admission policy does.
fn an_agent_speaks_for_its_own_node(rig: &Rig) {
    let kubeconfig = rig.agent_kubeconfig();
    let object = json!({"apiVersion": "gateway-agent.io/v1alpha1", "kind": "GatewayNode", "metadata": {"name": "node2"}, "spec": {}});
    let refused = rig.try_create(&kubeconfig, &object).unwrap_err();
    assert!(refused.contains("for the node that it runs on"), "{refused}");
    let secrets =
        rig.try_kubectl(&["get", "secrets", "--all-namespaces", "--kubeconfig", &kubeconfig]).unwrap_err();
    assert!(secrets.contains("forbidden"), "{secrets}");
}

/// A GatewayNode has its Node as owner, and goes without one.
fn gateway_nodes_belong_to_nodes(rig: &Rig) {
    let metadata = json!({ "name": "gone" });
    let gone = json!({ "apiVersion": "gateway-agent.io/v1alpha1", "kind": "GatewayNode", "metadata": metadata, "spec": {} });
    rig.apply(&[gone]);
    let uid = rig.object("node", "", NODE)["metadata"]["uid"].clone();
    let node = rig.until("gatewaynode", "", NODE, |it| it["metadata"]["ownerReferences"][0]["uid"] == uid);
    assert_ne!(node["status"]["lastHeartbeatTime"], Value::Null);
    rig.kubectl(&["wait", "--for=delete", "gatewaynode/gone", "--timeout=300s"]);
}

fn a_second_node_joins(rig: &Rig) -> Role {
    let agent = rig.separable_agent("agent-2");
    agent.until_told("ready", "the first tables are applied");
    let both = json!([
        { "type": "IPAddress", "value": NODE_ADDRESS }, { "type": "IPAddress", "value": SECOND_ADDRESS },
    ]);
    rig.until("gateway", "late", "edge", |it| {
        it["status"]["addresses"] == both && programmed(it).contains("2 of 2 nodes")
    });
    agent
}

/// Packets between an agent and the API server vanish, and nobody is told.
fn an_agent_that_is_cut_off_shows(rig: &Rig, agent: &Role, heal: impl FnOnce()) {
    let one = json!([{ "type": "IPAddress", "value": NODE_ADDRESS }]);
    rig.until("gateway", "late", "edge", |it| it["status"]["addresses"] == one);
    rig.until("gateway", "late", "edge", |it| {
        programmed(it).contains("1 of 2 nodes; node2: its agent has told nothing for 40 s")
    });
    heal();
    let served = |it: &Value| {
        it["status"]["addresses"].as_array().is_some_and(|all| all.len() == 2)
            && programmed(it).contains("2 of 2 nodes")
    };
    rig.until("gateway", "late", "edge", served);
    let frontends = |label: &str| rig.status(label)["frontends"].clone();
    let waited = wait_until("what it has missed", PATIENCE, || frontends("agent-2") == frontends("agent"));
    assert!(waited.is_ok(), "{} and not {}: {}", frontends("agent-2"), frontends("agent"), agent.log());
}

/// The message of Programmed.
fn programmed(gateway: &Value) -> &str {
    let conditions = gateway["status"]["conditions"].as_array().into_iter().flatten();
    let programmed = conditions.into_iter().find(|condition| condition["type"] == "Programmed");
    programmed.and_then(|condition| condition["message"].as_str()).unwrap_or_default()
}

fn every_kind_gets_a_verdict(rig: &Rig) {
    let route = |kind: &str, name: &str| {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": kind,
            "metadata": { "name": name, "namespace": "late" },
            "spec": {
                "parentRefs": [{ "name": "edge" }],
                "rules": [{ "backendRefs": [{ "name": "server", "port": 80 }] }],
            },
        })
    };
    let mut tls = route("TLSRoute", "by-name");
    tls["spec"]["hostnames"] = json!(["a.example.com"]);
    let set = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "ListenerSet",
        "metadata": { "name": "more", "namespace": "late" },
        "spec": {
            "parentRef": { "name": "edge" },
            "listeners": [{ "name": "more", "protocol": "TCP", "port": 9009 }],
        },
    });
    let policy = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "BackendTLSPolicy",
        "metadata": { "name": "encrypted", "namespace": "late" },
        "spec": {
            "targetRefs": [{ "group": "", "kind": "Service", "name": "server" }],
            "validation": { "hostname": "server.example.com", "wellKnownCACertificates": "System" },
        },
    });
    let web = http_route("late", "web", "edge", &json!([]));
    rig.apply(&[web, route("GRPCRoute", "calls"), route("UDPRoute", "datagrams"), tls, set, policy]);
    for (kind, name) in
        [("httproute", "web"), ("grpcroute", "calls"), ("udproute", "datagrams"), ("tlsroute", "by-name")]
    {
        rig.until(kind, "late", name, |it| ours(it).is_some());
    }
    rig.until("listenerset", "late", "more", |it| verdict(&it["status"]["conditions"], "Accepted") != "- -");
    rig.until("backendtlspolicy", "late", "encrypted", |it| {
        verdict(&it["status"]["ancestors"][0]["conditions"], "Accepted") == "True Accepted"
    });
    for (kind, name) in [
        ("httproute", "web"),
        ("grpcroute", "calls"),
        ("udproute", "datagrams"),
        ("tlsroute", "by-name"),
        ("listenerset", "more"),
        ("backendtlspolicy", "encrypted"),
    ] {
        rig.kubectl(&["delete", kind, name, "--namespace", "late", "--wait=false"]);
    }
}

/// The next release's CRDs, in place of those that are there.
fn newer_crds_change_nothing(rig: &Rig) {
    let version = |text: &str| {
        let version = |it: &Value| {
            let conditions = it["status"]["conditions"].as_array().unwrap();
            let condition = conditions.iter().find(|it| it["type"] == "SupportedVersion").unwrap();
            condition["status"] == "True" && condition["message"].as_str().unwrap().contains(text)
        };
        rig.until("gatewayclass", "", "gateway-agent", version);
    };
    version("v1.6.3");
    rig.install_crds("v1.7.0");
    version("v1.7.0");
    rig.apply(&[tcp_route("late", "newer", "second")]);
    rig.until("tcproute", "late", "newer", |it| route_verdict(it, "Accepted") == "True Accepted");
    rig.kubectl(&["delete", "tcproute", "newer", "--namespace", "late"]);
}

/// Entries of other controllers and conditions of other types stay byte for byte; ours goes with its last parent.
fn statuses_of_others_survive(rig: &Rig) {
    let condition = json!({
        "type": "Accepted", "status": "False", "reason": "Foreign", "message": "not ours",
        "lastTransitionTime": "2020-01-02T03:04:05Z", "observedGeneration": 77,
    });
    let good = json!({
        "type": "a.example/Good", "status": "Unknown", "reason": "Foreign", "message": "",
        "lastTransitionTime": "2020-01-02T03:04:05Z",
    });
    let entry = json!({
        "parentRef": { "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "other" },
        "controllerName": "other.example/controller",
        "conditions": [condition],
    });
    rig.patch_status(
        "tcproute",
        "late",
        "orders",
        &json!([{ "op": "add", "path": "/status/parents/0", "value": entry }]),
    );
    rig.patch_status(
        "gateway",
        "late",
        "edge",
        &json!([
            { "op": "add", "path": "/status/conditions/0", "value": good },
            { "op": "add", "path": "/status/listeners/0/conditions/0", "value": good },
        ]),
    );
    let time = |route: &Value| ours(route).unwrap()["conditions"][0]["lastTransitionTime"].clone();
    let before = rig.object("tcproute", "late", "orders");
    rig.kubectl(&["delete", "service", "server", "--namespace", "late"]);
    let route = rig.until("tcproute", "late", "orders", |it| {
        route_verdict(it, "ResolvedRefs") == "False BackendNotFound"
    });
    assert_eq!(route["status"]["parents"][0], entry);
    assert_eq!(time(&route), time(&before), "Accepted has not changed");
    wait_until("an Event", PATIENCE, || {
        let events = rig.objects("events.events.k8s.io", "late");
        events.iter().any(|event| event["type"] == "Warning" && event["reason"] == "BackendNotFound")
    })
    .unwrap();
    rig.apply(&[service("late", "server")]);
    rig.until("tcproute", "late", "orders", |it| route_verdict(it, "ResolvedRefs") == "True ResolvedRefs");

    rig.apply(&[tcp_route("late", "orders", "elsewhere")]);
    let route = rig.until("tcproute", "late", "orders", |it| ours(it).is_none());
    assert_eq!(route["status"]["parents"], json!([entry]));
    let edge = rig.until("gateway", "late", "edge", |it| attached(it, "tcp") == Some(0));
    assert_eq!(edge["status"]["conditions"][0], good);
    assert_eq!(edge["status"]["listeners"][0]["conditions"][0], good);
    rig.apply(&[tcp_route("late", "orders", "edge")]);
    rig.until("gateway", "late", "edge", |it| attached(it, "tcp") == Some(1));
}

/// A newer CRD lets pass what this version doesn't know.
fn an_invented_filter_harms_nobody_else(rig: &Rig) {
    let crd = rig.kubectl(&["get", "crd", "httproutes.gateway.networking.k8s.io", "--output=json"]);
    let newer = crd.replace("\"RequestRedirect\",", "\"RequestRedirect\",\"Invented\",");
    assert_ne!(crd, newer);
    let file = std::env::temp_dir().join(format!("httproutes-{}.json", std::process::id()));
    std::fs::write(&file, newer).unwrap();
    rig.kubectl(&["replace", "--filename", &file.display().to_string()]);
    std::fs::remove_file(&file).unwrap();
    let good = (0..100).map(|n| http_route("late", &format!("good-{n}"), "edge", &json!([])));
    rig.apply(&good.collect::<Vec<_>>());
    let invented = json!([http_route("late", "invented", "edge", &json!([{ "type": "Invented" }]))]);
    // The new schema is in force a moment after it was accepted.
    wait_until("the new schema", PATIENCE, || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.apply(invented.as_array().unwrap())))
            .is_ok()
    })
    .unwrap();
    rig.until("gateway", "late", "edge", |it| attached(it, "web").is_some_and(|routes| routes >= 100));
    wait_until("a verdict on each route", PATIENCE, || {
        let routes = rig.objects("httproute", "late");
        let good = routes.iter().filter(|it| it["metadata"]["name"] != "invented");
        let judged = good.filter(|it| route_verdict(it, "Accepted") == "True Accepted").count();
        let other = routes.iter().find(|it| it["metadata"]["name"] == "invented").unwrap();
        // Which verdict is for the golden cases to say.
        judged == 100 && ours(other).is_some()
    })
    .unwrap();
    let names = (0..100).map(|n| format!("good-{n}"));
    let names: Vec<_> = names.chain(["invented".to_owned()]).collect();
    let words =
        ["delete", "httproute", "--namespace", "late"].into_iter().chain(names.iter().map(String::as_str));
    rig.kubectl(&words.collect::<Vec<_>>());
    rig.until("gateway", "late", "edge", |it| attached(it, "web") == Some(0));
}

fn many_routes_are_few_writes_of_their_gateway(rig: &Rig, controller: &Role) {
    const ROUTES: u64 = 300;
    rig.apply(&[namespace("many"), gateway("many", "crowd", 9001), service("many", "server")]);
    rig.until("gateway", "many", "crowd", |it| attached(it, "web") == Some(0));
    let in_few_writes = |what: &str, attached_then: u64, change: &dyn Fn()| {
        let writes = || controller.told("status", "Gateway many/crowd");
        let (begun, before) = (Instant::now(), writes());
        change();
        rig.until("gateway", "many", "crowd", |it| attached(it, "web") == Some(attached_then));
        let writes = writes() - before;
        println!("{ROUTES} routes: {writes} writes of their Gateway to {what}");
        // Ten for what happens within ten seconds, and one for every two that a slow machine takes beyond those.
        let beyond = begun.elapsed().as_secs().saturating_sub(10);
        let most = 10 + usize::try_from(beyond.div_ceil(2)).unwrap();
        assert!(writes <= most, "{writes} writes to {what}, not {most}");
    };
    in_few_writes("attach", ROUTES, &|| {
        let routes = (0..ROUTES).map(|n| http_route("many", &format!("r{n}"), "crowd", &json!([])));
        rig.apply(&routes.collect::<Vec<_>>());
    });
    in_few_writes("detach", 0, &|| {
        rig.kubectl(&["delete", "httproute", "--all", "--namespace", "many", "--wait=false"]);
    });
}

/// Others change the object while we write its status.
fn churn_and_conflicts_end_well(rig: &Rig) {
    for round in 0..10 {
        let label = format!("round={round}");
        if round % 2 == 0 {
            rig.kubectl(&["delete", "service", "server", "--namespace", "late"]);
        } else {
            rig.apply(&[service("late", "server")]);
        }
        for _ in 0..3 {
            rig.kubectl(&["label", "tcproute", "orders", "--overwrite", &label, "--namespace", "late"]);
            rig.kubectl(&["annotate", "gateway", "edge", "--overwrite", &label, "--namespace", "late"]);
        }
    }
    let route = rig
        .until("tcproute", "late", "orders", |it| route_verdict(it, "ResolvedRefs") == "True ResolvedRefs");
    assert_eq!(route["status"]["parents"].as_array().map(Vec::len), Some(2), "{}", route["status"]);
}

fn the_api_server_restarts(rig: &Rig, controller: &Role) {
    let frontends = rig.status("agent")["frontends"].clone();
    let start = rig.stop_api_server();
    let tells = |text: &str| {
        let status = rig.status("agent");
        status["problems"].as_array().is_some_and(|problems| {
            problems
                .iter()
                .any(|it| it["origin"] == "cluster" && it["message"].as_str().unwrap().contains(text))
        })
    };
    wait_until("the agent to say so", PATIENCE, || tells("the API server tells nothing new")).unwrap();
    controller.until_told("problem", "the API server tells nothing new");
    assert_eq!(rig.status("agent")["frontends"], frontends, "what was known goes on");
    start();
    rig.apply(&[gateway("late", "second", 9002), tcp_route("late", "orders", "second")]);
    rig.until("tcproute", "late", "orders", |it| route_verdict(it, "Accepted") == "True Accepted");
    rig.until("gateway", "late", "edge", |it| attached(it, "tcp") == Some(0));
    wait_until("the agent to be content", PATIENCE, || !tells("the API server")).unwrap();
    controller.until_told("resolved", "the API server tells nothing new");
    // What happened while it was away is older than what a new API server remembers (410 Gone).
    assert_ne!(controller.told("expired", "is too old"), 0, "some kinds were listed again");
}

/// A second controller stands by until packets of the first one vanish. That comes back to find itself replaced, and
/// waits until the second says that it goes.
fn another_one_takes_over(rig: &Rig, first: &Role) {
    let second = rig.controller("controller-2");
    second.until_told("standing-by", "stands by");
    let heal = rig.cut_off_controller();
    second.until_told("leading", "writes statuses");
    rig.apply(&[tcp_route("late", "orders", "edge")]);
    rig.until("gateway", "late", "edge", |it| attached(it, "tcp") == Some(1));
    heal();
    first.until_told("standing-by", "stands by");
    second.terminate();
    wait_until("the first to lead again", PATIENCE, || first.told("leading", "writes statuses") == 2)
        .unwrap();
    rig.apply(&[tcp_route("late", "orders", "second")]);
    rig.until("gateway", "late", "edge", |it| attached(it, "tcp") == Some(0));
}
