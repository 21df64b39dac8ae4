//! How containerd joins pods to their node: a CNI configuration (CNI specification 1.0, section 1).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::ClusterError;
use crate::network::VXLAN_MTU;
use crate::spec::{Cni, NodeSpec};

/// Where distributions put the plugins: Debian, Fedora, Kubernetes' own convention.
const PLUGINS: [&str; 3] = ["/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"];

/// Whether containerd's pods can be joined to anything on this machine.
pub fn has_cni_plugins() -> bool {
    plugins().is_ok()
}

/// The folder of the plugins.
pub(crate) fn plugins() -> Result<PathBuf, ClusterError> {
    let found = PLUGINS.iter().map(Path::new).find(|folder| folder.join("ptp").exists());
    found.map(Path::to_owned).ok_or_else(|| {
        ClusterError::Invalid(format!(
            "no CNI plugins in {}: install containernetworking-plugins",
            PLUGINS.join(", ")
        ))
    })
}

/// The configuration for a node's pods.
pub(crate) fn configuration(cni: Cni, node: &NodeSpec) -> Value {
    let ranges: Vec<Value> = node.pods().iter().map(|subnet| json!([{ "subnet": subnet }])).collect();
    let routes: Vec<Value> = node.address.all().map(default_route).collect();
    // host-local notes addresses below /run: after a node's end all are free again.
    let ipam = json!({ "type": "host-local", "dataDir": "/run/cni", "ranges": ranges, "routes": routes });
    let joined = match cni {
        Cni::Ptp => json!({ "type": "ptp", "ipMasq": false, "mtu": 1500, "ipam": ipam }),
        Cni::Vxlan => json!({ "type": "ptp", "ipMasq": false, "mtu": VXLAN_MTU, "ipam": ipam }),
        // In hairpin mode, so that a pod reaches itself by its Service.
        Cni::Bridge => json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false, "ipam": ipam
        }),
    };
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [joined, { "type": "portmap", "capabilities": { "portMappings": true } }],
    })
}

fn default_route(address: std::net::IpAddr) -> Value {
    json!({ "dst": if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    #[test]
    fn pods_get_an_address_of_each_family() {
        let spec = Spec { dual_stack: true, ..Spec::new("main".parse().expect("a name")) };
        let node = spec.nodes().next().expect("a node");
        for (cni, plugin, mtu) in [
            (Cni::Ptp, "ptp", json!(1500)),
            (Cni::Vxlan, "ptp", json!(1450)),
            (Cni::Bridge, "bridge", Value::Null),
        ] {
            let pods = &configuration(cni, &node)["plugins"][0];
            assert_eq!((&pods["type"], &pods["mtu"]), (&json!(plugin), &mtu));
            assert_eq!(pods["ipam"]["ranges"][1][0]["subnet"], "fd44:0:0:1::/64");
            assert_eq!(pods["ipam"]["routes"][1]["dst"], "::/0");
        }
    }
}
