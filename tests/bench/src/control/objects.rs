//! What is in the cluster: 5,000 routes, 1,000 Services, 10,000 endpoints (issue C, "Bench").

use std::collections::BTreeSet;

use serde_json::{Value, json};

pub(crate) const SPACE: &str = "bench";
pub(crate) const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/bench/gateways";
pub(crate) const HTTP_ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/bench/httproutes";
pub(crate) const SERVICES: &str = "/api/v1/namespaces/bench/services";
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices";

/// The controller that we are to a `GatewayClass`.
pub(crate) const CONTROLLER: &str = "gateway-agent.io/controller";

pub(crate) const SERVICE_COUNT: usize = 1_000;
const ENDPOINTS_OF_SERVICE: usize = 10;

/// Each has a listener of its own, so they take as many ports as listeners.
const TCP: usize = 320;
const UDP: usize = 320;
const GRPC: usize = 360;
pub(crate) const HTTP: usize = 4_000;

/// Frontends that follow from all of it.
pub(crate) const FRONTENDS: usize = TCP + UDP;

/// A Gateway's most listeners (its CRD).
const LISTENERS: usize = 64;
/// Above those of kubelet and kube-proxy, which keep theirs, and below `NodePorts`.
const FIRST_PORT: usize = 20_000;

/// What every case needs.
pub(crate) fn frame() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": "bench"},
            "spec": {"controllerName": CONTROLLER},
        }),
    ]
}

/// Paths and objects, each after what it refers to.
pub(crate) fn all() -> Vec<(String, Value)> {
    let services = (0..SERVICE_COUNT).map(|n| (SERVICES.to_owned(), service(n)));
    let slices = (0..SERVICE_COUNT).map(|n| (SLICES.to_owned(), slice(n)));
    let gateways = (0..FRONTENDS / LISTENERS).map(|n| (GATEWAYS.to_owned(), l4_gateway(n)));
    let web = (GATEWAYS.to_owned(), gateway("web", &[listener("web", "HTTP", 80)]));
    let routes = (0..FRONTENDS).map(|n| {
        let kind = l4_protocol(n);
        let listener = format!("l{}", n % LISTENERS);
        let parent = json!({"name": format!("l4-{}", n / LISTENERS), "sectionName": listener});
        route(&format!("{kind}Route"), &format!("r{n}"), &parent, n, None)
    });
    let web_routes = (0..HTTP + GRPC).map(|n| {
        let kind = if n < HTTP { "HTTPRoute" } else { "GRPCRoute" };
        web_route(kind, &format!("w{n}"), "web", n)
    });
    services.chain(slices).chain(gateways).chain([web]).chain(routes.chain(web_routes)).collect()
}

/// The lists that hold them.
pub(crate) fn lists() -> Vec<String> {
    let paths: BTreeSet<String> = all().into_iter().map(|(path, _)| path).collect();
    paths.into_iter().collect()
}

pub(crate) fn gateway(name: &str, listeners: &[Value]) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {"gatewayClassName": "bench", "listeners": listeners},
    })
}

pub(crate) fn listener(name: &str, protocol: &str, port: usize) -> Value {
    json!({"name": name, "protocol": protocol, "port": port})
}

/// With a host name of its own.
pub(crate) fn web_route(kind: &str, name: &str, gateway: &str, n: usize) -> (String, Value) {
    route(kind, name, &json!({"name": gateway}), n, Some(json!([format!("h{n}.example.com")])))
}

pub(crate) fn service(n: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": format!("s{n}"), "namespace": SPACE, "labels": {"service.kubernetes.io/service-proxy-name": "bench"}},
        "spec": {"ports": [
            {"name": "tcp", "protocol": "TCP", "port": 80},
            {"name": "udp", "protocol": "UDP", "port": 80},
        ]},
    })
}

/// The label keeps kube-proxy away: its work isn't measured.
fn slice(n: usize) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("s{n}"),
            "namespace": SPACE,
            "labels": {
                "kubernetes.io/service-name": format!("s{n}"),
                "service.kubernetes.io/service-proxy-name": "bench",
            },
        },
        "addressType": "IPv4",
        "ports": [{"name": "tcp", "protocol": "TCP", "port": 80}, {"name": "udp", "protocol": "UDP", "port": 80}],
        "endpoints": endpoints(n, 0),
    })
}

/// The endpoints of a Service; another `change` has another address for one of them.
pub(crate) fn endpoints(service: usize, change: usize) -> Value {
    let endpoint = |n: usize| {
        let last = if n == 0 { 100 + change % 100 } else { n };
        json!({
            "addresses": [format!("10.{}.{}.{last}", 200 + service / 250, service % 250)],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "node1",
        })
    };
    (0..ENDPOINTS_OF_SERVICE).map(endpoint).collect()
}

/// The first half of the Gateways is for TCP.
fn l4_protocol(n: usize) -> &'static str {
    if n < TCP { "TCP" } else { "UDP" }
}

fn l4_gateway(number: usize) -> Value {
    let listeners = (0..LISTENERS).map(|n| {
        let all = number * LISTENERS + n;
        listener(&format!("l{n}"), l4_protocol(all), FIRST_PORT + all)
    });
    gateway(&format!("l4-{number}"), &listeners.collect::<Vec<_>>())
}

fn route(kind: &str, name: &str, parent: &Value, n: usize, hostnames: Option<Value>) -> (String, Value) {
    let backend = json!({"name": format!("s{}", n % SERVICE_COUNT), "port": 80});
    let mut spec = json!({"parentRefs": [parent], "rules": [{"backendRefs": [backend]}]});
    if let Some(hostnames) = hostnames {
        spec["hostnames"] = hostnames;
    }
    let path = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{SPACE}/{}s", kind.to_lowercase());
    let object = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": SPACE},
        "spec": spec,
    });
    (path, object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_the_case_is_named_by() {
        let count = |end: &str| all().iter().filter(|(path, _)| path.ends_with(end)).count();
        assert_eq!(count("routes"), 5_000);
        assert_eq!(count("services"), 1_000);
        let endpoints = all()
            .iter()
            .filter_map(|(_, object)| object["endpoints"].as_array().map(Vec::len))
            .sum::<usize>();
        assert_eq!(endpoints, 10_000);
        assert_eq!(TCP % LISTENERS, 0, "a Gateway has listeners of one protocol");
    }
}
