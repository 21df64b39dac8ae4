//! What `gateway-agent status` shows.

use std::collections::BTreeMap;

use gateway_agent_api::own::http::Http;
use gateway_agent_kernel::DeviceKind;
use gateway_agent_routing::http_in_full;
use gateway_agent_tables::http::HttpTables;
use serde_json::{Value, json};

use super::Agent;
use super::hooks::Hook;
use crate::clock::rfc3339;
use crate::version::version;

impl Agent {
    pub(super) fn as_report(&self) -> Value {
        let snapshot = self.compiler.snapshot();
        let mut objects: BTreeMap<&str, usize> = BTreeMap::new();
        for (object, _) in snapshot.objects() {
            *objects.entry(object.kind.name()).or_default() += 1;
        }
        let statuses: Vec<_> = self
            .statuses
            .all()
            .map(|(object, status)| {
                json!({
                    "kind": object.kind.name(),
                    "namespace": object.namespace,
                    "name": object.name,
                    "status": status,
                })
            })
            .collect();
        json!({
            "version": version(),
            "node": {
                "name": snapshot.node.name,
                "addresses": snapshot.node.addresses,
                "gatewayAddresses": snapshot.node.gateway_addresses,
                "cni": self.found.network.to_string(),
                "delivery": self.delivery(),
            },
            "pin": self.office.pin(),
            "place": self.office.place().name(),
            "drainingSeconds": self.draining(),
            "ready": self.is_ready(),
            "generation": self.applied.generation,
            "appliedAt": rfc3339(self.applied.at),
            "frontends": self.compiler.outcome().tables.l4.frontends.len(),
            "steered": self.applied.steered.len(),
            "proxy": self.steering.state(),
            "pool": self.pool.as_report(),
            "http": http(&self.compiler.outcome().tables.http),
            "devices": self.hooks.all().map(hook).collect::<Vec<_>>(),
            "objects": objects,
            "statuses": statuses,
            "problems": self.notices.all().collect::<Vec<_>>(),
        })
    }
}

/// The settings of each Gateway that is served here by HTTP, with all defaults.
fn http(tables: &HttpTables) -> BTreeMap<String, Http> {
    let listeners = tables.listeners.iter();
    listeners.map(|(name, listener)| (name.gateway.to_string(), http_in_full(&listener.settings))).collect()
}

fn hook(hook: &Hook) -> Value {
    let device = &hook.device;
    json!({
        "name": device.name,
        "ifindex": device.ifindex,
        "l3Ifindex": device.l3_ifindex,
        "mac": device.mac.map(|byte| format!("{byte:02x}")).join(":"),
        "kind": match device.kind {
            DeviceKind::Ordinary => "ordinary",
            DeviceKind::Uplink => "uplink",
            DeviceKind::Pod => "pod",
        },
        "sourceV4": device.source_v4,
        "sourceV6": device.source_v6,
        "hook": hook.error.as_ref().map_or("attached", |error| error.as_str()),
    })
}
