//! Addresses: who gets which, what stands for a Gateway, and ports that somebody else has, with a real API server.

use lab::wait_until;
use serde_json::{Value, json};

use crate::objects::{OURS, namespace, verdict};
use crate::rig::{NODE, NODE_ADDRESS, PATIENCE, Rig, Role};

const NAMED: &str = "10.89.0.148";

#[test]
fn addresses_and_a_real_api_server() {
    let rig = Rig::new("addresses", "1");
    rig.install_crds("v1.6.3");
    let controller = rig.controller("controller-1");
    controller.until_told("leading", "writes statuses");
    let agent = rig.agent("agent");
    rig.apply(&[class(), namespace("infra"), namespace("shop")]);
    rig.apply(&[config("infra", "ours", &pools()), config("shop", "of-nodes", &json!({ "mode": "Node" }))]);
    rig.apply(&[config("shop", "balanced", &json!({ "mode": "LoadBalancer" }))]);
    agent.until_told("ready", "the first tables are applied");

    pools_are_shared_out(&rig);
    addresses_can_be_asked_for(&rig);
    let controller = another_controller_moves_nothing(&rig, controller);
    a_service_stands_for_each_gateway(&rig);
    the_node_keeps_its_ports(&rig);
    a_load_balancer_stands_before_a_gateway(&rig);
    controller.terminate();
}

fn pools_are_shared_out(rig: &Rig) {
    rig.apply(&[gateway("first", &json!({})), gateway("second", &json!({}))]);
    let pool: [_; 2] = ["first", "second"].map(|name| until_addressed(rig, "infra", name, 1).remove(0));
    assert!(pool.iter().all(|it| ["10.89.0.100", "10.89.0.101"].contains(&it.as_str())), "{pool:?}");
    assert_ne!(pool[0], pool[1]);
    rig.apply(&[gateway("third", &json!({}))]);
    let third = until_programmed(rig, "third", "False AddressNotAssigned");
    assert!(third.contains("pool public"), "{third}");
    rig.kubectl(&["delete", "gateway", "first", "--namespace", "infra"]);
    assert_eq!(until_addressed(rig, "infra", "third", 1), pool[..1], "what was freed");
    assert_eq!(until_addressed(rig, "infra", "second", 1), pool[1..]);
    wait_until("their frontends", PATIENCE, || rig.status("agent")["frontends"] == 2).unwrap();
    until_programmed(rig, "second", "True Programmed");
}

fn addresses_can_be_asked_for(rig: &Rig) {
    let addresses = json!([{ "value": NAMED }, { "value": "192.0.2.1" }]);
    rig.apply(&[gateway("named", &json!({ "addresses": addresses }))]);
    until_programmed(rig, "named", "False AddressNotUsable");
    rig.apply(&[gateway("named", &json!({ "addresses": [{ "value": NAMED }] }))]);
    until_programmed(rig, "named", "True Programmed");
    assert_eq!(until_addressed(rig, "infra", "named", 1), [NAMED]);
    rig.apply(&[gateway("odd", &json!({ "addresses": [{ "type": "example.com/odd", "value": "x" }] }))]);
    rig.until("gateway", "infra", "odd", |it| {
        verdict(&it["status"]["conditions"], "Accepted") == "False UnsupportedAddress"
    });
    rig.kubectl(&["delete", "gateway", "odd", "--namespace", "infra"]);
}

/// What was assigned stands in the statuses.
fn another_controller_moves_nothing(rig: &Rig, controller: Role) -> Role {
    let names = ["second", "third", "named"];
    let before = names.map(|name| until_addressed(rig, "infra", name, 1));
    controller.terminate();
    let controller = rig.controller("controller-2");
    controller.until_told("leading", "writes statuses");
    rig.apply(&[gateway("late", &json!({}))]);
    until_programmed(rig, "late", "False AddressNotAssigned");
    assert_eq!(names.map(|name| until_addressed(rig, "infra", name, 1)), before);
    rig.kubectl(&["delete", "gateway", "late", "--namespace", "infra"]);
    controller
}

fn a_service_stands_for_each_gateway(rig: &Rig) {
    let infrastructure = json!({ "labels": { "team": "x" }, "annotations": { "example.com/note": "y" } });
    rig.apply(&[gateway("second", &json!({ "infrastructure": infrastructure }))]);
    let service = rig.until("service", "infra", "second-gateway-agent", |it| {
        it["metadata"]["labels"]["team"] == "x" && it["metadata"]["annotations"]["example.com/note"] == "y"
    });
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert_eq!(service["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"], "second");
    assert_eq!(service["metadata"]["ownerReferences"][0]["kind"], "Gateway");
    let slice = rig.until("endpointslice", "infra", "second-gateway-agent-ipv4-0", |it| {
        it["ports"] == json!([{ "name": "tcp-9000", "port": 9000, "protocol": "TCP" }])
    });
    let address = until_addressed(rig, "infra", "second", 1);
    assert_eq!(slice["endpoints"][0]["addresses"], json!(address));

    let longest = "n".repeat(253);
    rig.apply(&[gateway(&longest, &json!({ "addresses": [{ "value": "192.0.2.1" }] }))]);
    let of_longest = || {
        let services = rig.objects("service", "infra");
        services
            .into_iter()
            .filter(|it| it["metadata"]["ownerReferences"][0]["name"] == longest.as_str())
            .count()
    };
    wait_until("a Service with a short name", PATIENCE, || of_longest() == 1).unwrap();
    rig.kubectl(&["delete", "gateway", &longest, "--namespace", "infra"]);
    wait_until("no Service that stands for nothing", PATIENCE, || of_longest() == 0).unwrap();
}

/// A socket of the node, a Service's `NodePort`, a pod's `hostPort`.
fn the_node_keeps_its_ports(rig: &Rig) {
    const KUBELET: u16 = 10250;
    const NODE_PORT: u16 = 30999;
    const HOST_PORT: u16 = 8088;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "holder", "namespace": "shop" },
        "spec": { "type": "NodePort", "ports": [{ "port": 80, "nodePort": NODE_PORT }] },
    });
    let container = json!({ "name": "c", "image": "none.example/none", "ports": [{ "containerPort": 80, "hostPort": HOST_PORT }] });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "holder", "namespace": "shop" },
        "spec": { "nodeName": NODE, "automountServiceAccountToken": false, "containers": [container] },
    });
    rig.apply(&[service, pod]);
    let listeners: Vec<_> = [KUBELET, NODE_PORT, HOST_PORT, 9100]
        .iter()
        .map(|port| json!({ "name": format!("p{port}"), "protocol": "TCP", "port": port }))
        .collect();
    let mut edge = of_shop("edge", "of-nodes");
    edge["spec"]["listeners"] = json!(listeners);
    rig.apply(&[edge]);
    let refused = |listener: &Value| verdict(&listener["conditions"], "Accepted") == "False PortUnavailable";
    let edge = rig.until("gateway", "shop", "edge", |it| {
        let listeners = it["status"]["listeners"].as_array().cloned().unwrap_or_default();
        listeners.len() == 4 && listeners[..3].iter().all(refused)
    });
    assert_eq!(until_addressed(rig, "shop", "edge", 1), [NODE_ADDRESS]);
    for (index, holder) in
        ["a socket of user 0", "a NodePort of Service shop/holder", "a hostPort of Pod shop/holder"]
            .into_iter()
            .enumerate()
    {
        let text = edge["status"]["listeners"][index]["conditions"].to_string();
        assert!(text.contains(holder) && text.contains(&format!("node {NODE}")), "{holder}: {text}");
    }
    let free = &edge["status"]["listeners"][3]["conditions"];
    assert_eq!(verdict(free, "Accepted"), "True Accepted");
    let node = rig.object("gatewaynode", "", NODE);
    let problems = node["status"]["problems"].as_array().unwrap();
    assert_eq!(problems.iter().filter(|it| it["reason"] == "PortUnavailable").count(), 3, "{problems:?}");

    rig.kubectl(&["delete", "service", "holder", "--namespace", "shop"]);
    rig.until("gateway", "shop", "edge", |it| !refused(&it["status"]["listeners"][1]));
    rig.kubectl(&["delete", "pod", "holder", "--namespace", "shop", "--grace-period=0", "--force"]);
    rig.kubectl(&["delete", "gateway", "edge", "--namespace", "shop"]);
}

/// The test stands for what makes load balancers.
fn a_load_balancer_stands_before_a_gateway(rig: &Rig) {
    rig.apply(&[of_shop("front", "balanced")]);
    let service = rig.until("service", "shop", "front-gateway-agent-lb", |it| {
        it["spec"]["ports"][0]["nodePort"].is_number()
    });
    let node_port = &service["spec"]["ports"][0]["nodePort"];
    let slice = rig.until("endpointslice", "shop", "front-gateway-agent-lb-ipv4-0", |it| {
        it["ports"][0]["port"] == *node_port
    });
    assert_eq!(slice["endpoints"][0]["addresses"], json!([NODE_ADDRESS]));
    assert_eq!(slice["endpoints"][0]["nodeName"], NODE);
    for (ingress, kind, value) in [
        (json!({ "ip": "203.0.113.7" }), "IPAddress", "203.0.113.7"),
        (json!({ "hostname": "lb.example.com" }), "Hostname", "lb.example.com"),
    ] {
        let patch = json!([{ "op": "add", "path": "/status/loadBalancer/ingress", "value": [ingress] }]);
        rig.patch_status("service", "shop", "front-gateway-agent-lb", &patch);
        rig.until("gateway", "shop", "front", |it| {
            it["status"]["addresses"] == json!([{ "type": kind, "value": value }])
                && verdict(&it["status"]["conditions"], "Programmed") == "True Programmed"
        });
    }
    rig.kubectl(&["delete", "gateway", "front", "--namespace", "shop"]);
    wait_until("nothing that stands for it", PATIENCE, || {
        rig.objects("service", "shop").is_empty() && rig.objects("endpointslice", "shop").is_empty()
    })
    .unwrap();
}

fn until_addressed(rig: &Rig, namespace: &str, name: &str, number: usize) -> Vec<String> {
    let gateway = rig.until("gateway", namespace, name, |it| {
        it["status"]["addresses"].as_array().is_some_and(|all| all.len() == number)
    });
    let addresses = gateway["status"]["addresses"].as_array().unwrap().iter();
    addresses.map(|it| it["value"].as_str().unwrap().to_owned()).collect()
}

/// Gives the message.
fn until_programmed(rig: &Rig, name: &str, expected: &str) -> String {
    let gateway = rig
        .until("gateway", "infra", name, |it| verdict(&it["status"]["conditions"], "Programmed") == expected);
    let conditions = gateway["status"]["conditions"].as_array().unwrap();
    let programmed = conditions.iter().find(|it| it["type"] == "Programmed").unwrap();
    programmed["message"].as_str().unwrap().to_owned()
}

fn pools() -> Value {
    json!({ "mode": "Pool", "pools": [
        { "name": "public", "ranges": ["10.89.0.100-10.89.0.101"] },
        { "name": "reserved", "ranges": [NAMED], "autoAssign": false },
    ] })
}

fn class() -> Value {
    let parameters =
        json!({ "group": "gateway-agent.io", "kind": "GatewayConfig", "name": "ours", "namespace": "infra" });
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": "gateway-agent" },
        "spec": { "controllerName": OURS, "parametersRef": parameters },
    })
}

fn config(namespace: &str, name: &str, addresses: &Value) -> Value {
    json!({
        "apiVersion": "gateway-agent.io/v1alpha1",
        "kind": "GatewayConfig",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "addresses": addresses },
    })
}

fn gateway(name: &str, more: &Value) -> Value {
    let mut spec = json!({
        "gatewayClassName": "gateway-agent",
        "listeners": [{ "name": "tcp", "protocol": "TCP", "port": 9000 }],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": name, "namespace": "infra" },
        "spec": spec,
    })
}

fn of_shop(name: &str, config: &str) -> Value {
    let parameters = json!({ "group": "gateway-agent.io", "kind": "GatewayConfig", "name": config });
    let mut gateway = gateway(name, &json!({ "infrastructure": { "parametersRef": parameters } }));
    gateway["metadata"]["namespace"] = "shop".into();
    gateway
}
