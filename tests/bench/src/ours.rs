//! Our agent as a subject: the objects that make it forward, and how it is started.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::lane::{self, BACKEND, CRR_PORT, STREAM_PORT, UDP_PORT};
use crate::subject::{Kind, Means};

/// The agent's node, and where endpoints are that aren't on it.
const NODE: &str = "here";
const OTHER_NODE: &str = "elsewhere";

/// A Gateway with a listener per server, and a route, a Service and a slice for each.
pub(crate) fn objects(on_this_node: bool) -> String {
    let node = if on_this_node { NODE } else { OTHER_NODE };
    let mut listeners = String::new();
    let mut rest = String::new();
    for (protocol, port) in [("TCP", CRR_PORT), ("TCP", STREAM_PORT), ("UDP", UDP_PORT)] {
        let _ = write!(listeners, "\n  - {{name: l{port}, protocol: {protocol}, port: {port}}}");
        let _ = write!(
            rest,
            "---
apiVersion: gateway.networking.k8s.io/{ROUTES}
kind: {protocol}Route
metadata: {{name: r{port}, namespace: default}}
spec:
  parentRefs: [{{name: bench, sectionName: l{port}}}]
  rules:
  - backendRefs: [{{name: s{port}, port: {port}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: s{port}, namespace: default}}
spec:
  ports: [{{name: main, protocol: {protocol}, port: {port}, targetPort: {port}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: s{port}-1
  namespace: default
  labels: {{kubernetes.io/service-name: s{port}}}
addressType: IPv4
ports: [{{name: main, protocol: {protocol}, port: {port}}}]
endpoints:
- addresses: [{BACKEND}]
  nodeName: {node}
  conditions: {{ready: true, serving: true, terminating: false}}
"
        );
    }
    format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: default}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: bench}}
spec: {{controllerName: {CONTROLLER}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: bench, namespace: default}}
spec:
  gatewayClassName: bench
  listeners:{listeners}
{rest}"
    )
}

/// Version of TCPRoute and UDPRoute.
const ROUTES: &str = "v1alpha2";
/// The GatewayClass that the agent takes.
const CONTROLLER: &str = "gateway-agent.io/controller";

/// The agent's command line on the gateway's two devices.
pub(crate) fn agent(kind: Kind, means: &Means, objects: &Path) -> Command {
    let mut command = Command::new(means.agent);
    command.args(["run", "--node-name", NODE, "--node-address", &lane::GATEWAY.to_string()]);
    command.args(["--device", lane::CLIENT_SIDE, "--device", lane::BACKEND_SIDE]);
    command.arg("-f").arg(objects.parent().unwrap_or(objects));
    command.arg("--pin").arg(means.bpffs.join(kind.name()));
    command.arg("--socket").arg(means.folder.join(format!("{}.socket", kind.name())));
    command
}
