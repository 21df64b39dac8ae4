//! Shows the TLS tables as short YAML.

use std::collections::BTreeMap;

use gateway_agent_tables::{BackendTls, HostPattern, Roots, SubjectName, TlsListener, TlsService, TlsTables};
use serde_json::{Map, Value, json};

use super::{is_empty, show_split};

/// Empty parts are left out.
pub(crate) fn show(tables: &TlsTables) -> Value {
    let frontends = tables.frontends.iter().map(|(key, frontend)| {
        let listeners: Map<_, _> = frontend
            .listeners
            .iter()
            .map(|(host, listener)| (host.to_string(), show_listener(listener)))
            .collect();
        (key.to_string(), listeners.into())
    });
    let certificates = tables.certificates.iter().map(|(name, certificate)| {
        let names = certificate.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (length, form) = (certificate.chain.len(), certificate.key.form);
        (name.to_string(), format!("for {names}; chain of {length}; key in {form:?}").into())
    });
    let backends = tables
        .backends
        .iter()
        .map(|((service, port), settings)| (format!("{service}:{port}"), show_backend(settings).into()));
    let mut shown = json!({
        "frontends": frontends.collect::<Map<_, _>>(),
        "certificates": certificates.collect::<Map<_, _>>(),
        "backends": backends.collect::<Map<_, _>>(),
    });
    if let Some(parts) = shown.as_object_mut() {
        parts.retain(|_, part| !is_empty(part));
    }
    shown
}

fn show_listener(listener: &TlsListener) -> Value {
    let (mode, termination, routes) = match &listener.service {
        TlsService::Passthrough(routes) => ("Passthrough", None, Some(&routes.0)),
        TlsService::Terminate(termination, routes) => ("Terminate", Some(termination), Some(&routes.0)),
        TlsService::Https(termination) => ("HTTPS", Some(termination), None),
    };
    let certificates = termination.iter().flat_map(|it| &it.certificates).map(ToString::to_string);
    let clients = termination.and_then(|it| it.clients.as_ref()).map(|clients| {
        let others = if clients.insecure_fallback { ", others too" } else { "" };
        format!("those trusted by {} anchors{others}", clients.roots.len())
    });
    let routes: Map<_, _> = routes
        .map(BTreeMap::iter)
        .into_iter()
        .flatten()
        .map(|(host, split): (&HostPattern, _)| (host.to_string(), show_split(split)))
        .collect();
    let mut shown = json!({
        "listener": listener.name.to_string(),
        "mode": mode,
        "certificates": certificates.collect::<Vec<_>>(),
        "routes": routes,
    });
    if let Some(clients) = clients {
        shown["clients"] = clients.into();
    }
    if let Some(certificate) = &listener.client_certificate {
        shown["clientCertificate"] = certificate.to_string().into();
    }
    if let Some(parts) = shown.as_object_mut() {
        parts.retain(|_, part| !is_empty(part));
    }
    shown
}

fn show_backend(settings: &BackendTls) -> String {
    let roots = match &settings.roots {
        Roots::System => "the system's anchors".to_owned(),
        Roots::Bundle(bundle) => format!("{} anchors", bundle.len()),
    };
    let names = settings.names.iter().map(|name| match name {
        SubjectName::Dns(pattern) => format!("DNS {pattern}"),
        SubjectName::Uri(uri) => format!("URI {uri}"),
    });
    let names = names.collect::<Vec<_>>().join(" or ");
    let name = if names.is_empty() { &settings.server_name } else { &names };
    format!("ask for {}, want a certificate for {name} by {roots}", settings.server_name)
}
