//! backendRefs: where they lead, or why they lead nowhere.

use std::fmt;
use std::num::NonZeroU16;

use gateway_agent_api::{Kind, Service};
use gateway_agent_tables::{ObjectName, Protocol};

use crate::Snapshot;
use crate::backend_tls::{Encryption, Policies};
use crate::grant::{Grants, Reference};
use crate::route::BackendRef;
use crate::xbackend::BackendSpeech;
use crate::{endpoints, xbackend};

/// A Service's port that a backendRef may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) service: ObjectName,
    pub(crate) port: NonZeroU16,
    pub(crate) protocol: Protocol,
    pub(crate) spoken: Spoken,
    /// Whether the gateway speaks TLS to the endpoints, where it is the gateway who connects.
    pub(crate) encryption: Encryption,
    /// As slices name it; empty for an unnamed port.
    pub(crate) port_name: String,
}

/// What endpoints speak, as the object says that stands for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// The appProtocol of the Service's port.
    Service(Option<String>),
    /// The XBackend of this name.
    Backend { name: String, speech: BackendSpeech },
}

/// Who refers to a backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Referrer<'a> {
    pub(crate) kind: Kind,
    pub(crate) namespace: &'a str,
}

/// Why a backendRef can't be followed: reason and message for the route's condition `ResolvedRefs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unresolved {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Follows backendRefs.
#[derive(Debug)]
pub(crate) struct Backends<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) grants: Grants<'a>,
    pub(crate) policies: &'a Policies,
}

impl Backends<'_> {
    /// Where a backendRef leads. The grant is checked before the target is looked at, so that the answer
    /// to a reference without one tells nothing about the other namespace.
    pub(crate) fn resolve(
        &self,
        from: Referrer<'_>,
        backend: &BackendRef<'_>,
        protocol: Protocol,
    ) -> Result<Resolved, Unresolved> {
        let BackendRef { group, kind, namespace, name, port, .. } = *backend;
        match Kind::find(group, kind) {
            Some(Kind::Service) => permit(self.grants, from, backend)?,
            Some(Kind::XBackend) => {
                return xbackend::resolve(backend, from.namespace, self.snapshot, protocol);
            }
            _ => return Err(invalid_kind(backend)),
        }
        let service = self.snapshot.named::<Service>(namespace, name).ok_or_else(|| Unresolved {
            reason: "BackendNotFound",
            message: format!(
                "Service {namespace}/{name} does not exist; create it, or correct the backendRef"
            ),
        })?;
        let mut resolved = resolve_port(service, namespace, name, port, protocol)?;
        resolved.encryption = self.policies.encryption(namespace, name, &resolved.port_name);
        Ok(resolved)
    }
}

fn invalid_kind(backend: &BackendRef<'_>) -> Unresolved {
    let BackendRef { group, kind, namespace, name, .. } = *backend;
    let kind = if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") };
    Unresolved {
        reason: "InvalidKind",
        message: format!(
            "backend {namespace}/{name} is of kind {kind}, which is not supported; refer to a Service"
        ),
    }
}

/// Whether the Service's namespace lets others refer to it.
fn permit(grants: Grants<'_>, from: Referrer<'_>, backend: &BackendRef<'_>) -> Result<(), Unresolved> {
    let BackendRef { namespace, name, .. } = *backend;
    let reference = Reference {
        from: from.kind,
        from_namespace: from.namespace,
        to: Kind::Service,
        to_namespace: namespace,
        to_name: name,
    };
    if !grants.permit(reference) {
        return Err(Unresolved {
            reason: "RefNotPermitted",
            message: format!(
                "no ReferenceGrant in namespace {namespace} lets {} of namespace {} refer to Service {name}; add one, \
                 or use a Service of the {}'s own namespace",
                from.kind,
                from.namespace,
                if from.kind == Kind::XTelemetryPolicy { "policy" } else { "route" }
            ),
        });
    }
    Ok(())
}

fn resolve_port(
    service: &Service,
    namespace: &str,
    name: &str,
    port: Option<i32>,
    protocol: Protocol,
) -> Result<Resolved, Unresolved> {
    let spec = service.spec.as_ref();
    let ports = || spec.into_iter().flat_map(|spec| spec.ports.iter().flatten());
    if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        return Err(Unresolved {
            reason: "BackendNotFound",
            message: format!(
                "Service {namespace}/{name} has type ExternalName, which has no endpoints; refer to a Service of \
                 another type"
            ),
        });
    }
    let not_found = |cause: String| Unresolved { reason: "BackendNotFound", message: cause };
    let port = port.ok_or_else(|| {
        not_found(format!(
            "the backendRef to Service {namespace}/{name} names no port; add the Service's port"
        ))
    })?;
    let of_number = || ports().filter(|candidate| candidate.port == port);
    let Some(found) =
        of_number().find(|candidate| endpoints::protocol(candidate.protocol.as_deref()) == Some(protocol))
    else {
        let has = ports()
            .map(|port| format!("{}/{}", port.port, port.protocol.as_deref().unwrap_or("TCP")))
            .collect::<Vec<_>>()
            .join(", ");
        return Err(match of_number().next() {
            Some(_) => Unresolved {
                reason: "UnsupportedProtocol",
                message: format!(
                    "port {port} of Service {namespace}/{name} is not {}, it has {has}; refer to a port of that protocol",
                    protocol.to_string().to_uppercase()
                ),
            },
            None => not_found(format!(
                "Service {namespace}/{name} has no port {port}, it has {}; correct one of the two",
                if has.is_empty() { "none" } else { &has }
            )),
        });
    };
    let number = u16::try_from(port).ok().and_then(NonZeroU16::new).ok_or_else(|| {
        not_found(format!(
            "port {port} of Service {namespace}/{name} is no port; use a number from 1 to 65535"
        ))
    })?;
    Ok(Resolved {
        service: ObjectName { namespace: namespace.to_owned(), name: name.to_owned() },
        port: number,
        protocol,
        encryption: Encryption::Plain,
        spoken: Spoken::Service(found.app_protocol.clone()),
        port_name: found.name.clone().unwrap_or_default(),
    })
}

/// `namespace/name:port`.
impl fmt::Display for BackendRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BackendRef { namespace, name, port, .. } = self;
        match port {
            Some(port) => write!(f, "{namespace}/{name}:{port}"),
            None => write!(f, "{namespace}/{name}"),
        }
    }
}
