//! Sessions (GEP-1619): requests of one client go to one endpoint of a rule.
//!
//! Nothing is remembered here. A client carries a token that names the endpoint; any proxy of any node can read it, as
//! the rule's key is the same everywhere. It is sealed, so that clients neither learn nor choose addresses, and a rule
//! takes no token of another one.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_agent_tables::http::{
    CookieLifetime, HttpService, Scheme, SessionKey, SessionPersistence, SessionToken,
};

use crate::h1::Fields;
use crate::upstream::Endpoint;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub endpoint: SocketAddr,
    /// Which of the rule's backends the endpoint was picked for: a hash of its Service and port.
    pub backend: u32,
    /// Seconds since the Unix epoch.
    pub begun: u64,
}

/// The session that a request belongs to.
#[derive(Debug)]
pub(crate) struct Session {
    /// The endpoint that it is with; None: it is a new one.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// Where it is at other backends of the rule, whose turn it may be next.
    pub(crate) others: Vec<Token>,
    pub(crate) service: HttpService,
    pub(crate) scheme: Scheme,
}

/// What stands between tokens: no character of theirs, and one that cookies may have (RFC 6265, 4.1.1).
const BETWEEN: u8 = b'.';

/// IPv6 (or IPv4-mapped) address, port, backend and time.
const PLAIN: usize = 16 + 2 + 4 + 8;

impl Token {
    /// As clients carry it: 62 letters, digits, `-` and `_`.
    pub fn seal(self, key: &SessionKey) -> String {
        let mut bytes = Vec::with_capacity(PLAIN + AES_256_GCM_SIV.tag_len());
        let address = match self.endpoint.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        bytes.extend_from_slice(&address.octets());
        bytes.extend_from_slice(&self.endpoint.port().to_be_bytes());
        bytes.extend_from_slice(&self.backend.to_be_bytes());
        bytes.extend_from_slice(&self.begun.to_be_bytes());
        let sealed = cipher(key).seal_in_place_append_tag(nonce(), Aad::empty(), &mut bytes);
        sealed.expect("a few bytes can be sealed");
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// None: it was not sealed with this key.
    pub fn open(text: &[u8], key: &SessionKey) -> Option<Self> {
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let plain = cipher(key).open_in_place(nonce(), Aad::empty(), &mut bytes).ok()?;
        let (address, rest) = plain.split_first_chunk::<16>()?;
        let (port, rest) = rest.split_first_chunk()?;
        let (backend, begun) = rest.split_first_chunk()?;
        let address = Ipv6Addr::from(*address).to_canonical();
        Some(Self {
            endpoint: SocketAddr::new(address, u16::from_be_bytes(*port)),
            backend: u32::from_be_bytes(*backend),
            begun: u64::from_be_bytes(begun.try_into().ok()?),
        })
    }
}

fn cipher(key: &SessionKey) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &key.0).expect("a key of 256 bits"))
}

/// Always the same, which this mode allows (RFC 8452, 1): equal tokens show that they say the same, and nothing else.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// The tokens that a request carries and that are still valid: one for each backend that it has met. A client may hold
/// several cookies of one name, too.
pub fn tokens(session: &SessionPersistence, fields: &Fields<'_>, now: u64) -> impl Iterator<Item = Token> {
    let texts: Vec<&[u8]> = match &session.token {
        SessionToken::Header(name) => values(fields, name.as_str()).collect(),
        SessionToken::Cookie { name, .. } => {
            values(fields, "cookie").flat_map(|line| cookies(line, name.as_bytes())).collect()
        }
    };
    let parts = texts.into_iter().flat_map(|text| text.split(|byte| *byte == BETWEEN));
    let opened = parts.filter_map(|text| Token::open(text, &session.key));
    opened.filter(move |token| {
        session.absolute_timeout.is_none_or(|limit| now < token.begun.saturating_add(limit.as_secs()))
    })
}

fn values<'a>(fields: &Fields<'a>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// The values of all cookies with this name in a Cookie field (RFC 6265, 4.2.1).
fn cookies<'a>(line: &'a [u8], name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.filter_map(move |pair| {
        let value = pair.strip_prefix(name)?.strip_prefix(b"=")?;
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some(unquoted.unwrap_or(value))
    })
}

/// Gives a client its token: replaces what the endpoint says in that field, or adds a cookie.
pub fn give<'a>(fields: &mut Fields<'a>, session: &'a SessionPersistence, value: &'a str) {
    match &session.token {
        SessionToken::Cookie { .. } => fields.push("Set-Cookie", value.as_bytes()),
        SessionToken::Header(name) => {
            fields.remove(name.as_str());
            fields.push(name.as_str(), value.as_bytes());
        }
    }
}

/// What [`give`] gives: the tokens themselves, or a cookie that scripts can't read and that other sites' pages don't send
/// (GEP-1619, "Cookie Attributes").
pub fn value(session: &SessionPersistence, tokens: &[Token], scheme: Scheme) -> String {
    let sealed: Vec<_> = tokens.iter().map(|token| token.seal(&session.key)).collect();
    let sealed = sealed.join(&*char::from(BETWEEN).to_string());
    let SessionToken::Cookie { name, path, lifetime } = &session.token else { return sealed };
    let lifetime = match lifetime {
        CookieLifetime::Session => String::new(),
        // 0 would end it at once.
        CookieLifetime::Permanent(lifetime) => format!("; Max-Age={}", lifetime.as_secs().max(1)),
    };
    // Browsers take no such cookie over plain HTTP.
    let secure = if scheme == Scheme::Https { "; Secure" } else { "" };
    format!("{name}={sealed}; Path={path}{lifetime}{secure}; HttpOnly; SameSite=Strict")
}

impl Session {
    /// What the client is to be given when this endpoint has answered; None: it has a token for it.
    pub(crate) fn value(&self, session: &SessionPersistence, answers: SocketAddr) -> Option<String> {
        if self.endpoint.as_ref().is_some_and(|known| known.address == answers) {
            return None;
        }
        let token = Token { endpoint: answers, backend: backend(&self.service), begun: now() };
        let tokens: Vec<_> = [token].into_iter().chain(self.others.iter().copied()).collect();
        Some(value(session, &tokens, self.scheme))
    }
}

/// A backend, the same in every process: FNV-1a, 32 bits.
pub(crate) fn backend(service: &HttpService) -> u32 {
    let HttpService { service, port } = service;
    let parts = [service.namespace.as_bytes(), b"/", service.name.as_bytes(), &port.get().to_be_bytes()];
    let bytes = parts.into_iter().flatten();
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(endpoint: &str) -> Token {
        Token { endpoint: endpoint.parse().expect("an address"), backend: 7, begun: 1_700_000_000 }
    }

    #[test]
    fn a_token_is_read_with_its_key_alone() {
        let (key, other) = (SessionKey([1; 32]), SessionKey([2; 32]));
        for endpoint in ["10.0.0.98:3000", "[fd00::1]:80"] {
            let sealed = token(endpoint).seal(&key);
            assert_eq!(sealed.len(), 62);
            assert_eq!(Token::open(sealed.as_bytes(), &key), Some(token(endpoint)));
            assert_eq!(sealed, token(endpoint).seal(&key), "the same on every node");
            assert_eq!(Token::open(sealed.as_bytes(), &other), None, "another rule's");
            let mut forged = sealed.into_bytes();
            forged[3] ^= 1;
            assert_eq!(Token::open(&forged, &key), None);
        }
        for text in ["", "a", "10.0.0.98:3000", &"A".repeat(62), &"A".repeat(9000)] {
            assert_eq!(Token::open(text.as_bytes(), &key), None, "{text}");
        }
    }

    #[test]
    fn every_cookie_of_the_name_counts() {
        let found: Vec<_> = cookies(b"a=1; ab=2;a=3 ; b=a=4; a=\"5\"; a", b"a").collect();
        assert_eq!(found, [&b"1"[..], b"3", b"5"]);
    }
}
