//! Certificates in Secrets: what the gateway shows, and what is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_agent_api::Secret;
use gateway_agent_tables::{Certificate, Der, HostPattern, ObjectName};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_PKIX_AUTHORITY_INFO_ACCESS;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

use super::key;
use crate::{Minutes, Snapshot};

/// The keys of a Secret of type kubernetes.io/tls, and where cert-manager puts the issuer.
pub(crate) const CHAIN: &str = "tls.crt";
pub(crate) const KEY: &str = "tls.key";
const ISSUER: &str = "ca.crt";

/// The certificates of the Secrets that were asked for, each read once.
#[derive(Debug)]
pub(crate) struct Certificates<'a> {
    snapshot: &'a Snapshot,
    read: BTreeMap<ObjectName, Result<Arc<Loaded>, String>>,
}

/// A certificate, and what of it people should mend although it can be used.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) certificate: Certificate,
    /// Reason and message.
    pub(crate) flaws: Vec<(&'static str, String)>,
    /// When its validity changes next.
    pub(crate) recheck_at: Option<Minutes>,
}

impl<'a> Certificates<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, read: BTreeMap::new() }
    }

    /// The certificate in a Secret, or why there is none.
    pub(crate) fn load(&mut self, name: &ObjectName) -> Result<Arc<Loaded>, String> {
        // Also whoever comes after the first has looked at the Secret.
        let secret = self.snapshot.named::<Secret>(&name.namespace, &name.name);
        if let Some(read) = self.read.get(name) {
            return read.clone();
        }
        let loaded = load(name, secret, self.snapshot.now).map(Arc::new);
        self.read.insert(name.clone(), loaded.clone());
        loaded
    }
}

fn load(name: &ObjectName, secret: Option<&Secret>, now: Option<Minutes>) -> Result<Loaded, String> {
    let secret =
        secret.ok_or_else(|| format!("Secret {name} does not exist; create it, or correct the reference"))?;
    let chain = entry(secret, CHAIN).ok_or_else(|| {
        format!("Secret {name} has no {CHAIN}; put the certificate there, followed by those of its issuers")
    })?;
    let ders = pem_certificates(chain).map_err(|cause| format!("{CHAIN} of Secret {name} {cause}"))?;
    let parsed = parse(&ders).map_err(|cause| format!("{CHAIN} of Secret {name} {cause}"))?;
    let leaf = &parsed[0];
    let key = entry(secret, KEY)
        .ok_or_else(|| format!("Secret {name} has no {KEY}; put the certificate's private key there"))?;
    let key = key::read(key).ok_or_else(|| {
        format!("{KEY} of Secret {name} holds no private key in PEM; replace it by that of the certificate")
    })?;
    if key::belongs(&key, leaf.public_key()) == Some(false) {
        return Err(format!(
            "{KEY} of Secret {name} is not the key of the certificate in {CHAIN}; put both from the same issuance there"
        ));
    }
    let names = dns_names(leaf);
    let mut flaws = Vec::new();
    flaws.extend(incomplete(name, &parsed, entry(secret, ISSUER)));
    flaws.extend(now.and_then(|now| untimely(name, leaf, now)));
    let recheck_at = now.and_then(|now| next_change(leaf, now));
    drop(parsed);
    Ok(Loaded { certificate: Certificate { chain: ders, key, names }, flaws, recheck_at })
}

/// An entry of a Secret; in files `stringData` stands for what the API server would have put into `data`.
pub(super) fn entry<'s>(secret: &'s Secret, key: &str) -> Option<&'s [u8]> {
    let text = secret.string_data.as_ref().and_then(|entries| entries.get(key)).map(String::as_bytes);
    text.or_else(|| secret.data.as_ref()?.get(key).map(|bytes| &bytes.0[..])).filter(|it| !it.is_empty())
}

/// The certificates of a PEM text, at least one.
pub(super) fn pem_certificates(text: &[u8]) -> Result<Vec<Der>, &'static str> {
    let mut ders = Vec::new();
    for block in Pem::iter_from_buffer(text) {
        let block = block.map_err(|_| "is not valid PEM; replace it")?;
        if block.label == "CERTIFICATE" {
            ders.push(Der(block.contents.into()));
        }
    }
    if ders.is_empty() { Err("holds no certificate in PEM; replace it") } else { Ok(ders) }
}

pub(super) fn parse(ders: &[Der]) -> Result<Vec<X509Certificate<'_>>, &'static str> {
    let parsed: Result<Vec<_>, _> =
        ders.iter().map(|der| X509Certificate::from_der(&der.0).map(|(_, parsed)| parsed)).collect();
    parsed.map_err(|_| "holds something that is no X.509 certificate; replace it")
}

/// The DNS names in the certificate's subjectAltName; the subject's common name counts no more (RFC 9525).
fn dns_names(certificate: &X509Certificate<'_>) -> Vec<HostPattern> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.into_iter().flat_map(|names| &names.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => HostPattern::parse(name).filter(|it| *it != HostPattern::Any),
            _ => None,
        })
        .collect()
}

/// Clients know roots only: whoever stands between must be in the chain.
fn incomplete(
    name: &ObjectName,
    chain: &[X509Certificate<'_>],
    issuer: Option<&[u8]>,
) -> Option<(&'static str, String)> {
    let missing = |of: &X509Certificate<'_>| {
        let message = format!(
            "{CHAIN} of Secret {name} lacks the certificate of {}, the issuer of {}; append it, else most clients will \
             not trust the chain",
            of.issuer(),
            of.subject()
        );
        Some(("IncompleteCertificateChain", message))
    };
    let mut pairs = chain.iter().zip(chain.iter().skip(1));
    if let Some((one, _)) = pairs.find(|(one, next)| one.issuer() != next.subject()) {
        return missing(one);
    }
    let last = chain.last()?;
    if last.issuer() == last.subject() {
        return None;
    }
    let known = issuer.and_then(|text| pem_certificates(text).ok()).is_some_and(|ders| {
        parse(&ders).is_ok_and(|known| {
            known.iter().any(|it| it.subject() == last.issuer() && it.issuer() == it.subject())
        })
    });
    // Issuers that say where to fetch their own certificate (RFC 5280, 4.2.2.1) are seldom roots.
    let fetchable = last.extensions().iter().any(|it| {
        it.oid == OID_PKIX_AUTHORITY_INFO_ACCESS
            && matches!(it.parsed_extension(), ParsedExtension::AuthorityInfoAccess(_))
    });
    if known || !fetchable || last.is_ca() { None } else { missing(last) }
}

fn untimely(name: &ObjectName, leaf: &X509Certificate<'_>, now: Minutes) -> Option<(&'static str, String)> {
    let now = seconds(now);
    let validity = leaf.validity();
    if now > validity.not_after.timestamp() {
        let message = format!("the certificate in Secret {name} expired at {}; renew it", validity.not_after);
        Some(("CertificateExpired", message))
    } else if now < validity.not_before.timestamp() {
        let message = format!(
            "the certificate in Secret {name} is not valid before {}; check the issuer's clock, or wait",
            validity.not_before
        );
        Some(("CertificateNotYetValid", message))
    } else {
        None
    }
}

/// The first whole minute at which [`untimely`] says something else.
fn next_change(leaf: &X509Certificate<'_>, now: Minutes) -> Option<Minutes> {
    let starts = leaf.validity().not_before.timestamp();
    let ended = leaf.validity().not_after.timestamp().checked_add(1)?;
    let minutes = [starts, ended].map(|second| u64::try_from(second).ok().map(|it| Minutes(it.div_ceil(60))));
    minutes.into_iter().flatten().filter(|minute| *minute > now).min()
}

fn seconds(minutes: Minutes) -> i64 {
    i64::try_from(minutes.0.saturating_mul(60)).unwrap_or(i64::MAX)
}
