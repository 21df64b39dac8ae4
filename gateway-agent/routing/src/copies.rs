//! What agents must be given of Secrets and bundles of trust anchors, which they may not read where they are.

use std::collections::BTreeMap;

use gateway_agent_api::{self as api, Kind, Object, ObjectMeta, ObjectRef};
use gateway_agent_tables::ObjectName;

use crate::backend_tls::Policy;
use crate::gateway::Gateway;
use crate::{Copies, Snapshot, tls};

/// What listeners show to clients and ask of them, and what Gateways show to backends.
pub(crate) fn of_gateways(gateways: &[Gateway<'_>], snapshot: &Snapshot) -> Copies {
    let mut copies = Copies::new();
    for gateway in gateways.iter().filter(|gateway| gateway.fault.is_none()) {
        for listener in gateway.listeners.iter().filter(|listener| listener.is_usable(snapshot)) {
            let Some(termination) = &listener.tls.termination else { continue };
            add(&secrets(&termination.certificates), &CERTIFICATE, &mut copies);
            add(&listener.tls.trust_sources, &[tls::BUNDLE], &mut copies);
        }
        let shown = gateway.client_certificate.iter().flatten().cloned();
        add(&secrets(&shown.collect::<Vec<_>>()), &CERTIFICATE, &mut copies);
    }
    copies
}

/// What a policy that is followed trusts.
pub(crate) fn of_policy(policy: &Policy, copies: &mut Copies) {
    add(&policy.trust_sources, &[tls::BUNDLE], copies);
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
