//! BackendTLSPolicies: to which Services connections are encrypted, and whom they trust.

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_api::backend_tls_policy::{
    BackendTlsPolicyValidation, BackendTlsPolicyValidationSubjectAltNamesType as NameType,
};
use gateway_agent_api::{BackendTlsPolicy, Kind, ObjectMeta, ObjectRef, Service};
use gateway_agent_tables::{BackendTls, HostPattern, Roots, SubjectName};

use crate::Snapshot;
use crate::grant::Grants;
use crate::listener_spec::ObjectReference;
use crate::precedence::Precedence;
use crate::status::Condition;
use crate::tls::Bundles;

/// The only value of wellKnownCACertificates that the API defines.
const SYSTEM: &str = "System";

/// All policies, and which one rules each Service and port.
#[derive(Debug)]
pub(crate) struct Policies<'a> {
    pub(crate) all: Vec<Policy<'a>>,
    /// By namespace, Service and the port's name; None: all ports that no policy names.
    rulers: BTreeMap<(&'a str, &'a str, Option<&'a str>), usize>,
}

#[derive(Debug)]
pub(crate) struct Policy<'a> {
    pub(crate) object: ObjectRef,
    pub(crate) metadata: &'a ObjectMeta,
    pub(crate) namespace: &'a str,
    pub(crate) targets: Vec<Target<'a>>,
    pub(crate) accepted: Condition,
    pub(crate) refs: Condition,
    /// None: connections must fail.
    settings: Option<BackendTls>,
    /// The objects that hold the trust anchors.
    pub(crate) trust_sources: Vec<ObjectRef>,
}

/// A Service, or one port of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) service: &'a str,
    pub(crate) section: Option<&'a str>,
}

/// How the gateway connects to a Service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    Plain,
    Tls,
    /// A policy demands TLS, but can't be followed: connections must fail.
    Broken,
}

impl<'a> Policies<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot, grants: &Grants<'a>) -> Self {
        let mut all: Vec<_> = snapshot.all::<BackendTlsPolicy>().collect();
        all.sort_by(|a, b| Precedence::of(&a.metadata).cmp(&Precedence::of(&b.metadata)));
        let mut policies = Self { all: Vec::new(), rulers: BTreeMap::new() };
        for policy in all {
            let mut parsed = Policy::parse(policy, snapshot, grants);
            let index = policies.all.len();
            let mut lost = BTreeSet::new();
            for target in &parsed.targets {
                let key = (parsed.namespace, target.service, target.section);
                let ruler = *policies.rulers.entry(key).or_insert(index);
                if ruler != index {
                    lost.insert((target.service, ruler));
                }
            }
            if let Some((service, ruler)) = lost.first() {
                parsed.accepted = conflicted(parsed.namespace, service, &policies.all[*ruler].object);
            }
            policies.all.push(parsed);
        }
        policies
    }

    /// The policy for a Service's port: one that names the port, else one for the whole Service.
    fn ruler(&self, namespace: &str, service: &str, port_name: &str) -> Option<&Policy<'a>> {
        let of = |section| self.rulers.get(&(namespace, service, section));
        let index = of(Some(port_name)).or_else(|| of(None))?;
        Some(&self.all[*index])
    }

    pub(crate) fn encryption(&self, namespace: &str, service: &str, port_name: &str) -> Encryption {
        match self.ruler(namespace, service, port_name).map(|policy| &policy.settings) {
            None => Encryption::Plain,
            Some(Some(_)) => Encryption::Tls,
            Some(None) => Encryption::Broken,
        }
    }

    /// How to speak TLS to a Service's port; None: without, or not at all.
    pub(crate) fn settings(&self, namespace: &str, service: &str, port_name: &str) -> Option<&BackendTls> {
        self.ruler(namespace, service, port_name)?.settings.as_ref()
    }
}

fn conflicted(namespace: &str, service: &str, ruler: &ObjectRef) -> Condition {
    let message = format!(
        "Service {namespace}/{service} is ruled by {ruler}, which comes first by age and name; remove one of the two, or \
         give them different sectionNames"
    );
    Condition::no("Accepted", "Conflicted", message)
}

impl<'a> Policy<'a> {
    fn parse(policy: &'a BackendTlsPolicy, snapshot: &Snapshot, grants: &Grants<'_>) -> Self {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        let name = policy.metadata.name.as_deref().unwrap_or_default();
        let services = policy
            .spec
            .target_refs
            .iter()
            .filter(|target| Kind::find(&target.group, &target.kind) == Some(Kind::Service));
        let targets: Vec<_> = services
            .map(|target| Target {
                service: &target.name,
                section: target.section_name.as_deref().filter(|section| !section.is_empty()),
            })
            .collect();
        let (settings, refs, trust_sources) = settings(&policy.spec.validation, namespace, snapshot, grants);
        let fault = settings.as_ref().err().cloned();
        let accepted = match (fault, missing_target(policy, namespace, &targets, snapshot)) {
            (Some((reason, message)), _) => Condition::no("Accepted", reason, message),
            (None, Some(message)) => Condition::no("Accepted", "TargetNotFound", message),
            (None, None) => {
                Condition::yes("Accepted", "Accepted", "connections to its targets are encrypted")
            }
        };
        // A reference that leads nowhere is the cause; that nothing is left follows from it.
        let accepted = if refs.status { accepted } else { accepted.derived() };
        Self {
            object: ObjectRef::new(Kind::BackendTlsPolicy, namespace, name),
            metadata: &policy.metadata,
            namespace,
            targets,
            accepted,
            refs,
            settings: settings.ok(),
            trust_sources,
        }
    }

    pub(crate) fn targets_service(&self, namespace: &str, service: &str) -> bool {
        self.namespace == namespace && self.targets.iter().any(|target| target.service == service)
    }

    /// Whether the policy is about this port of a Service of its namespace that has `ports`.
    pub(crate) fn concerns(&self, service: &str, port_name: &str, ports: &[&str]) -> bool {
        // One that names a port which isn't there concerns all who use the Service: they learn of it.
        let fits = |section: &str| section == port_name || !ports.contains(&section);
        self.targets.iter().any(|target| target.service == service && target.section.is_none_or(fits))
    }
}

fn missing_target(
    policy: &BackendTlsPolicy,
    namespace: &str,
    targets: &[Target<'_>],
    snapshot: &Snapshot,
) -> Option<String> {
    if targets.len() < policy.spec.target_refs.len() {
        return Some("a targetRef is of a kind that can't be connected to; refer to a Service".to_owned());
    }
    targets.iter().find_map(|target| {
        let Target { service, section } = target;
        let Some(object) = snapshot.named::<Service>(namespace, service) else {
            return Some(format!(
                "Service {namespace}/{service} does not exist; create it, or correct the targetRef"
            ));
        };
        let section = section.filter(|section| !port_names(object).contains(section))?;
        Some(format!(
            "Service {namespace}/{service} has no port named {section}; correct sectionName or the Service"
        ))
    })
}

pub(crate) fn port_names(service: &Service) -> Vec<&str> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.map(|port| port.name.as_deref().unwrap_or_default()).collect()
}

/// The settings, or reason and message why there are none; the condition `ResolvedRefs`; and where the trust anchors are.
fn settings(
    validation: &BackendTlsPolicyValidation,
    namespace: &str,
    snapshot: &Snapshot,
    grants: &Grants<'_>,
) -> (Result<BackendTls, (&'static str, String)>, Condition, Vec<ObjectRef>) {
    let references = validation.ca_certificate_refs.iter().flatten().map(|reference| ObjectReference {
        group: &reference.group,
        kind: &reference.kind,
        namespace: None,
        name: &reference.name,
    });
    let bundles =
        Bundles { snapshot, grants, from: Kind::BackendTlsPolicy, namespace, invalid_kind: "InvalidKind" };
    let trust = bundles.load(references);
    let refs = match trust.faults.first() {
        None => Condition::yes("ResolvedRefs", "ResolvedRefs", "all references are valid"),
        Some(first) => {
            let messages: Vec<_> = trust.faults.iter().map(|fault| fault.message.as_str()).collect();
            Condition::no("ResolvedRefs", first.reason, messages.join("; "))
        }
    };
    let roots = match validation.well_known_ca_certificates.as_deref().unwrap_or_default() {
        SYSTEM => Ok(Roots::System),
        "" if trust.roots.is_empty() => Err((
            "NoValidCACertificate",
            "none of its caCertificateRefs can be used, so connections to its targets fail; see ResolvedRefs"
                .to_owned(),
        )),
        "" => Ok(Roots::Bundle(trust.roots)),
        other => Err((
            "Invalid",
            format!("wellKnownCACertificates {other} is not known; use {SYSTEM} or caCertificateRefs"),
        )),
    };
    let settings = roots.and_then(|roots| {
        Ok(BackendTls { server_name: validation.hostname.clone(), names: names(validation)?, roots })
    });
    (settings, refs, trust.sources)
}

fn names(validation: &BackendTlsPolicyValidation) -> Result<Vec<SubjectName>, (&'static str, String)> {
    let names = validation.subject_alt_names.iter().flatten();
    names
        .map(|name| {
            let hostname = || name.hostname.as_deref().and_then(HostPattern::parse);
            let parsed = match &name.r#type {
                NameType::Hostname => hostname().map(SubjectName::Dns),
                NameType::Uri => name.uri.clone().map(SubjectName::Uri),
                NameType::Unknown(_) => None,
            };
            parsed.ok_or_else(|| {
                let message = "an entry of subjectAltNames is neither a hostname nor a URI; correct it";
                ("Invalid", message.to_owned())
            })
        })
        .collect()
}
