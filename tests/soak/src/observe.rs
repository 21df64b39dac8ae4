//! What nodes' kernels and the client's neighbours say, with the API server away too.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::traffic::Volley;
use lab::wait_until;
use serde_json::Value;

use crate::Stage;
use crate::stage::By;

/// Where the chart's agents pin.
const PINS: &str = "/sys/fs/bpf/gateway-agent";

/// Agents have to start, to find each other, and to agree.
const AGREE: Duration = Duration::from_mins(1);

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
        let shown = self.kubectl().run(&["get", "gatewaynodes", "--output=json"])?;
        let shown: Value = serde_json::from_str(&shown)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let nodes = shown["items"].as_array().into_iter().flatten();
        Ok(nodes.map(|node| (text(&node["metadata"]["name"]), text(&node["status"]["version"]))).collect())
    }
}
