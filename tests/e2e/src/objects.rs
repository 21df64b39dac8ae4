//! What the agents read: a Gateway with a TCP and a UDP listener, a route for each with weighted Services, and the
//! Services' endpoints.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::{fs, io};

use lab::topology::Standard;

/// Listeners of the Gateway.
pub const TCP_PORT: u16 = 8080;
pub const UDP_PORT: u16 = 8125;

/// Where the pods serve both protocols.
pub(crate) const POD_PORT: u16 = 7000;

/// Addresses of the pool, on the link of clients and nodes.
pub const POOL: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100))];

/// What an `EndpointSlice` says of an endpoint that it lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Ready,
    /// Terminating and still serving.
    Draining,
}

/// All objects. The file is written as a whole and renamed into place, so that each change is one event.
#[derive(Clone, Debug)]
pub struct Objects {
    /// Services of both routes' only rule, with their weights.
    pub weights: Vec<(String, u32)>,
    endpoints: BTreeMap<String, Vec<Endpoint>>,
    known: Vec<Pod>,
    /// The Gateway has addresses of a pool, [`POOL`], instead of the nodes'.
    pub pool: bool,
}

#[derive(Clone, Debug)]
struct Pod {
    name: String,
    node: String,
    addresses: [IpAddr; 2],
}

#[derive(Clone, Debug)]
struct Endpoint {
    pod: Pod,
    phase: Phase,
}

impl Objects {
    /// Each Service with its weight and the pods that serve it.
    pub fn new(lab: &Standard, services: &[(&str, u32, &[&str])]) -> Self {
        let known = lab.nodes.iter().flat_map(|node| node.pods.iter().map(|pod| (node.name(), pod)));
        let known = known.map(|(node, pod)| Pod {
            name: pod.name().to_owned(),
            node: node.to_owned(),
            addresses: pod.host.addresses(),
        });
        let mut objects =
            Self { weights: Vec::new(), endpoints: BTreeMap::new(), known: known.collect(), pool: false };
        for (service, weight, pods) in services {
            objects.weights.push(((*service).to_owned(), *weight));
            objects.endpoints.insert((*service).to_owned(), Vec::new());
            pods.iter().for_each(|pod| objects.place(service, pod, Phase::Ready));
        }
        objects
    }

    pub fn set_weight(&mut self, service: &str, weight: u32) {
        let place = self.weights.iter_mut().find(|(name, _)| name == service);
        place.expect("a Service of this story").1 = weight;
    }

    /// Lists a pod, or changes how it is listed.
    pub fn place(&mut self, service: &str, pod: &str, phase: Phase) {
        let known = self.known.iter().find(|known| known.name == pod).expect("a pod of the lab").clone();
        let endpoints = self.endpoints.get_mut(service).expect("a Service of this story");
        match endpoints.iter_mut().find(|endpoint| endpoint.pod.name == pod) {
            Some(endpoint) => endpoint.phase = phase,
            None => endpoints.push(Endpoint { pod: known, phase }),
        }
    }

    /// The pod is no longer listed.
    pub fn remove(&mut self, service: &str, pod: &str) {
        let endpoints = self.endpoints.get_mut(service).expect("a Service of this story");
        endpoints.retain(|endpoint| endpoint.pod.name != pod);
    }

    /// Writes all objects to `objects.yaml` in `folder`, by rename.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        // The agent reads *.yaml: it never sees the new file under its first name.
        let new = folder.join("objects.new");
        fs::write(&new, self.render())?;
        fs::rename(new, folder.join("objects.yaml"))
    }

    fn render(&self) -> String {
        let mut text = [CLASS, if self.pool { POOL_GATEWAY } else { GATEWAY }, LISTENERS].concat();
        for (kind, listener, port) in [("TCPRoute", "tcp", TCP_PORT), ("UDPRoute", "udp", UDP_PORT)] {
            let _ = write!(
                text,
                "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n\
                 metadata: {{name: {listener}, namespace: shop}}\nspec:\n  \
                 parentRefs: [{{name: edge, sectionName: {listener}}}]\n  rules:\n  - backendRefs:\n"
            );
            for (service, weight) in &self.weights {
                let _ = writeln!(text, "    - {{name: {service}, port: {port}, weight: {weight}}}");
            }
        }
        for (service, endpoints) in &self.endpoints {
            let _ = write!(
                text,
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {service}, namespace: shop}}\nspec:\n  ports:\n  \
                 - {{name: tcp, protocol: TCP, port: {TCP_PORT}, targetPort: {POD_PORT}}}\n  \
                 - {{name: udp, protocol: UDP, port: {UDP_PORT}, targetPort: {POD_PORT}}}\n"
            );
            for family in [Family::V4, Family::V6] {
                slice(&mut text, service, endpoints, family);
            }
        }
        text
    }
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

fn slice(text: &mut String, service: &str, endpoints: &[Endpoint], family: Family) {
    let (kind, index) = match family {
        Family::V4 => ("IPv4", 0),
        Family::V6 => ("IPv6", 1),
    };
    let _ = write!(
        text,
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata:\n  name: {service}-{}\n  namespace: shop\n  labels: {{kubernetes.io/service-name: {service}}}\n\
         addressType: {kind}\nports:\n\
         - {{name: tcp, protocol: TCP, port: {POD_PORT}}}\n- {{name: udp, protocol: UDP, port: {POD_PORT}}}\n",
        kind.to_lowercase()
    );
    text.push_str(if endpoints.is_empty() { "endpoints: []\n" } else { "endpoints:\n" });
    for Endpoint { pod, phase } in endpoints {
        let is_ready = *phase == Phase::Ready;
        let _ = write!(
            text,
            "- addresses: [\"{}\"]\n  nodeName: {}\n  \
             conditions: {{ready: {is_ready}, serving: true, terminating: {}}}\n",
            pod.addresses[index], pod.node, !is_ready
        );
    }
}

pub(crate) const CLASS: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: gateway-agent}
spec: {controllerName: gateway-agent.io/controller}
---
";

/// Its listeners follow.
pub(crate) const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: gateway-agent
";

/// With [`POOL`].
const POOL_GATEWAY: &str = "\
apiVersion: gateway-agent.io/v1alpha1
kind: GatewayConfig
metadata: {name: pool, namespace: shop}
spec:
  addresses: {mode: Pool, pools: [{name: lab, ranges: [10.0.0.100, 'fd00::100']}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: gateway-agent
  infrastructure: {parametersRef: {group: gateway-agent.io, kind: GatewayConfig, name: pool}}
  addresses: [{value: 10.0.0.100}, {value: 'fd00::100'}]
";

const LISTENERS: &str = "  listeners:
  - {name: tcp, protocol: TCP, port: 8080}
  - {name: udp, protocol: UDP, port: 8125}
";
