//! Secrets of gateway-agent's own namespace that are there for agents: copies of what they may not read where it is,
//! and the key by which they know each other. How these are written and read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gateway_agent_api::{ClusterTrustBundle, ConfigMap, Kind, Object, ObjectMeta, ObjectRef, Secret};
use k8s_openapi::ByteString;
use sha2::{Digest as _, Sha256};

/// The type of these Secrets, which can't be changed once a Secret is there: whatever has another is none of ours.
pub const TYPE: &str = "gateway-agent.io/for-agents";

/// Selects them in a list or watch.
pub const SELECTOR: &str = "type=gateway-agent.io/for-agents";

/// The Secret by whose key agents authenticate what they tell each other, the entry that holds the key, and its length.
pub const PEERS: &str = "gateway-agent-peers";
pub const PEERS_ENTRY: &str = "key";
pub const PEERS_KEY_LENGTH: usize = 32;

/// Where a copy says what it is a copy of: names have up to 253 characters, labels only 63.
const ORIGIN: [&str; 3] =
    ["gateway-agent.io/origin-kind", "gateway-agent.io/origin-namespace", "gateway-agent.io/origin-name"];

/// The entry that stands for spec.trustBundle.
const BUNDLE: &str = "ca.crt";

/// A Secret of this type that isn't what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    #[error("its annotations gateway-agent.io/origin-* don't say what it is a copy of; delete it")]
    NoOrigin,
    #[error("it says that it is a copy of {origin}, whose copy would be named {name}; delete it")]
    WrongName { origin: ObjectRef, name: String },
}

/// The name of an object's copy: nothing else has it, however long the object's own name is.
pub fn name(origin: &ObjectRef) -> String {
    let namespace = origin.namespace.as_deref().unwrap_or_default();
    // No part holds a zero byte, so that no two objects have the same text.
    let digest = Sha256::digest([origin.kind.name(), namespace, &origin.name].join("\0"));
    let mut name = "copy-".to_owned();
    for byte in digest {
        // A String takes every write.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// A Secret, `ConfigMap` or `ClusterTrustBundle` as a Secret for agents. None: it is none of these.
pub fn encode(object: &Object) -> Option<Secret> {
    let bytes = |text: &String| ByteString(text.clone().into_bytes());
    let data = match object {
        Object::Secret(secret) => secret.data.clone().unwrap_or_default(),
        Object::ConfigMap(map) => {
            let texts = map.data.iter().flatten().map(|(entry, text)| (entry.clone(), bytes(text)));
            texts.chain(map.binary_data.clone().unwrap_or_default()).collect()
        }
        Object::ClusterTrustBundle(bundle) => {
            BTreeMap::from([(BUNDLE.to_owned(), bytes(&bundle.spec.trust_bundle))])
        }
        _ => return None,
    };
    let origin = object.object_ref();
    let parts =
        [origin.kind.name().to_owned(), origin.namespace.clone().unwrap_or_default(), origin.name.clone()];
    let annotations = ORIGIN.map(str::to_owned).into_iter().zip(parts).collect();
    Some(for_agents(name(&origin), annotations, data))
}

/// The Secret that holds agents' key.
pub fn peers(key: [u8; PEERS_KEY_LENGTH]) -> Secret {
    let data = BTreeMap::from([(PEERS_ENTRY.to_owned(), ByteString(key.into()))]);
    for_agents(PEERS.to_owned(), BTreeMap::new(), data)
}

/// The key in the Secret [`PEERS`]; None: there is none of the right length.
pub fn peers_key(secret: &Secret) -> Option<[u8; PEERS_KEY_LENGTH]> {
    secret.data.as_ref()?.get(PEERS_ENTRY)?.0.as_slice().try_into().ok()
}

fn for_agents(
    name: String,
    annotations: BTreeMap<String, String>,
    data: BTreeMap<String, ByteString>,
) -> Secret {
    let labels = BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), "gateway-agent".to_owned())]);
    let metadata = ObjectMeta {
        name: Some(name),
        labels: Some(labels),
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        ..ObjectMeta::default()
    };
    Secret { metadata, type_: Some(TYPE.to_owned()), data: Some(data), ..Secret::default() }
}

/// The object that a copy stands for, as if it were the original.
pub fn decode(copy: Secret) -> Result<Object, CopyError> {
    let origin = origin(&copy.metadata).ok_or(CopyError::NoOrigin)?;
    let name = name(&origin);
    if copy.metadata.name.as_deref() != Some(name.as_str()) {
        return Err(CopyError::WrongName { origin, name });
    }
    let metadata =
        ObjectMeta { name: Some(origin.name), namespace: origin.namespace, ..ObjectMeta::default() };
    let mut data = copy.data.unwrap_or_default();
    Ok(match origin.kind {
        Kind::ConfigMap => ConfigMap { metadata, binary_data: Some(data), ..ConfigMap::default() }.into(),
        Kind::ClusterTrustBundle => {
            let mut bundle = ClusterTrustBundle { metadata, ..ClusterTrustBundle::default() };
            let text = data.remove(BUNDLE).unwrap_or_default().0;
            bundle.spec.trust_bundle = String::from_utf8_lossy(&text).into_owned();
            bundle.into()
        }
        _ => Secret { metadata, data: Some(data), ..Secret::default() }.into(),
    })
}

fn origin(metadata: &ObjectMeta) -> Option<ObjectRef> {
    let annotations = metadata.annotations.as_ref()?;
    let [kind, namespace, name] = ORIGIN.map(|key| annotations.get(key).map(String::as_str));
    let copied = [Kind::Secret, Kind::ConfigMap, Kind::ClusterTrustBundle];
    let kind = copied.into_iter().find(|known| Some(known.name()) == kind)?;
    Some(ObjectRef::new(kind, namespace?, name?))
}

/// Equal for Secrets that say the same to agents; tells nothing of what they hold.
pub fn fingerprint(secret: &Secret) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update(bytes.len().to_le_bytes());
        digest.update(bytes);
    };
    let annotations = secret.metadata.annotations.as_ref();
    for key in ORIGIN {
        part(annotations.and_then(|all| all.get(key)).map_or(&[][..], |text| text.as_bytes()));
    }
    for (entry, bytes) in secret.data.iter().flatten() {
        part(entry.as_bytes());
        part(&bytes.0);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn object(kind: Kind, json: serde_json::Value) -> Object {
        Object::decode(kind, json, &mut |_| ()).unwrap()
    }

    #[test]
    fn copies_are_read_as_if_they_were_the_originals() {
        let longest = "n".repeat(253);
        let cases = [
            object(
                Kind::Secret,
                json!({"metadata": {"name": longest, "namespace": "a"}, "data": {"tls.crt": "AAH/"}}),
            ),
            object(
                Kind::ConfigMap,
                json!({"metadata": {"name": "c", "namespace": "a"}, "binaryData": {"ca.crt": "AAH/"}}),
            ),
            object(
                Kind::ClusterTrustBundle,
                json!({"metadata": {"name": "c"}, "spec": {"trustBundle": "PEM"}}),
            ),
        ];
        for original in cases {
            let copy = encode(&original).unwrap();
            assert_eq!(copy.type_.as_deref(), Some(TYPE));
            assert!(copy.metadata.name.as_ref().unwrap().len() <= 253);
            assert!(copy.metadata.labels.iter().flatten().all(|(_, label)| label.len() <= 63));
            assert_eq!(decode(copy).unwrap(), original);
        }
        let text = object(
            Kind::ConfigMap,
            json!({"metadata": {"name": "c", "namespace": "a"}, "data": {"ca.crt": "x"}}),
        );
        let Object::ConfigMap(read) = decode(encode(&text).unwrap()).unwrap() else { panic!("no ConfigMap") };
        assert_eq!(read.binary_data.unwrap()["ca.crt"].0, b"x");
    }

    #[test]
    fn no_two_objects_have_a_copy_of_the_same_name() {
        let names = [
            (Kind::Secret, "a", "b-c"),
            (Kind::Secret, "a-b", "c"),
            (Kind::ConfigMap, "a", "b-c"),
            (Kind::ClusterTrustBundle, "", "a.b-c"),
            (Kind::Secret, "a", "b-C"),
        ];
        let copies: BTreeSet<_> =
            names.iter().map(|(kind, namespace, of)| name(&ObjectRef::new(*kind, namespace, of))).collect();
        assert_eq!(copies.len(), names.len());
    }

    #[test]
    fn a_copy_that_says_it_is_of_something_else_is_none() {
        let original = json!({"metadata": {"name": "s", "namespace": "a"}, "data": {"tls.crt": "AAH/"}});
        let copy = encode(&object(Kind::Secret, original)).unwrap();
        let mut forged = copy.clone();
        forged.metadata.annotations.as_mut().unwrap().insert(ORIGIN[1].to_owned(), "b".to_owned());
        assert!(matches!(decode(forged.clone()), Err(CopyError::WrongName { .. })));
        assert_ne!(fingerprint(&forged), fingerprint(&copy));
        let mut other = copy.clone();
        other.data.as_mut().unwrap().insert("tls.key".to_owned(), ByteString(vec![1]));
        assert_ne!(fingerprint(&other), fingerprint(&copy));
        forged.metadata.annotations = None;
        assert_eq!(decode(forged), Err(CopyError::NoOrigin));
    }

    #[test]
    fn keys_have_their_length() {
        assert_eq!(peers_key(&peers([7; 32])), Some([7; 32]));
        let mut short = peers([7; 32]);
        short.data.as_mut().unwrap().insert(PEERS_ENTRY.to_owned(), ByteString(vec![7; 16]));
        assert_eq!(peers_key(&short), None);
        assert_eq!(peers_key(&Secret::default()), None);
    }
}
