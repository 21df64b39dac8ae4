//! What agents must be given of Secrets and bundles of trust anchors, which they may not read where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_agent_api::{self as api, Kind, Object, ObjectMeta, ObjectRef};
use gateway_agent_tables::ObjectName;

use crate::backend_tls::Policy;
use crate::counted::Counted;
use crate::gateway::Gateway;
use crate::{Copies, Snapshot, tls};

/// Copies, by whom they are needed for.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    needs: BTreeMap<Arc<ObjectRef>, Copies>,
    counted: Counted<(ObjectRef, &'static str)>,
}

impl Copied {
    /// Replaces what an object needs; `changed` gets what is therefore to be copied otherwise.
    pub(crate) fn set(
        &mut self,
        object: &Arc<ObjectRef>,
        needs: Copies,
        all: &mut Copies,
        changed: &mut BTreeSet<ObjectRef>,
    ) {
        for (source, entry) in entries(&needs) {
            if self.counted.add(&(source.clone(), entry)) {
                all.entry(source.clone()).or_default().insert(entry);
                changed.insert(source.clone());
            }
        }
        let former = if needs.is_empty() {
            self.needs.remove(object)
        } else {
            self.needs.insert(Arc::clone(object), needs)
        };
        for (source, entry) in former.iter().flat_map(entries) {
            if self.counted.remove(&(source.clone(), entry)) {
                changed.insert(source.clone());
                let Some(kept) = all.get_mut(source) else { continue };
                kept.remove(entry);
                if kept.is_empty() {
                    all.remove(source);
                }
            }
        }
    }
}

fn entries(copies: &Copies) -> impl Iterator<Item = (&ObjectRef, &'static str)> {
    copies.iter().flat_map(|(source, entries)| entries.iter().map(move |entry| (source, *entry)))
}

/// What a Gateway's listeners show to clients and ask of them, and what it shows to backends.
pub(crate) fn of_gateway(gateway: &Gateway<'_>, snapshot: &Snapshot) -> Copies {
    let mut copies = Copies::new();
    if gateway.fault.is_some() {
        return copies;
    }
    for listener in gateway.listeners.iter().filter(|listener| listener.is_usable(snapshot)) {
        let Some(termination) = &listener.tls.termination else { continue };
        add(&secrets(&termination.certificates), &CERTIFICATE, &mut copies);
        add(&listener.tls.trust_sources, &[tls::BUNDLE], &mut copies);
    }
    let shown = gateway.client_certificate.iter().flatten().cloned();
    add(&secrets(&shown.collect::<Vec<_>>()), &CERTIFICATE, &mut copies);
    copies
}

/// What a policy that is followed trusts.
pub(crate) fn of_policy(policy: &Policy) -> Copies {
    let mut copies = Copies::new();
    add(&policy.trust_sources, &[tls::BUNDLE], &mut copies);
    copies
}

fn add(objects: &[ObjectRef], entries: &[&'static str], copies: &mut Copies) {
    for object in objects {
        copies.entry(object.clone()).or_default().extend(entries);
    }
}

const CERTIFICATE: [&str; 2] = [tls::CHAIN, tls::KEY];

fn secrets(names: &[ObjectName]) -> Vec<ObjectRef> {
    names.iter().map(|name| ObjectRef::new(Kind::Secret, &name.namespace, &name.name)).collect()
}

/// An object with these entries of its data and its name alone. None: it is of a kind that holds none.
pub fn copy<'e>(object: &Object, entries: impl IntoIterator<Item = &'e str>) -> Option<Object> {
    let metadata = ObjectMeta {
        name: object.metadata().name.clone(),
        namespace: object.metadata().namespace.clone(),
        ..ObjectMeta::default()
    };
    let entries: Vec<_> = entries.into_iter().collect();
    Some(match object {
        Object::Secret(secret) => {
            let mut copy = api::Secret { metadata, ..api::Secret::default() };
            copy.data = secret.data.as_ref().map(|data| keep(data, &entries));
            copy.string_data = secret.string_data.as_ref().map(|data| keep(data, &entries));
            copy.into()
        }
        Object::ConfigMap(map) => {
            let mut copy = api::ConfigMap { metadata, ..api::ConfigMap::default() };
            copy.data = map.data.as_ref().map(|data| keep(data, &entries));
            copy.binary_data = map.binary_data.as_ref().map(|data| keep(data, &entries));
            copy.into()
        }
        Object::ClusterTrustBundle(bundle) => {
            api::ClusterTrustBundle { metadata, spec: bundle.spec.clone() }.into()
        }
        _ => return None,
    })
}

fn keep<T: Clone>(data: &BTreeMap<String, T>, entries: &[&str]) -> BTreeMap<String, T> {
    let kept = data.iter().filter(|(key, _)| entries.contains(&key.as_str()));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}
