//! TLS: which certificate and which route a client gets by the name in its ClientHello.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;

use crate::host::HostPattern;
use crate::l4::{FrontendKey, ListenerName, ObjectName, Split};

/// Everything that the data planes need for listeners of protocols TLS and HTTPS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsTables {
    /// What clients connect to.
    pub frontends: BTreeMap<FrontendKey, TlsFrontend>,
    /// Certificates by the name of their Secret; all that listeners and Gateways name.
    pub certificates: BTreeMap<ObjectName, Certificate>,
    /// Services to which connections are encrypted, by name and the Service's own port.
    pub backends: BTreeMap<(ObjectName, NonZeroU16), BackendTls>,
}

/// The listeners of one address and port, told apart by the name in the ClientHello.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFrontend {
    pub listeners: BTreeMap<HostPattern, TlsListener>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsListener {
    pub name: ListenerName,
    pub service: TlsService,
    /// The certificate that the gateway shows to backends that ask for one.
    pub client_certificate: Option<ObjectName>,
}

/// What happens to a connection whose name a listener is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsService {
    /// It goes on as it is.
    Passthrough(SniRoutes),
    /// It is decrypted, and what it carries goes on.
    Terminate(Termination, SniRoutes),
    /// It is decrypted, and the HTTP tables have the rest.
    Https(Termination),
}

/// How connections of a listener are decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// Names in [`TlsTables::certificates`], at least one; the one with the longest name that matches is shown, among
    /// equals and when none matches the first.
    pub certificates: Vec<ObjectName>,
    /// None: clients aren't asked for certificates.
    pub clients: Option<ClientValidation>,
}

/// How clients' certificates are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientValidation {
    pub roots: Vec<Der>,
    /// Clients without a valid certificate are served too.
    pub insecure_fallback: bool,
}

/// The routes of a listener, by host name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SniRoutes(pub BTreeMap<HostPattern, Split>);

/// A certificate that the gateway shows, with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The gateway's own first, then those of its issuers.
    pub chain: Vec<Der>,
    pub key: PrivateKey,
    /// DNS names that it is for.
    pub names: Vec<HostPattern>,
}

/// A certificate in DER (X.690).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Der(pub Box<[u8]>);

/// A private key in DER: PKCS #8 (RFC 5958), PKCS #1 (RFC 8017) or SEC 1 (RFC 5915).
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    pub form: KeyForm,
    pub der: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    Pkcs1,
    Pkcs8,
    Sec1,
}

/// How the gateway speaks TLS to a Service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTls {
    /// Sent in the ClientHello (RFC 6066), and what the certificate must be for unless `names` says otherwise.
    pub server_name: String,
    /// If there are any, the certificate must be for one of these instead.
    pub names: Vec<SubjectName>,
    pub roots: Roots,
}

/// A name in a certificate (RFC 5280, 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectName {
    Dns(HostPattern),
    Uri(String),
}

/// Whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those that the system trusts.
    System,
    Bundle(Vec<Der>),
}

impl TlsFrontend {
    /// The listener for the name in a ClientHello, in lower case: the most specific one that is for it.
    pub fn listener(&self, name: Option<&str>) -> Option<&TlsListener> {
        most_specific(&self.listeners, name)
    }
}

impl SniRoutes {
    /// The backends for the name in a ClientHello, in lower case; None: the connection is refused.
    pub fn split(&self, name: Option<&str>) -> Option<&Split> {
        most_specific(&self.0, name)
    }
}

/// A client that sends no name gets what is for every name.
fn most_specific<'a, T>(patterns: &'a BTreeMap<HostPattern, T>, name: Option<&str>) -> Option<&'a T> {
    let exact = name.and_then(|name| patterns.get(&HostPattern::Exact(name.into())));
    exact.or_else(|| below(patterns, name?)).or_else(|| patterns.get(&HostPattern::Any))
}

/// Wildcards from the longest to the shortest.
fn below<'a, T>(patterns: &'a BTreeMap<HostPattern, T>, name: &str) -> Option<&'a T> {
    let mut suffixes = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
    suffixes.find_map(|suffix| patterns.get(&HostPattern::Below(suffix.into())))
}

/// Certificates are long, so only their length is shown.
impl fmt::Debug for Der {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Der({} bytes)", self.0.len())
    }
}

/// The key itself is never shown.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?})", self.form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_name_wins() {
        let patterns: BTreeMap<_, _> = ["", "*.example.com", "*.b.example.com", "a.b.example.com"]
            .into_iter()
            .map(|text| (HostPattern::parse(text).expect("a hostname"), text))
            .collect();
        for (name, wanted) in [
            (Some("a.b.example.com"), "a.b.example.com"),
            (Some("c.b.example.com"), "*.b.example.com"),
            (Some("x.c.b.example.com"), "*.b.example.com"),
            (Some("b.example.com"), "*.example.com"),
            (Some("example.com"), ""),
            (Some("example.org"), ""),
            (None, ""),
        ] {
            assert_eq!(most_specific(&patterns, name), Some(&wanted), "{name:?}");
        }
    }

    #[test]
    fn without_a_pattern_for_every_name_strangers_get_nothing() {
        let patterns = BTreeMap::from([(HostPattern::parse("*.example.com").expect("a hostname"), "one")]);
        for name in [None, Some("example.com"), Some("example.org"), Some("")] {
            assert_eq!(most_specific(&patterns, name), None, "{name:?}");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let key = PrivateKey { form: KeyForm::Pkcs8, der: [0x5e; 4].into() };
        assert_eq!(format!("{key:?}"), "PrivateKey(Pkcs8)");
    }
}
