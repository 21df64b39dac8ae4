//! What TLS listeners show to clients and ask of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_agent_api::gateway::{
    GatewaySpec, GatewayTlsFrontendDefaultValidationMode as DefaultMode,
    GatewayTlsFrontendPerPortTlsValidationMode as PortMode,
};
use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_tables::{ClientValidation, HostPattern, ObjectName, Termination};

use super::Fault;
use super::certificate::{Certificates, Loaded};
use super::trust::{Bundles, not_permitted};
use crate::gateway::Gateway;
use crate::grant::{Grants, Reference};
use crate::listener::{Listener, ListenerProtocol};
use crate::listener_spec::ObjectReference;
use crate::{Outcome, Problem, Snapshot};

/// What a listener's TLS settings amount to.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListenerTls {
    /// None: the listener needs no certificate, or has none that can be used.
    pub(crate) termination: Option<Termination>,
    /// Of certificates.
    pub(crate) faults: Vec<Fault>,
    /// Of the trust anchors for clients' certificates.
    pub(crate) trust_faults: Vec<Fault>,
    /// The objects that hold the trust anchors.
    pub(crate) trust_sources: Vec<ObjectRef>,
    /// Clients are to show certificates, but no trust anchor can be used.
    pub(crate) trusts_nobody: bool,
    /// DNS names that the certificates are for.
    pub(crate) names: Vec<HostPattern>,
}

/// Follows the TLS references of a Gateway and its listeners.
#[derive(Debug)]
pub(crate) struct Resolver<'a, 'c> {
    snapshot: &'a Snapshot,
    grants: Grants<'a>,
    certificates: &'c mut Certificates<'a>,
    /// Those that could be read.
    usable: BTreeMap<ObjectName, Arc<Loaded>>,
    problems: Vec<Problem>,
}

impl<'a, 'c> Resolver<'a, 'c> {
    pub(crate) fn new(snapshot: &'a Snapshot, certificates: &'c mut Certificates<'a>) -> Self {
        let grants = Grants::of(snapshot);
        Self { snapshot, grants, certificates, usable: BTreeMap::new(), problems: Vec::new() }
    }

    /// Gives the Gateway what its references lead to, and tells what is wrong with that, and when to look again.
    pub(crate) fn resolve(mut self, gateway: &mut Gateway<'_>, outcome: &mut Outcome) {
        let settled: Vec<_> = gateway.listeners.iter().map(|it| self.listener(it, gateway)).collect();
        for (listener, tls) in gateway.listeners.iter_mut().zip(settled) {
            listener.tls = tls;
        }
        gateway.client_certificate = self.client_certificate(gateway);
        outcome.problems.extend(self.problems);
        outcome.recheck_at = self.usable.values().filter_map(|loaded| loaded.recheck_at).min();
        let certificates = self.usable.into_iter().map(|(name, loaded)| (name, loaded.certificate.clone()));
        outcome.tables.tls.certificates = certificates.collect();
    }

    fn listener(&mut self, listener: &Listener<'_>, gateway: &Gateway<'_>) -> ListenerTls {
        let mut tls = ListenerTls::default();
        let Some(protocol) = listener.protocol.filter(|protocol| protocol.terminates_tls()) else {
            return tls;
        };
        let owner = gateway.owner(listener);
        let references = listener.spec.tls.as_ref().map_or(&[][..], |tls| &tls.certificates);
        if references.is_empty() {
            let message = format!(
                "listener {} has no tls.certificateRefs, so clients can't be shown a certificate; name a Secret",
                listener.spec.name
            );
            tls.faults.push(Fault { reason: "InvalidCertificateRef", message });
        }
        let mut usable = Vec::new();
        for reference in references {
            match self.certificate(reference, owner.kind, listener.owner.namespace) {
                Ok((name, loaded)) => {
                    self.note_flaws(&owner, listener, &loaded);
                    tls.names.extend(loaded.certificate.names.iter().cloned());
                    usable.push(name);
                }
                Err(message) => tls.faults.push(message),
            }
        }
        if !usable.is_empty() {
            self.note_mismatch(&owner, listener, &tls.names);
        }
        let clients = if protocol == ListenerProtocol::Https {
            self.client_validation(listener, gateway, &mut tls)
        } else {
            None
        };
        if !usable.is_empty() && !tls.trusts_nobody {
            tls.termination = Some(Termination { certificates: usable, clients });
        }
        tls
    }

    /// The certificate that a reference leads to. The grant is checked before the target is looked at.
    fn certificate(
        &mut self,
        reference: &ObjectReference<'_>,
        from: Kind,
        namespace: &str,
    ) -> Result<(ObjectName, Arc<Loaded>), Fault> {
        let invalid = |message| Fault { reason: "InvalidCertificateRef", message };
        let ObjectReference { group, kind, name, .. } = *reference;
        if Kind::find(group, kind) != Some(Kind::Secret) {
            let kind = if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") };
            return Err(invalid(format!(
                "{kind} {name} is of a kind that holds no certificates; refer to a Secret"
            )));
        }
        let target = reference.namespace.unwrap_or(namespace);
        let permission = Reference {
            from,
            from_namespace: namespace,
            to: Kind::Secret,
            to_namespace: target,
            to_name: name,
        };
        if !self.grants.permit(permission) {
            return Err(not_permitted(permission));
        }
        let name = ObjectName { namespace: target.to_owned(), name: name.to_owned() };
        let loaded = self.certificates.load(&name).map_err(invalid)?;
        self.usable.insert(name.clone(), Arc::clone(&loaded));
        Ok((name, loaded))
    }

    fn note_flaws(&mut self, owner: &ObjectRef, listener: &Listener<'_>, loaded: &Loaded) {
        for (reason, message) in &loaded.flaws {
            self.problems.push(Problem {
                object: owner.clone(),
                part: Some(format!("listener {}", listener.spec.name)),
                condition: None,
                reason,
                message: message.clone(),
            });
        }
    }

    /// Clients check that the certificate is for the name that they asked for.
    fn note_mismatch(&mut self, owner: &ObjectRef, listener: &Listener<'_>, names: &[HostPattern]) {
        let Some(hostname @ (HostPattern::Exact(_) | HostPattern::Below(_))) = &listener.hostname else {
            return;
        };
        if names.iter().any(|name| is_for(name, hostname)) {
            return;
        }
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        self.problems.push(Problem {
            object: owner.clone(),
            part: Some(format!("listener {}", listener.spec.name)),
            condition: None,
            reason: "CertificateNameMismatch",
            message: format!(
                "listener {} is for {hostname}, but its certificates are for {}; most clients will refuse them; use a \
                 certificate for that name",
                listener.spec.name,
                if names.is_empty() { "no DNS name" } else { &names },
            ),
        });
    }

    /// How clients' certificates are judged on the listener's port.
    fn client_validation(
        &self,
        listener: &Listener<'_>,
        gateway: &Gateway<'_>,
        tls: &mut ListenerTls,
    ) -> Option<ClientValidation> {
        let (references, insecure_fallback) = validation(gateway.spec, listener.spec.port)?;
        let bundles = Bundles {
            snapshot: self.snapshot,
            grants: self.grants,
            from: Kind::Gateway,
            namespace: &gateway.name.namespace,
            invalid_kind: "InvalidCACertificateKind",
        };
        let trust = bundles.load(references);
        tls.trusts_nobody = trust.roots.is_empty();
        tls.trust_faults = trust.faults;
        tls.trust_sources = trust.sources;
        Some(ClientValidation { roots: trust.roots, insecure_fallback })
    }

    /// The certificate that the gateway shows to backends, or why it can't.
    fn client_certificate(&mut self, gateway: &Gateway<'_>) -> Result<Option<ObjectName>, Fault> {
        let backend = gateway.spec.tls.as_ref().and_then(|tls| tls.backend.as_ref());
        let Some(reference) = backend.and_then(|backend| backend.client_certificate_ref.as_ref()) else {
            return Ok(None);
        };
        let reference = ObjectReference {
            group: reference.group.as_deref().unwrap_or_default(),
            kind: reference.kind.as_deref().unwrap_or(Kind::Secret.name()),
            namespace: reference.namespace.as_deref(),
            name: &reference.name,
        };
        let found = self.certificate(&reference, Kind::Gateway, &gateway.name.namespace);
        found.map(|(name, _)| Some(name)).map_err(|fault| match fault.reason {
            "InvalidCertificateRef" => Fault { reason: "InvalidClientCertificateRef", ..fault },
            _ => fault,
        })
    }
}

/// Whether a certificate for `name` may be shown for the host name: a wildcard stands for one label only (RFC 9525),
/// so a listener's wildcard wants the same one.
fn is_for(name: &HostPattern, hostname: &HostPattern) -> bool {
    match (name, hostname) {
        (HostPattern::Below(suffix), HostPattern::Exact(host)) => {
            host.split_once('.').is_some_and(|(_, rest)| *rest == **suffix)
        }
        _ => name == hostname,
    }
}

/// The references of frontend validation for a port, and whether clients without a valid certificate are served too.
fn validation(spec: &GatewaySpec, port: i32) -> Option<(Vec<ObjectReference<'_>>, bool)> {
    let frontend = spec.tls.as_ref()?.frontend.as_ref()?;
    macro_rules! references {
        ($validation:expr, $mode:ident) => {{
            let references = $validation.ca_certificate_refs.iter().map(|reference| ObjectReference {
                group: &reference.group,
                kind: &reference.kind,
                namespace: reference.namespace.as_deref(),
                name: &reference.name,
            });
            // A mode that isn't known must not let more clients in.
            (references.collect(), $validation.mode == Some($mode::AllowInsecureFallback))
        }};
    }
    match frontend.per_port.iter().flatten().find(|entry| entry.port == port) {
        Some(entry) => entry.tls.validation.as_ref().map(|it| references!(it, PortMode)),
        None => frontend.default.validation.as_ref().map(|it| references!(it, DefaultMode)),
    }
}

/// Whether any port of the Gateway serves clients without a valid certificate although it asks for one.
pub(crate) fn is_insecure(spec: &GatewaySpec) -> bool {
    let frontend = spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
    frontend.is_some_and(|frontend| {
        let mut ports = frontend.per_port.iter().flatten().filter_map(|entry| entry.tls.validation.as_ref());
        let default = frontend.default.validation.as_ref();
        ports.any(|it| it.mode == Some(PortMode::AllowInsecureFallback))
            || default.is_some_and(|it| it.mode == Some(DefaultMode::AllowInsecureFallback))
    })
}
