//! Trust anchors: bundles of CA certificates in ConfigMaps, Secrets and ClusterTrustBundles.

use gateway_agent_api::{ClusterTrustBundle, ConfigMap, Kind, ObjectRef, Secret};
use gateway_agent_tables::Der;

use super::Fault;
use super::certificate::{entry, parse, pem_certificates};
use crate::Snapshot;
use crate::grant::{Grants, Reference};
use crate::listener_spec::ObjectReference;

/// The key that ConfigMaps and Secrets have the bundle under.
pub(crate) const KEY: &str = "ca.crt";

/// What a reference to a bundle is part of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bundles<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) grants: Grants<'a>,
    /// The object that refers.
    pub(crate) from: Kind,
    pub(crate) namespace: &'a str,
    /// The reason for a kind that holds no bundles.
    pub(crate) invalid_kind: &'static str,
}

/// What all references of one list lead to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    pub(crate) roots: Vec<Der>,
    /// The objects that hold the roots.
    pub(crate) sources: Vec<ObjectRef>,
    pub(crate) faults: Vec<Fault>,
}

impl Bundles<'_> {
    pub(crate) fn load<'r>(&self, references: impl IntoIterator<Item = ObjectReference<'r>>) -> Trust {
        let mut trust = Trust::default();
        for reference in references {
            match self.one(reference) {
                Ok((source, roots)) => {
                    trust.sources.push(source);
                    trust.roots.extend(roots);
                }
                Err(fault) => trust.faults.push(fault),
            }
        }
        trust
    }

    fn one(&self, reference: ObjectReference<'_>) -> Result<(ObjectRef, Vec<Der>), Fault> {
        let ObjectReference { group, kind, name, namespace } = reference;
        let bundles = [Kind::ConfigMap, Kind::Secret, Kind::ClusterTrustBundle];
        let Some(kind) = Kind::find(group, kind).filter(|kind| bundles.contains(kind)) else {
            let kind = if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") };
            return Err(Fault {
                reason: self.invalid_kind,
                message: format!(
                    "{kind} {name} is of a kind that holds no CA certificates; refer to a ConfigMap, Secret or \
                     ClusterTrustBundle"
                ),
            });
        };
        let namespace = namespace.unwrap_or(self.namespace);
        if kind != Kind::ClusterTrustBundle {
            self.permit(kind, namespace, name)?;
        }
        self.bundle(kind, namespace, name)
            .map(|roots| (ObjectRef::new(kind, namespace, name), roots))
            .map_err(|message| Fault { reason: "InvalidCACertificateRef", message })
    }

    fn permit(&self, kind: Kind, namespace: &str, name: &str) -> Result<(), Fault> {
        let reference = Reference {
            from: self.from,
            from_namespace: self.namespace,
            to: kind,
            to_namespace: namespace,
            to_name: name,
        };
        if self.grants.permit(reference) { Ok(()) } else { Err(not_permitted(reference)) }
    }

    fn bundle(&self, kind: Kind, namespace: &str, name: &str) -> Result<Vec<Der>, String> {
        let object = match kind {
            Kind::ClusterTrustBundle => format!("{kind} {name}"),
            _ => format!("{kind} {namespace}/{name}"),
        };
        let missing = || format!("{object} does not exist; create it, or correct the reference");
        let text = match kind {
            Kind::ClusterTrustBundle => {
                let bundle = self.snapshot.named::<ClusterTrustBundle>("", name).ok_or_else(missing)?;
                Some(bundle.spec.trust_bundle.as_bytes())
            }
            Kind::Secret => entry(self.snapshot.named::<Secret>(namespace, name).ok_or_else(missing)?, KEY),
            _ => config_entry(self.snapshot.named::<ConfigMap>(namespace, name).ok_or_else(missing)?),
        };
        let text = text.ok_or_else(|| format!("{object} has no {KEY}; put CA certificates in PEM there"))?;
        let ders = pem_certificates(text).map_err(|cause| format!("{object}: {KEY} {cause}"))?;
        parse(&ders).map_err(|cause| format!("{object}: {KEY} {cause}"))?;
        Ok(ders)
    }
}

fn config_entry(map: &ConfigMap) -> Option<&[u8]> {
    let text = map.data.as_ref().and_then(|entries| entries.get(KEY)).map(String::as_bytes);
    text.or_else(|| map.binary_data.as_ref()?.get(KEY).map(|bytes| &bytes.0[..])).filter(|it| !it.is_empty())
}

/// The same whether or not the target exists.
pub(super) fn not_permitted(reference: Reference<'_>) -> Fault {
    let Reference { from, from_namespace, to, to_namespace, to_name } = reference;
    Fault {
        reason: "RefNotPermitted",
        message: format!(
            "no ReferenceGrant in namespace {to_namespace} lets {from} of namespace {from_namespace} refer to {to} \
             {to_name}; add one, or move the {to}"
        ),
    }
}
