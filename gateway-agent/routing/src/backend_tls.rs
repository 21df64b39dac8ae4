//! BackendTLSPolicies: to which Services connections are encrypted, and whom they trust.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_agent_api::backend_tls_policy::{
    BackendTlsPolicyValidation, BackendTlsPolicyValidationSubjectAltNamesType as NameType,
};
use gateway_agent_api::{BackendTlsPolicy, Kind, ObjectRef, Service, Typed};
use gateway_agent_tables::{BackendTls, HostPattern, ObjectName, Roots, SubjectName};

use crate::facts::{Facts, Readers};
use crate::grant::Grants;
use crate::listener_spec::ObjectReference;
use crate::precedence::Rank;
use crate::status::Condition;
use crate::tls::Bundles;
use crate::{CONTROLLER_NAME, Snapshot};

/// The only value of wellKnownCACertificates that the API defines.
const SYSTEM: &str = "System";

/// All policies, and which one rules each Service and port.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    parsed: BTreeMap<Arc<ObjectRef>, Policy>,
    readers: Readers,
    /// By namespace and Service, then by the port's name; None: all ports that no policy names.
    rulers: BTreeMap<ObjectName, BTreeMap<Option<String>, Arc<ObjectRef>>>,
    /// The policies that have a Service or part of it as a target, whether or not they rule it.
    about: BTreeMap<ObjectName, BTreeSet<Arc<ObjectRef>>>,
    /// Those that want what another one has, and the one.
    conflicts: BTreeMap<Arc<ObjectRef>, Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    rank: Rank,
    pub(crate) namespace: String,
    pub(crate) targets: Vec<Target>,
    /// But for conflicts with other policies.
    accepted: Condition,
    refs: Condition,
    /// None: connections must fail.
    settings: Option<Arc<BackendTls>>,
    pub(crate) generation: Option<i64>,
    /// Entries of other controllers in its status, which stay.
    pub(crate) foreign_ancestors: usize,
    /// The objects that hold the trust anchors.
    pub(crate) trust_sources: Vec<ObjectRef>,
}

/// A Service, or one port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) service: String,
    pub(crate) section: Option<String>,
}

/// How the gateway connects to a Service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    Plain,
    Tls,
    /// A policy demands TLS, but can't be followed: connections must fail.
    Broken,
}

/// What became of policies.
#[derive(Debug, Default)]
pub(crate) struct PolicyChanges {
    /// Those whose conditions or targets may be others.
    pub(crate) policies: BTreeSet<Arc<ObjectRef>>,
    /// Those that are gone.
    pub(crate) removed: BTreeSet<ObjectRef>,
    /// The Services that are ruled in another way.
    pub(crate) services: BTreeSet<ObjectName>,
}

impl Policies {
    /// Parses what of these objects is a policy, and the policies that looked at these facts.
    pub(crate) fn update<'c>(
        &mut self,
        objects: impl Iterator<Item = &'c ObjectRef>,
        facts: &Facts,
        snapshot: &Snapshot,
    ) -> PolicyChanges {
        let objects = objects.filter(|object| object.kind == Kind::BackendTlsPolicy);
        let mut due: BTreeSet<Arc<ObjectRef>> = objects.cloned().map(Arc::new).collect();
        if !self.parsed.is_empty() {
            due.extend(facts.iter().flat_map(|fact| self.readers.of(fact)).cloned());
        }
        let mut changes = PolicyChanges::default();
        if due.is_empty() {
            return changes;
        }
        let grants = Grants::of(snapshot);
        let former = self.ruled();
        for object in due {
            self.parsed.remove(&object);
            if let Some(policy) = snapshot.find(&object).and_then(BackendTlsPolicy::of) {
                let (parsed, facts) =
                    snapshot.watch(|| Policy::parse(policy, Arc::clone(&object), snapshot, grants));
                self.readers.set(&object, facts);
                self.parsed.insert(Arc::clone(&object), parsed);
                changes.policies.insert(object);
            } else {
                self.readers.forget(&object);
                changes.removed.insert(ObjectRef::clone(&object));
            }
        }
        let former_conflicts = self.settle();
        let others = self.conflicts.keys().chain(former_conflicts.keys());
        let others = others.filter(|it| self.conflicts.get(*it) != former_conflicts.get(*it));
        changes.policies.extend(others.filter(|it| self.parsed.contains_key(*it)).cloned());
        let now = self.ruled();
        let services = now.keys().chain(former.keys());
        changes.services = services.filter(|it| now.get(*it) != former.get(*it)).cloned().collect();
        changes
    }

    /// What rules each Service.
    fn ruled(&self) -> BTreeMap<ObjectName, BTreeMap<Option<String>, Option<Arc<BackendTls>>>> {
        let settings = |ruler: &Arc<ObjectRef>| self.parsed[ruler].settings.clone();
        let of_service = |rulers: &BTreeMap<Option<String>, _>| {
            rulers.iter().map(|(section, ruler)| (section.clone(), settings(ruler))).collect()
        };
        self.rulers.iter().map(|(service, rulers)| (service.clone(), of_service(rulers))).collect()
    }

    /// Finds out who rules what. Gives the former conflicts.
    fn settle(&mut self) -> BTreeMap<Arc<ObjectRef>, Condition> {
        let former = std::mem::take(&mut self.conflicts);
        self.rulers.clear();
        self.about.clear();
        let mut in_order: Vec<_> = self.parsed.values().collect();
        in_order.sort_by(|a, b| a.rank.cmp(&b.rank));
        for policy in in_order {
            let mut lost = BTreeMap::new();
            for Target { service, section } in &policy.targets {
                let name = ObjectName { namespace: policy.namespace.clone(), name: service.clone() };
                self.about.entry(name.clone()).or_default().insert(Arc::clone(&policy.rank.object));
                let rulers = self.rulers.entry(name).or_default();
                let ruler = rulers.entry(section.clone()).or_insert_with(|| Arc::clone(&policy.rank.object));
                if *ruler != policy.rank.object {
                    let rank = &self.parsed[ruler].rank;
                    let first = lost.entry(service).or_insert(rank);
                    *first = rank.min(first);
                }
            }
            if let Some((service, ruler)) = lost.first_key_value() {
                let conflict = conflicted(&policy.namespace, service, &ruler.object);
                self.conflicts.insert(Arc::clone(&policy.rank.object), conflict);
            }
        }
        former
    }

    pub(crate) fn find(&self, object: &ObjectRef) -> Option<&Policy> {
        self.parsed.get(object)
    }

    /// The policies with a target that is this Service or part of it.
    pub(crate) fn about(&self, service: &ObjectName) -> impl Iterator<Item = &Arc<ObjectRef>> {
        self.about.get(service).into_iter().flatten()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parsed.is_empty()
    }

    /// Accepted and ResolvedRefs.
    pub(crate) fn conditions(&self, policy: &Policy) -> [Condition; 2] {
        let conflict = self.conflicts.get(&policy.rank.object);
        [conflict.unwrap_or(&policy.accepted).clone(), policy.refs.clone()]
    }

    /// The policy for a Service's port: one that names the port, else one for the whole Service.
    fn ruler(&self, namespace: &str, service: &str, port_name: &str) -> Option<&Policy> {
        if self.rulers.is_empty() {
            return None;
        }
        let name = ObjectName { namespace: namespace.to_owned(), name: service.to_owned() };
        let rulers = self.rulers.get(&name)?;
        let ruler = rulers.get(&Some(port_name.to_owned())).or_else(|| rulers.get(&None))?;
        self.parsed.get(ruler)
    }

    /// Whoever asks has looked at the Service: what rules it follows from it.
    pub(crate) fn encryption(&self, namespace: &str, service: &str, port_name: &str) -> Encryption {
        match self.ruler(namespace, service, port_name).map(|policy| &policy.settings) {
            None => Encryption::Plain,
            Some(Some(_)) => Encryption::Tls,
            Some(None) => Encryption::Broken,
        }
    }

    /// How to speak TLS to a Service's port; None: without, or not at all.
    pub(crate) fn settings(&self, namespace: &str, service: &str, port_name: &str) -> Option<&BackendTls> {
        self.ruler(namespace, service, port_name)?.settings.as_deref()
    }
}

fn conflicted(namespace: &str, service: &str, ruler: &ObjectRef) -> Condition {
    let message = format!(
        "Service {namespace}/{service} is ruled by {ruler}, which comes first by age and name; remove one of the two, or \
         give them different sectionNames"
    );
    Condition::no("Accepted", "Conflicted", message)
}

impl Policy {
    fn parse(
        policy: &BackendTlsPolicy,
        object: Arc<ObjectRef>,
        snapshot: &Snapshot,
        grants: Grants<'_>,
    ) -> Self {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        let services = policy
            .spec
            .target_refs
            .iter()
            .filter(|target| Kind::find(&target.group, &target.kind) == Some(Kind::Service));
        let targets: Vec<_> = services
            .map(|target| Target {
                service: target.name.clone(),
                section: target.section_name.clone().filter(|section| !section.is_empty()),
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
        let ancestors = policy.status.iter().flat_map(|status| &status.ancestors);
        Self {
            rank: Rank::new(object, &policy.metadata),
            namespace: namespace.to_owned(),
            targets,
            accepted,
            refs,
            settings: settings.ok().map(Arc::new),
            generation: policy.metadata.generation,
            foreign_ancestors: ancestors.filter(|it| it.controller_name != CONTROLLER_NAME).count(),
            trust_sources,
        }
    }

    /// The Services that it is about, some perhaps more than once.
    pub(crate) fn services(&self) -> impl Iterator<Item = ObjectName> {
        let name =
            |target: &Target| ObjectName { namespace: self.namespace.clone(), name: target.service.clone() };
        self.targets.iter().map(name)
    }

    /// Whether the policy is about this port of a Service of its namespace that has `ports`.
    pub(crate) fn concerns(&self, service: &str, port_name: &str, ports: &[&str]) -> bool {
        // One that names a port which isn't there concerns all who use the Service: they learn of it.
        let fits = |section: &str| section == port_name || !ports.contains(&section);
        self.targets
            .iter()
            .any(|target| target.service == service && target.section.as_deref().is_none_or(fits))
    }
}

fn missing_target(
    policy: &BackendTlsPolicy,
    namespace: &str,
    targets: &[Target],
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
        let section = section.as_deref().filter(|section| !port_names(object).contains(section))?;
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
    grants: Grants<'_>,
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
