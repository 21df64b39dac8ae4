//! Our proxy as a subject, as it is installed: an agent beside it, which reads the objects, steers connections to it and
//! tells it how to forward.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::subject::{
    AUTHORIZER, ENDPOINTS_HTTP1, ENDPOINTS_HTTP2, GRPC, GUARDED, HTTP1, HTTP2, Means, Routes, host, prefix,
};
use crate::lane::{self, BACKEND, Lane};
use crate::process::Process;

/// The proxy on the processor of proxies, then the agent on the other one: it has nothing to do while requests come.
pub(crate) fn start(lane: &Lane, routes: Routes, folder: &Path, means: &Means<'_>) -> Result<Vec<Process>> {
    let objects = folder.join("objects");
    fs::create_dir(&objects)?;
    fs::write(objects.join("base.yaml"), base())?;
    for index in 0..routes.each() {
        fs::write(objects.join(format!("host-{index}.yaml")), host_routes(index, routes))?;
    }
    let link = folder.join("proxy.socket");
    let mut agent = Command::new(means.agent);
    agent.args(["run", "--node-name", NODE, "--node-address", &lane::GATEWAY.to_string()]);
    agent.args(["--device", lane::CLIENT_SIDE, "--device", lane::BACKEND_SIDE, "--flows", "1000"]);
    agent.arg("-f").arg(&objects).arg("--pin").arg(means.bpffs.join(pin()));
    agent.arg("--socket").arg(folder.join("agent.socket")).arg("--proxy-socket").arg(&link);
    let agent = Process::start("agent", &lane.gateway, folder, &means.cpus.last().to_string(), &agent)?;
    let mut proxy = Command::new(means.agent);
    proxy.args(["proxy", "--workers", "1", "--socket"]).arg(&link);
    let proxy = Process::start("proxy", &lane.gateway, folder, &means.cpus.first().to_string(), &proxy)?;
    Ok(vec![proxy, agent])
}

const NODE: &str = "here";

/// One for each agent: the next one has other tables.
fn pin() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("http-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// All but the HTTPRoutes.
fn base() -> String {
    let mut text = format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: default}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: bench}}
spec: {{controllerName: gateway-agent.io/controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: bench, namespace: default}}
spec:
  gatewayClassName: bench
  listeners:
  - {{name: http1, protocol: HTTP, port: {HTTP1}}}
  - {{name: http2, protocol: HTTP, port: {HTTP2}}}
  - {{name: grpc, protocol: HTTP, port: {GRPC}}}
  - {{name: guarded, protocol: HTTP, port: {GUARDED}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: grpc, namespace: default}}
spec:
  parentRefs: [{{name: bench, sectionName: grpc}}]
  rules:
  - backendRefs: [{{name: grpc, port: 80}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: guarded, namespace: default}}
spec:
  parentRefs: [{{name: bench, sectionName: guarded}}]
  rules:
  - filters:
    - type: ExternalAuth
      externalAuth: {{protocol: GRPC, backendRef: {{name: authorizer, port: 80}}, grpc: {{}}}}
    backendRefs: [{{name: web, port: 80}}]
"
    );
    let h2c = ", appProtocol: kubernetes.io/h2c";
    for (name, ports, protocol) in [
        ("web", &ENDPOINTS_HTTP1[..], ""),
        ("grpc", &ENDPOINTS_HTTP2, h2c),
        ("authorizer", &[AUTHORIZER], h2c),
    ] {
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  ports: [{{name: main, port: 80{protocol}}}]
"
        );
        for port in ports {
            let _ = write!(
                text,
                "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{port}
  namespace: default
  labels: {{kubernetes.io/service-name: {name}}}
addressType: IPv4
ports: [{{name: main, port: {port}{protocol}}}]
endpoints:
- addresses: [{BACKEND}]
  conditions: {{ready: true, serving: true, terminating: false}}
"
            );
        }
    }
    text
}

/// A route for each prefix of a host.
fn host_routes(index: usize, routes: Routes) -> String {
    let mut text = String::new();
    for of_host in 0..routes.each() {
        let _ = write!(
            text,
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route-{index}-{of_host}, namespace: default}}
spec:
  parentRefs: [{{name: bench, sectionName: http1}}, {{name: bench, sectionName: http2}}]
  hostnames: [{}]
  rules:
  - matches: [{{path: {{type: PathPrefix, value: {}}}}}]
    backendRefs: [{{name: web, port: 80}}]
",
            host(index),
            prefix(of_host),
        );
    }
    text
}
