//! What nodes' kernels and the client's neighbours say, with the API server away too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::traffic::Volley;
use lab::wait_until;
use serde_json::Value;

use crate::Stage;
use crate::stage::By;

/// Where the chart's agents pin.
const PINS: &str = "/sys/fs/bpf/gateway-agent";

/// Agents have to start, to find each other, and to agree.
const AGREE: Duration = Duration::from_mins(3);

/// A node that comes back starts all its pods anew, which took its kubelet a minute on a busy machine.
const RETURN: Duration = Duration::from_mins(3);

/// Asks the agent of a node without its kubelet, which would ask the API server whether we may.
const STATUS: &str = "nsenter --target $(pgrep --oldest --full '^/usr/bin/gateway-agent run') --mount \
                      /usr/bin/gateway-agent status --output=json";

/// Agents that disagree do so several times a second.
const CALM: Duration = Duration::from_secs(3);

impl Stage {
    /// The node whose device the pool's address leads to, for who asks anew.
    pub(crate) fn announcer(&self) -> Result<String> {
        let address = self.pool().to_string();
        self.client().ip(&format!("neighbor flush to {address}\n"))?;
        let volley = Volley { count: 1, parallel: 1, patience: Duration::from_secs(1) };
        self.ask(By::Udp, self.pool(), volley);
        let shown = self.client().command(&["ip", "-json", "neighbor", "show", &address])?;
        let shown: Value = serde_json::from_str(&shown)?;
        let mac = shown[0]["lladdr"].as_str().with_context(|| format!("nobody has {address}: {shown}"))?;
        for node in self.living() {
            let own = self.cluster.node(node).context("a node's namespace")?.mac("eth0")?;
            if own.to_string() == mac {
                return Ok(node.clone());
            }
        }
        anyhow::bail!("{address} is at {mac}, which is no node's")
    }

    pub(crate) fn until_announced_by(&self, node: &str) -> Result<()> {
        let announced = || self.announcer().is_ok_and(|announcer| announcer == node);
        Ok(wait_until(&format!("{node} to announce the address"), AGREE, announced)?)
    }

    /// Who announces the address from now on, one after the other, until it was this node for a while.
    pub(crate) fn announcers_until(&self, node: &str) -> Result<Vec<String>> {
        let mut seen: Vec<String> = Vec::new();
        let mut since = Instant::now();
        let settled = || {
            // Nobody, for a moment, is no announcer.
            if let Ok(announcer) = self.announcer()
                && seen.last() != Some(&announcer)
            {
                seen.push(announcer);
                since = Instant::now();
            }
            seen.last().is_some_and(|last| last == node) && since.elapsed() > CALM
        };
        wait_until(&format!("{node} to announce the address, and nobody else after it"), RETURN, settled)?;
        Ok(seen)
    }

    /// Waits until every node reports, all Gateways are programmed on all of them, and newcomers are served by all.
    pub(crate) fn until_settled(&self) -> Result<()> {
        self.in_namespace(&["rollout", "status", "deployment/server", "--timeout=300s"])?;
        self.until_well()?;
        let of_all = format!("{} of {}", self.living().len(), self.living().len());
        let path = "--output=jsonpath={.items[*].status.conditions[?(@.type==\"Programmed\")].message}";
        let mut said = String::new();
        let settled = || {
            said = self.in_namespace(&["get", "gateways", path]).unwrap_or_default();
            self.versions().is_ok_and(|versions| versions.keys().eq(self.living())) && said.contains(&of_all)
        };
        wait_until("statuses of all nodes", AGREE, settled).with_context(|| format!("Gateways say: {said}"))
    }

    /// What a node's agent says is wrong.
    pub(crate) fn problems(&self, node: &str) -> Result<Vec<String>> {
        let shown = self.cluster.run_on_node(node, &["sh", "-c", STATUS])?;
        let shown: Value = serde_json::from_str(&shown)?;
        let problems = shown["problems"].as_array().into_iter().flatten();
        Ok(problems.map(|problem| text(&problem["message"])).collect())
    }

    /// Ids of the programs that a node's packets meet, by those of the links that hold them.
    pub(crate) fn programs(&self, node: &str) -> Result<BTreeMap<u64, u64>> {
        let script =
            format!("for link in {PINS}/links/*; do bpftool --json link show pinned $link; echo; done");
        let shown = self.cluster.run_on_node(node, &["sh", "-c", &script])?;
        let link = |line: &str| {
            let shown: Value = serde_json::from_str(line)?;
            let number = |key: &str| shown[key].as_u64().with_context(|| format!("{key} of {shown}"));
            Ok((number("id")?, number("prog_id")?))
        };
        shown.lines().filter(|line| !line.trim().is_empty()).map(link).collect()
    }

    /// What each node's agent says that it is.
    pub(crate) fn versions(&self) -> Result<BTreeMap<String, String>> {
        self.reported(|status| text(&status["version"]))
    }

    /// What each node's agent takes its network for, and how packets get to endpoints there.
    pub(crate) fn networks(&self) -> Result<BTreeMap<String, String>> {
        self.reported(|status| {
            let [cni, local, remote] = ["/cni", "/delivery/local", "/delivery/remote"]
                .map(|field| status.pointer(field).map(text).unwrap_or_default());
            format!("{cni}; {local}, {remote}")
        })
    }

    fn reported(&self, said: impl Fn(&Value) -> String) -> Result<BTreeMap<String, String>> {
        let shown = self.kubectl().run(&["get", "gatewaynodes", "--output=json"])?;
        let shown: Value = serde_json::from_str(&shown)?;
        let nodes = shown["items"].as_array().into_iter().flatten();
        Ok(nodes.map(|node| (text(&node["metadata"]["name"]), said(&node["status"]))).collect())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
