//! What an endpoint is told of the client: X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host.
//!
//! Anybody can send these fields. What counts is what this proxy sees of the connection, and what trusted proxies in
//! front of it have said; all else is the client's own word, and goes no further.

use gateway_agent_tables::http::Scheme;

use crate::h1::Fields;

const FOR: &str = "X-Forwarded-For";
const PROTO: &str = "X-Forwarded-Proto";
const HOST: &str = "X-Forwarded-Host";

/// Fields beside those of `X-Forwarded-` that endpoints take for the word of a proxy.
const OTHERS: [&str; 2] = ["Forwarded", "X-Real-IP"];

const FAMILY: &str = "X-Forwarded-";

/// The client of one request.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded<'a> {
    /// The address that it came from, as text.
    pub client: &'a str,
    pub scheme: Scheme,
    /// As the client named it.
    pub host: &'a str,
    /// Proxies in front of this one that are trusted: the client's address is that of the last of them.
    pub trusted_hops: u8,
}

impl<'a> Forwarded<'a> {
    /// The addresses that trusted proxies have named, with the last of these proxies at the end; None: there is only the
    /// client.
    pub fn list(&self, fields: &Fields<'_>) -> Option<Vec<u8>> {
        if self.trusted_hops == 0 {
            return None;
        }
        let lines = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(FOR));
        let named: Vec<_> = lines.flat_map(|field| field.value.split(|byte| *byte == b',')).collect();
        // Each has named the one before it: further ones are the first one's own word.
        let trusted = &named[named.len().saturating_sub(self.trusted_hops.into())..];
        let mut list = Vec::new();
        for address in trusted.iter().map(|address| address.trim_ascii()) {
            list.extend_from_slice(address);
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(self.client.as_bytes());
        Some(list)
    }

    /// Replaces the fields; `list` is what [`Forwarded::list`] gave.
    pub fn apply(&self, fields: &mut Fields<'a>, list: Option<&'a [u8]>) {
        let trusts = self.trusted_hops > 0;
        fields.remove(FOR);
        // No proxy writes an underscore.
        fields.retain(|name| !is_of_proxies(name) || (trusts && !name.contains('_')));
        fields.push(FOR, list.unwrap_or(self.client.as_bytes()));
        if fields.first(PROTO).is_none() {
            fields.push(
                PROTO,
                match self.scheme {
                    Scheme::Http => b"http",
                    Scheme::Https => b"https",
                },
            );
        }
        if fields.first(HOST).is_none() && !self.host.is_empty() {
            fields.push(HOST, self.host.as_bytes());
        }
    }
}

/// Servers that hand fields on as variables (CGI: RFC 3875, 4.1.18) take `_` for `-`.
fn is_of_proxies(name: &str) -> bool {
    let is = |wanted: &str, name: &str| {
        let same = |(one, other): (u8, u8)| one.eq_ignore_ascii_case(&other) || (one, other) == (b'-', b'_');
        wanted.len() == name.len() && wanted.bytes().zip(name.bytes()).all(same)
    };
    name.get(..FAMILY.len()).is_some_and(|start| is(FAMILY, start))
        || OTHERS.iter().any(|other| is(other, name))
}
