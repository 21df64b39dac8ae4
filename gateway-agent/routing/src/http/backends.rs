//! Where requests are forwarded to, and what is spoken there.

use gateway_agent_tables::Protocol;
use gateway_agent_tables::http::{BackendProtocol, HttpRouteKind, HttpService, Upstream};

use super::Context;
use super::findings::RuleFindings;
use crate::backend::{Resolved, Spoken, Unresolved};
use crate::backend_tls::Encryption;
use crate::route::BackendRef;
use crate::xbackend::BackendSpeech;

/// Follows a reference to a backend that is spoken to as routes of this kind are; None if it leads nowhere.
pub(super) fn upstream(
    context: &Context<'_, '_>,
    reference: &BackendRef<'_>,
    kind: HttpRouteKind,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<Upstream> {
    let resolved = context.backends.resolve(context.route.referrer(), reference, Protocol::Tcp);
    let resolved = findings.reference(field, resolved)?;
    let service = HttpService { service: resolved.service.clone(), port: resolved.port };
    // Also where nothing can be spoken: a BackendTLSPolicy that can't be followed tells so where its Service is used.
    findings.needs(service.clone(), &resolved);
    let protocol = findings.reference(field, protocol(&resolved, kind))?;
    let encrypted = resolved.encryption == Encryption::Tls;
    Some(Upstream { service, protocol, encrypted })
}

fn protocol(resolved: &Resolved, kind: HttpRouteKind) -> Result<BackendProtocol, Unresolved> {
    match &resolved.spoken {
        Spoken::Service(app_protocol) => {
            of_service(resolved, app_protocol.as_deref().unwrap_or_default(), kind)
        }
        Spoken::Backend { name, speech } => of_backend(resolved, name, *speech, kind),
    }
}

fn of_backend(
    resolved: &Resolved,
    name: &str,
    speech: BackendSpeech,
    kind: HttpRouteKind,
) -> Result<BackendProtocol, Unresolved> {
    let unsupported = |why: &str| {
        let message = format!("XBackend {}/{name} has {why}", resolved.service.namespace);
        Err(Unresolved { reason: "UnsupportedProtocol", message })
    };
    match (speech, kind) {
        (BackendSpeech::Tcp, _) => {
            unsupported("protocol TCP, which can't carry requests; use HTTP, H2C or GRPC")
        }
        (BackendSpeech::Http1, HttpRouteKind::Grpc) => {
            unsupported("a protocol that can't carry gRPC; use GRPC or H2C")
        }
        (BackendSpeech::Http2, _) | (BackendSpeech::Any, HttpRouteKind::Grpc) => Ok(BackendProtocol::Http2),
        (BackendSpeech::Http1 | BackendSpeech::Any, HttpRouteKind::Http) => Ok(BackendProtocol::Http1),
    }
}

/// What the Service's port says by appProtocol (KEP-3726), else what the route's kind implies. Names that mean nothing
/// to us are hints for others.
fn of_service(
    resolved: &Resolved,
    app_protocol: &str,
    kind: HttpRouteKind,
) -> Result<BackendProtocol, Unresolved> {
    let unsupported = |why: &str, fix: &str| {
        let Resolved { service, port, .. } = resolved;
        let message =
            format!("port {port} of Service {service} has appProtocol {app_protocol}, {why}; {fix}");
        Err(Unresolved { reason: "UnsupportedProtocol", message })
    };
    match (app_protocol, kind) {
        _ if resolved.encryption == Encryption::Broken => Err(Unresolved {
            reason: "UnsupportedProtocol",
            message: format!(
                "the BackendTLSPolicy for port {} of Service {} can't be followed; see its status",
                resolved.port, resolved.service
            ),
        }),
        ("https" | "kubernetes.io/wss", _) if resolved.encryption == Encryption::Plain => {
            unsupported("which needs TLS", "add a BackendTLSPolicy for the Service, or change appProtocol")
        }
        ("kubernetes.io/ws" | "kubernetes.io/wss", HttpRouteKind::Grpc) => {
            unsupported("which can't carry gRPC", "use a port with appProtocol kubernetes.io/h2c")
        }
        ("kubernetes.io/ws" | "kubernetes.io/wss", HttpRouteKind::Http) => Ok(BackendProtocol::WebSocket),
        // Not of the KEP, but of other gateways' users.
        ("kubernetes.io/h2c" | "grpc", _) | (_, HttpRouteKind::Grpc) => Ok(BackendProtocol::Http2),
        (_, HttpRouteKind::Http) => Ok(BackendProtocol::Http1),
    }
}
