//! What an endpoint is told of the client: X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host.

use gateway_agent_tables::http::Scheme;

use crate::h1::Fields;

const FOR: &str = "X-Forwarded-For";
const PROTO: &str = "X-Forwarded-Proto";
const HOST: &str = "X-Forwarded-Host";

/// The client of one request.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded<'a> {
    /// The address that it came from, as text.
    pub client: &'a str,
    pub scheme: Scheme,
    /// As the client named it.
    pub host: &'a str,
}

impl<'a> Forwarded<'a> {
    /// The list of addresses with this client at its end; None: the client named no others. What stands before is what
    /// the client says, and worth no more than it.
    pub fn list(&self, fields: &Fields<'_>) -> Option<Vec<u8>> {
        let mut named = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(FOR)).peekable();
        named.peek()?;
        let mut list = Vec::new();
        for field in named {
            list.extend_from_slice(field.value);
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(self.client.as_bytes());
        Some(list)
    }

    /// Replaces the fields; `list` is what [`Forwarded::list`] gave.
    pub fn apply(&self, fields: &mut Fields<'a>, list: Option<&'a [u8]>) {
        for name in [FOR, PROTO, HOST] {
            fields.remove(name);
        }
        fields.push(FOR, list.unwrap_or(self.client.as_bytes()));
        fields.push(
            PROTO,
            match self.scheme {
                Scheme::Http => b"http",
                Scheme::Https => b"https",
            },
        );
        if !self.host.is_empty() {
            fields.push(HOST, self.host.as_bytes());
        }
    }
}
