//! Where requests are forwarded to, and what is spoken there.

use gateway_agent_tables::Protocol;
use gateway_agent_tables::http::{BackendProtocol, HttpRouteKind, HttpService, Upstream};

use super::Context;
use super::findings::RuleFindings;
use crate::backend::{Resolved, Unresolved};
use crate::backend_tls::Encryption;
use crate::route::BackendRef;

/// A reference without weight; the generated types of those differ in name only.
macro_rules! object_ref {
    ($reference:expr, $namespace:expr) => {{
        let reference = $reference;
        $crate::route::BackendRef {
            group: reference.group.as_deref().unwrap_or(gateway_agent_api::Kind::Service.group()),
            kind: reference.kind.as_deref().unwrap_or(gateway_agent_api::Kind::Service.name()),
            namespace: reference.namespace.as_deref().unwrap_or($namespace),
            name: &reference.name,
            port: reference.port,
            weight: 1,
        }
    }};
}
pub(super) use object_ref;

/// Follows a reference to a backend that is spoken to as routes of this kind are; None if it leads nowhere.
pub(super) fn upstream(
    context: &Context<'_, '_>,
    reference: &BackendRef<'_>,
    kind: HttpRouteKind,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<Upstream> {
    let resolved = context.backends.resolve(context.route, reference, Protocol::Tcp);
    let resolved = findings.reference(field, resolved)?;
    let service = HttpService { service: resolved.service.clone(), port: resolved.port };
    // Also where nothing can be spoken: a BackendTLSPolicy that can't be followed tells so where its Service is used.
    findings.needs(service.clone(), &resolved);
    let protocol = findings.reference(field, protocol(&resolved, kind))?;
    let encrypted = resolved.encryption == Encryption::Tls;
    Some(Upstream { service, protocol, encrypted })
}

/// What the Service's port says by appProtocol (KEP-3726), else what the route's kind implies. Names that mean nothing
/// to us are hints for others.
fn protocol(resolved: &Resolved, kind: HttpRouteKind) -> Result<BackendProtocol, Unresolved> {
    let app_protocol = resolved.app_protocol.as_deref().unwrap_or_default();
    match (app_protocol, kind) {
        _ if resolved.encryption == Encryption::Broken => Err(Unresolved {
            reason: "UnsupportedProtocol",
            message: format!(
                "the BackendTLSPolicy for port {} of Service {} can't be followed; see its status",
                resolved.port, resolved.service
            ),
        }),
        ("https" | "kubernetes.io/wss", _) if resolved.encryption == Encryption::Plain => Err(unsupported(
            resolved,
            "which needs TLS",
            "add a BackendTLSPolicy for the Service, or change appProtocol",
        )),
        ("kubernetes.io/ws" | "kubernetes.io/wss", HttpRouteKind::Grpc) => Err(unsupported(
            resolved,
            "which can't carry gRPC",
            "use a port with appProtocol kubernetes.io/h2c",
        )),
        ("kubernetes.io/ws" | "kubernetes.io/wss", HttpRouteKind::Http) => Ok(BackendProtocol::WebSocket),
        // Not of the KEP, but of other gateways' users.
        ("kubernetes.io/h2c" | "grpc", _) | (_, HttpRouteKind::Grpc) => Ok(BackendProtocol::Http2),
        (_, HttpRouteKind::Http) => Ok(BackendProtocol::Http1),
    }
}

fn unsupported(resolved: &Resolved, why: &str, fix: &str) -> Unresolved {
    let Resolved { service, port, app_protocol, .. } = resolved;
    let app_protocol = app_protocol.as_deref().unwrap_or_default();
    Unresolved {
        reason: "UnsupportedProtocol",
        message: format!("port {port} of Service {service} has appProtocol {app_protocol}, {why}; {fix}"),
    }
}
