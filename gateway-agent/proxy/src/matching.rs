//! What matches of routes are compared with.

use std::borrow::Cow;

use gateway_agent_tables::http::{ListenerMatcher, RequestFields, RequestHead as Matched, RequestHost};
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderName, Method};

use crate::filter::{Forwarded, asked_method, cors};
use crate::h1::{Fields, RequestHead};

/// The fields of a request as a match sees them: those that endpoints get, and the three that the head holds apart.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'h, 'a> {
    host: &'a str,
    upgrade: Option<&'a [u8]>,
    fields: &'h Fields<'a>,
}

impl<'h, 'a> Seen<'h, 'a> {
    pub fn of(head: &'h RequestHead<'a>) -> Self {
        Self { host: head.host, upgrade: head.upgrade, fields: &head.fields }
    }
}

impl RequestFields for Seen<'_, '_> {
    fn values<'v>(&'v self, name: &'v HeaderName) -> impl Iterator<Item = &'v [u8]> {
        let apart = match *name {
            HOST => Some(self.host.as_bytes()).filter(|host| !host.is_empty()),
            UPGRADE => self.upgrade,
            // Some clients name more options than this one.
            CONNECTION => self.upgrade.map(|_| &b"Upgrade"[..]),
            _ => None,
        };
        apart.into_iter().chain(self.fields.values(name))
    }
}

/// What takes the place of all that a client says of those before it, for matches as for endpoints.
pub fn forwarded<'a>(listener: &ListenerMatcher, head: &RequestHead<'a>, client: &'a str) -> Forwarded<'a> {
    let trusted_hops = listener.settings.trusted_hops;
    Forwarded { client, scheme: listener.scheme, host: head.host, trusted_hops }
}

/// The method that a request's matches want. A browser's preflight asks for a request to come: it is for the rule of that
/// request, if that rule knows of other origins (GEP-1767: nothing else may answer it there).
pub fn method<'h>(
    listener: &ListenerMatcher,
    head: &'h RequestHead<'_>,
    host: &RequestHost<'_>,
    path: &str,
) -> Cow<'h, Method> {
    let seen = Seen::of(head);
    let answers = |method: &Method| {
        let matched = Matched::new(host, method, path, &seen).with_query(head.target.query);
        listener.pick(&matched).is_some_and(|rule| cors(rule, None).is_some())
    };
    let asked = asked_method(&head.method, &head.fields).filter(answers);
    asked.map_or(Cow::Borrowed(&head.method), Cow::Owned)
}
