//! What the controller makes for an XBackend: a headless Service that selects its pods, so that Kubernetes lists them.

use gateway_agent_api::{Kind, ObjectRef, XBackend};
use serde_json::{Value, json};

use super::{MANAGED_BY, label_value};
use crate::xbackend::{self, Selection};

/// On what is made for XBackends.
const BACKEND_NAME: &str = "gateway-agent.io/backend-name";

/// The Service behind an XBackend, which goes when that does. None: it has no uid, so it is in no cluster.
pub(crate) fn behind(backend: &XBackend, selection: &Selection<'_>) -> Option<(ObjectRef, Value)> {
    let uid = backend.metadata.uid.as_deref()?;
    let of = backend.metadata.name.as_deref().unwrap_or_default();
    let name = xbackend::service_name(&backend.metadata);
    let port = selection.port;
    let service = json!({
        "apiVersion": Kind::Service.api_version(),
        "kind": Kind::Service.name(),
        "metadata": {
            "namespace": name.namespace,
            "name": name.name,
            "labels": { BACKEND_NAME: label_value(of), MANAGED_BY.0: MANAGED_BY.1 },
            "annotations": {},
            "ownerReferences": [{
                "apiVersion": Kind::XBackend.api_version(),
                "kind": Kind::XBackend.name(),
                "name": of,
                "uid": uid,
                "controller": true,
            }],
        },
        "spec": {
            "clusterIP": "None",
            "ipFamilyPolicy": "PreferDualStack",
            "selector": selection.labels,
            "ports": [{ "port": port, "targetPort": port, "protocol": "TCP" }],
        },
    });
    Some((ObjectRef::new(Kind::Service, &name.namespace, &name.name), service))
}
