//! The least that passes for an implementation: statuses that say yes to everything, and a forwarder per Gateway.

use std::collections::HashMap;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cluster::{Cluster, Kubectl, Programs};
use lab::Namespace;
use serde_json::{Deserializer, Value, json};

use crate::Outcome;
use crate::forwarder::{Target, serve};

pub(crate) const CLASS: &str = "toy";
const CONTROLLER: &str = "toy.example/controller";

/// Gateways are served on this node.
const NODE: &str = "node1";

/// Who answers.
#[derive(Clone, Copy)]
pub(crate) enum Backends {
    OfTheRoute,
    /// A neighbour of the right one: everything looks well but the answer.
    Wrong,
}

/// Ends with its value.
pub(crate) struct Toy {
    state: Arc<State>,
    watches: Vec<Child>,
}

struct State {
    kubectl: Kubectl,
    node: Namespace,
    backends: Mutex<Backends>,
    pool: Mutex<Vec<String>>,
    /// By the Gateway's namespace and name.
    gateways: Mutex<HashMap<(String, String), Gateway>>,
}

#[derive(Clone)]
struct Gateway {
    address: String,
    /// Port 80's.
    target: Target,
}

impl Toy {
    /// Serves Gateways of its class, each on an address of `pool`.
    pub(crate) fn start(cluster: &Cluster, programs: &Programs, pool: Vec<String>) -> Outcome<Self> {
        let state = Arc::new(State {
            kubectl: cluster.kubectl(),
            node: cluster.node(NODE).ok_or("no node")?.clone(),
            backends: Mutex::new(Backends::OfTheRoute),
            pool: Mutex::new(pool),
            gateways: Mutex::default(),
        });
        state.accept_class()?;
        let mut toy = Self { state, watches: Vec::new() };
        toy.follow(cluster, programs, "gateways", State::gateway)?;
        toy.follow(cluster, programs, "httproutes", State::route)?;
        Ok(toy)
    }

    pub(crate) fn use_backends(&self, backends: Backends) {
        *self.state.backends.lock().unwrap_or_else(PoisonError::into_inner) = backends;
    }

    /// Calls `work` for each object of a kind, and again when it changes.
    fn follow(
        &mut self,
        cluster: &Cluster,
        programs: &Programs,
        kind: &str,
        work: fn(&State, &Value) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut command = Command::new(programs.kube("kubectl"));
        command.env("KUBECONFIG", cluster.kubectl().kubeconfig());
        command.args(["get", kind, "--all-namespaces", "--watch", "--output=json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = cluster.client().run(|| command.spawn())?;
        let stdout = child.stdout.take().ok_or("a piped output")?;
        self.watches.push(child);
        let state = Arc::clone(&self.state);
        thread::spawn(move || {
            for object in Deserializer::from_reader(BufReader::new(stdout)).into_iter::<Value>() {
                // An object that is gone already, most likely; what matters is missed by the suite.
                if let Err(error) = object.map_err(Into::into).and_then(|object| work(&state, &object)) {
                    eprintln!("toy: {error}");
                }
            }
        });
        Ok(())
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        for watch in &mut self.watches {
            let _ = watch.kill();
            let _ = watch.wait();
        }
    }
}

impl State {
    fn accept_class(&self) -> Outcome<()> {
        let class = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": { "name": CLASS },
            "spec": { "controllerName": CONTROLLER },
        });
        self.kubectl.apply(&class.to_string())?;
        let status = json!({ "conditions": [condition("Accepted", 1)] });
        self.patch(&["gatewayclass", CLASS], &status)
    }

    fn gateway(&self, object: &Value) -> Outcome<()> {
        let generation = generation(object);
        if object["spec"]["gatewayClassName"] != CLASS
            || has_seen(&object["status"]["conditions"], generation)
        {
            return Ok(());
        }
        let (namespace, name) = named(object);
        let conditions =
            |kinds: &[&str]| -> Vec<Value> { kinds.iter().map(|kind| condition(kind, generation)).collect() };
        let listeners = object["spec"]["listeners"].as_array().into_iter().flatten();
        let listeners = listeners.map(|listener| {
            json!({
                "name": listener["name"],
                "attachedRoutes": 0,
                "supportedKinds": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute" }],
                "conditions": conditions(&["Accepted", "Programmed", "ResolvedRefs"]),
            })
        });
        let status = json!({
            "addresses": [{ "type": "IPAddress", "value": self.served(namespace, name)?.address }],
            "conditions": conditions(&["Accepted", "Programmed"]),
            "listeners": listeners.collect::<Vec<_>>(),
        });
        self.patch(&["gateway", name, "--namespace", namespace], &status)
    }

    fn route(&self, object: &Value) -> Outcome<()> {
        let generation = generation(object);
        if has_seen(&object["status"]["parents"][0]["conditions"], generation) {
            return Ok(());
        }
        let (namespace, name) = named(object);
        let backend = &object["spec"]["rules"][0]["backendRefs"][0];
        let service = match *self.backends.lock().unwrap_or_else(PoisonError::into_inner) {
            Backends::OfTheRoute => text(&backend["name"]),
            Backends::Wrong => "infra-backend-v2",
        };
        let target = self.address_of(namespace, service, &backend["port"])?;
        let parents = object["spec"]["parentRefs"].as_array().into_iter().flatten();
        let parents = parents.map(|parent| {
            self.served(namespace, text(&parent["name"]))?.target.set(target);
            Ok(json!({
                "parentRef": parent,
                "controllerName": CONTROLLER,
                "conditions": [condition("Accepted", generation), condition("ResolvedRefs", generation)],
            }))
        });
        let status = json!({ "parents": parents.collect::<Outcome<Vec<_>>>()? });
        self.patch(&["httproute", name, "--namespace", namespace], &status)
    }

    /// The Gateway with its forwarder, which runs afterwards.
    fn served(&self, namespace: &str, name: &str) -> Outcome<Gateway> {
        let mut gateways = self.gateways.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(gateway) = gateways.get(&key) {
            return Ok(gateway.clone());
        }
        let address =
            self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or("the pool is empty")?;
        self.node.ip(&format!("addr add {address}/32 dev eth0\n"))?;
        let parsed: Ipv4Addr = address.parse()?;
        let target = self.node.run(|| serve(parsed, 80))?;
        Ok(gateways.entry(key).or_insert(Gateway { address, target }).clone())
    }

    /// Of a Service.
    fn address_of(&self, namespace: &str, service: &str, port: &Value) -> Outcome<SocketAddrV4> {
        let path = "--output=jsonpath={.spec.clusterIP}";
        let address = self.kubectl.run(&["get", "service", service, "--namespace", namespace, path])?;
        let port =
            port.as_u64().and_then(|port| u16::try_from(port).ok()).ok_or("a backendRef without a port")?;
        Ok(SocketAddrV4::new(address.parse()?, port))
    }

    fn patch(&self, object: &[&str], status: &Value) -> Outcome<()> {
        let patch = format!("--patch={}", json!({ "status": status }));
        let words = [&["patch", "--subresource=status", "--type=merge", &patch], object].concat();
        self.kubectl.run(&words)?;
        Ok(())
    }
}

fn named(object: &Value) -> (&str, &str) {
    (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn generation(object: &Value) -> u64 {
    object["metadata"]["generation"].as_u64().unwrap_or_default()
}

/// Whether an answer for this generation is written.
fn has_seen(conditions: &Value, generation: u64) -> bool {
    let mut conditions = conditions.as_array().into_iter().flatten();
    conditions.any(|condition| condition["observedGeneration"] == generation)
}

fn condition(kind: &str, generation: u64) -> Value {
    json!({
        "type": kind,
        "status": "True",
        "reason": kind,
        "message": "",
        "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}
