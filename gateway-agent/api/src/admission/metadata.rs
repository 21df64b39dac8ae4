//! Kubernetes' rules for names, namespaces and labels.

use serde_json::Value;

use super::finding::Review;
use crate::Kind;

/// RFC 1123 subdomain: the longest name that the API server stores.
const MAX_SUBDOMAIN: usize = 253;
/// RFC 1035 and 1123 label.
const MAX_LABEL: usize = 63;

/// Checks the metadata that the API server checks, and fills in the namespace.
pub(super) fn review(kind: Kind, document: &mut Value, review: &mut Review) {
    let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.retain(|_, field| !field.is_null());
    if let Some(name) = metadata.get("name").and_then(Value::as_str) {
        review_name(kind, name, review);
    }
    if kind.is_namespaced() {
        let namespace = metadata.entry("namespace").or_insert_with(|| "default".into());
        if namespace.as_str().is_some_and(str::is_empty) {
            *namespace = "default".into();
        }
        if let Some(namespace) = namespace.as_str()
            && !is_label(namespace)
        {
            review.error("metadata.namespace", format!("{namespace:?} is no DNS-1123 label"), LABEL_FIX);
        }
    } else if let Some(namespace) = metadata.remove("namespace").filter(|namespace| namespace != "") {
        let cause = format!("{kind} is cluster-scoped but names the namespace {namespace}");
        review.error("metadata.namespace", cause, "remove the namespace");
    }
}

const LABEL_FIX: &str =
    "use at most 63 lower-case letters, digits and '-', with a letter or digit at both ends";
const SUBDOMAIN_FIX: &str = "use at most 253 lower-case letters, digits, '-' and '.', with a letter or digit at both ends of each part";
const BUNDLE_FIX: &str = "use a DNS-1123 subdomain, or SIGNER:NAME with ':' for the signer's '/'";

fn review_name(kind: Kind, name: &str, review: &mut Review) {
    let (fits, rule, fix) = match kind {
        // The API server demands a DNS-1035 label, which starts with a letter.
        Kind::Service => (
            is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase()),
            "DNS-1035 label",
            "use at most 63 lower-case letters, digits and '-', a letter first and no '-' at the end",
        ),
        Kind::Namespace => (is_label(name), "DNS-1123 label", LABEL_FIX),
        // The name of a bundle for a signer begins with the signer's, '/' and its end written as ':'.
        Kind::ClusterTrustBundle => {
            let (signer, own) = name.rsplit_once(':').unwrap_or(("", name));
            let fits =
                signer.split(':').all(|part| part.is_empty() || is_subdomain(part)) && is_subdomain(own);
            (name.len() <= MAX_SUBDOMAIN && fits, "name of a ClusterTrustBundle", BUNDLE_FIX)
        }
        _ => (is_subdomain(name), "DNS-1123 subdomain", SUBDOMAIN_FIX),
    };
    if !fits {
        review.error("metadata.name", format!("{name:?} is no {rule}"), fix);
    }
}

fn is_subdomain(name: &str) -> bool {
    // The parts of a subdomain have no limit of their own in Kubernetes.
    name.len() <= MAX_SUBDOMAIN && name.split('.').all(is_label_text)
}

fn is_label(name: &str) -> bool {
    name.len() <= MAX_LABEL && is_label_text(name)
}

fn is_label_text(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text.chars().all(|c| alphanumeric(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let cases = [
            (Kind::Gateway, "a", true),
            (Kind::Gateway, "a.b-c.9", true),
            (Kind::Gateway, "A", false),
            (Kind::Gateway, "a..b", false),
            (Kind::Gateway, "-a", false),
            (Kind::Gateway, "a-", false),
            (Kind::Gateway, "a_b", false),
            (Kind::Gateway, &"a".repeat(253), true),
            (Kind::Gateway, &"a".repeat(254), false),
            (Kind::Service, "9a", false),
            (Kind::Service, "a.b", false),
            (Kind::Service, &"a".repeat(63), true),
            (Kind::Service, &"a".repeat(64), false),
            (Kind::Namespace, "9a", true),
            (Kind::Namespace, "a.b", false),
            (Kind::ClusterTrustBundle, "a.b", true),
            (Kind::ClusterTrustBundle, "example.com:signer:a", true),
            (Kind::ClusterTrustBundle, "example.com:", false),
        ];
        for (kind, name, fits) in cases {
            let mut review = Review::default();
            review_name(kind, name, &mut review);
            assert_eq!(review.errors.is_empty(), fits, "{kind} {name}: {:?}", review.errors);
        }
    }
}
