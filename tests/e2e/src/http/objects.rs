//! What the agent reads: a Gateway with an HTTP listener, an HTTPRoute and a GRPCRoute with the same weighted Services, and
//! the Services' endpoints.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::{fs, io};

use lab::topology::Standard;

use super::clients::HOST;
use crate::Phase;
use crate::objects::{CLASS, GATEWAY};

/// The Gateway's listener.
pub const PORT: u16 = 8088;

/// Where pods serve HTTP.
pub(super) const POD_PORT: u16 = 7080;

/// All objects. The file is written as a whole and renamed into place, so that each change is one event.
#[derive(Clone, Debug)]
pub struct HttpObjects {
    /// Services of the routes, with their weights.
    pub weights: Vec<(String, u32)>,
    /// Counts what else changes in the routes: a header that is set, and how many rules there are.
    pub version: usize,
    /// Requests that got no answer are sent again.
    pub retries: bool,
    endpoints: BTreeMap<String, Vec<(String, Phase)>>,
    pods: BTreeMap<String, Ipv4Addr>,
}

impl HttpObjects {
    /// Each Service with its weight and the pods that serve it.
    pub fn new(lab: &Standard, services: &[(&str, u32, &[&str])]) -> Self {
        let weights = services.iter().map(|(name, weight, _)| ((*name).to_owned(), *weight));
        let listed = |pods: &[&str]| pods.iter().map(|pod| ((*pod).to_owned(), Phase::Ready)).collect();
        Self {
            weights: weights.collect(),
            version: 0,
            retries: false,
            endpoints: services.iter().map(|(name, _, pods)| ((*name).to_owned(), listed(pods))).collect(),
            pods: lab.pods().map(|pod| (pod.name().to_owned(), pod.host.v4)).collect(),
        }
    }

    /// Lists a pod in its Service, or changes how it is listed; None: not any more.
    pub fn place(&mut self, service: &str, pod: &str, phase: Option<Phase>) {
        let endpoints = self.endpoints.get_mut(service).expect("a Service of this story");
        endpoints.retain(|(name, _)| name != pod);
        endpoints.extend(phase.map(|phase| (pod.to_owned(), phase)));
    }

    /// Writes all objects to `objects.yaml` in `folder`, by rename.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        // The agent reads *.yaml: it never sees the new file under its first name.
        let new = folder.join("objects.new");
        fs::write(&new, self.render())?;
        fs::rename(new, folder.join("objects.yaml"))
    }

    fn render(&self) -> String {
        let mut text =
            format!("{CLASS}{GATEWAY}  listeners:\n  - {{name: web, protocol: HTTP, port: {PORT}}}\n");
        // Writing to a String can't fail; nor below.
        let _ = write!(text, "{}", self.http_route());
        let _ = write!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: calls, namespace: shop}}\n\
             spec:\n  parentRefs: [{{name: edge}}]\n  hostnames: [{HOST}]\n  rules:\n  - backendRefs: [{}]\n",
            self.backends()
        );
        for (service, endpoints) in &self.endpoints {
            self.service(&mut text, service, endpoints);
        }
        text
    }

    /// Rules that no client asks for come and go with the version.
    fn http_route(&self) -> String {
        let mut text = format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\n\
             spec:\n  parentRefs: [{{name: edge}}]\n  hostnames: [{HOST}]\n  rules:\n"
        );
        for number in 0..self.version % 8 {
            let _ = writeln!(
                text,
                "  - {{matches: [{{path: {{value: /other/{number}}}}}], backendRefs: [{}]}}",
                self.backends()
            );
        }
        let _ = write!(
            text,
            "  - matches: [{{path: {{value: /session}}}}]\n    sessionPersistence: {{cookie: {{name: shop}}}}\n    \
             backendRefs: [{0}]\n  - filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: \
             version, value: '{1}'}}]}}}}]\n    backendRefs: [{0}]\n",
            self.backends(),
            self.version
        );
        if self.retries {
            text.push_str("    retry: {attempts: 3, backoff: 10ms}\n");
        }
        text
    }

    fn backends(&self) -> String {
        let one = |(name, weight): &(String, u32)| format!("{{name: {name}, port: 80, weight: {weight}}}");
        self.weights.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn service(&self, text: &mut String, service: &str, endpoints: &[(String, Phase)]) {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {service}, namespace: shop}}\n\
             spec: {{ports: [{{port: 80, targetPort: {POD_PORT}}}]}}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {service}-1, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}\n\
             addressType: IPv4\nports: [{{name: '', port: {POD_PORT}, protocol: TCP}}]\nendpoints:"
        );
        text.push_str(if endpoints.is_empty() { " []\n" } else { "\n" });
        for (pod, phase) in endpoints {
            let is_ready = *phase == Phase::Ready;
            let _ = writeln!(
                text,
                "- {{addresses: [{}], conditions: {{ready: {is_ready}, serving: true, terminating: {}}}}}",
                self.pods[pod], !is_ready
            );
        }
    }
}
