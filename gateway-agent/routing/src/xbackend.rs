//! XBackends (GEP-4894): what of them can be served, where a backendRef to one leads, and the Service behind it.
//!
//! An XBackend selects pods as a Service does. Endpoints come from a headless Service that the controller makes for it, so
//! they are found, and drain, as those of any Service.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use gateway_agent_api::xbackend::{XBackendProtocol, XBackendTlsMode, XBackendType};
use gateway_agent_api::{ObjectMeta, XBackend};
use gateway_agent_tables::{ObjectName, Protocol};

use crate::Snapshot;
use crate::backend::{Resolved, Spoken, Unresolved};
use crate::backend_tls::Encryption;
use crate::infrastructure;
use crate::route::BackendRef;

/// Pods of the XBackend's namespace, at one port.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selection<'a> {
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) port: NonZeroU16,
    spoken: BackendSpeech,
}

/// What endpoints of an XBackend speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackendSpeech {
    /// As the route's kind implies.
    Any,
    Tcp,
    Http1,
    Http2,
}

/// Or why it can't be served, with the fix.
pub(crate) fn parse(backend: &XBackend) -> Result<Selection<'_>, String> {
    let spec = &backend.spec;
    match &spec.r#type {
        XBackendType::EndpointSelector => {}
        XBackendType::ExternalHostname => {
            let hostname = spec.external_hostname.as_ref().map(|it| it.hostname.as_str()).unwrap_or_default();
            return Err(format!(
                "type is ExternalHostname ({hostname}), which is not served, since no host names are resolved; refer to a \
                 Service without selector, whose EndpointSlices have the addresses"
            ));
        }
        XBackendType::Unknown(other) => {
            return Err(format!("type {other:?} is not supported; use EndpointSelector"));
        }
    }
    if let Some(tls) = &spec.tls
        && tls.mode != XBackendTlsMode::None
    {
        return Err(
            "tls.mode is not None, which is not served for XBackends; use a Service with a BackendTLSPolicy"
                .into(),
        );
    }
    if spec.session_persistence.is_some() {
        return Err(
            "sessionPersistence is not served for XBackends; use sessionPersistence of the route's rule"
                .into(),
        );
    }
    let spoken = match &spec.protocol {
        None => BackendSpeech::Any,
        Some(XBackendProtocol::Tcp) => BackendSpeech::Tcp,
        Some(XBackendProtocol::Http | XBackendProtocol::Http11) => BackendSpeech::Http1,
        Some(XBackendProtocol::H2c | XBackendProtocol::Grpc) => BackendSpeech::Http2,
        Some(XBackendProtocol::Http2) => return Err(protocol("HTTP2", "needs TLS", "H2C")),
        Some(XBackendProtocol::Wss) => return Err(protocol("WSS", "needs TLS", "HTTP")),
        Some(XBackendProtocol::Mcp) => return Err(protocol("MCP", "is not served", "HTTP")),
        Some(XBackendProtocol::Unknown(other)) => {
            return Err(protocol(other, "is not supported", "HTTP, HTTP11, H2C, GRPC or TCP"));
        }
    };
    let port = spec.port.number.and_then(|port| u16::try_from(port).ok()).and_then(NonZeroU16::new);
    let port = port.ok_or("port.number is no port; use a number from 1 to 65535")?;
    let labels = spec.endpoint_selector.as_ref().map(|selector| &selector.match_labels);
    let labels = labels.filter(|labels| !labels.is_empty());
    let labels = labels.ok_or("endpointSelector.matchLabels selects nothing; add labels of the pods")?;
    Ok(Selection { labels, port, spoken })
}

fn protocol(name: &str, why: &str, instead: &str) -> String {
    format!("protocol {name} {why}; use {instead}")
}

/// Where a backendRef to an XBackend leads. It must be in the namespace of whoever refers to it: no ReferenceGrant can
/// permit another one (GEP-4894), so nothing is looked at there.
pub(crate) fn resolve(
    backend: &BackendRef<'_>,
    from_namespace: &str,
    snapshot: &Snapshot,
    wanted: Protocol,
) -> Result<Resolved, Unresolved> {
    let BackendRef { namespace, name, port, .. } = *backend;
    let unresolved = |reason, message| Err(Unresolved { reason, message });
    if namespace != from_namespace {
        return unresolved(
            "RefNotPermitted",
            format!(
                "XBackend {namespace}/{name} is of another namespace, which no ReferenceGrant can permit; refer to one of \
                 namespace {from_namespace}"
            ),
        );
    }
    let Some(found) = snapshot.named::<XBackend>(namespace, name) else {
        let message =
            format!("XBackend {namespace}/{name} does not exist; create it, or correct the backendRef");
        return unresolved("BackendNotFound", message);
    };
    let selection = match parse(found) {
        Ok(selection) => selection,
        Err(cause) => {
            return unresolved("BackendNotFound", format!("XBackend {namespace}/{name}: {cause}"));
        }
    };
    if wanted == Protocol::Udp {
        let message = format!("XBackend {namespace}/{name} can't carry UDP; refer to a Service");
        return unresolved("UnsupportedProtocol", message);
    }
    if let Some(port) = port.filter(|port| *port != i32::from(selection.port.get())) {
        let message = format!(
            "XBackend {namespace}/{name} has port {}, not {port}; leave port out of the backendRef",
            selection.port
        );
        return unresolved("BackendNotFound", message);
    }
    Ok(Resolved {
        service: service_name(&found.metadata),
        port: selection.port,
        protocol: wanted,
        spoken: Spoken::Backend { name: name.to_owned(), speech: selection.spoken },
        encryption: Encryption::Plain,
        port_name: String::new(),
    })
}

/// Of the Service behind an XBackend. Nobody can know it beforehand, so that nobody comes to rely on it (GEP-4894).
pub(crate) fn service_name(backend: &ObjectMeta) -> ObjectName {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (name, uid) = (text(&backend.name), text(&backend.uid));
    ObjectName { namespace: text(&backend.namespace), name: infrastructure::hidden_name(&name, &uid) }
}
