//! Names of listeners and rules, for people and counters.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ListenerName, ObjectName};

/// A listener of a Gateway. Names are unique in the object that holds the listener, so two of a Gateway's may be the
/// same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HttpListenerName {
    pub name: ListenerName,
    /// The ListenerSet that it is written in; None: the Gateway itself.
    pub set: Option<ObjectName>,
}

/// A rule of an HTTPRoute or GRPCRoute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HttpRuleName {
    pub kind: HttpRouteKind,
    pub route: ObjectName,
    /// Index in spec.rules.
    pub rule: u16,
    /// As the route has it.
    pub name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HttpRouteKind {
    Http,
    Grpc,
}

/// `infra/edge/web`, and ` of ListenerSet shop/more` where it isn't the Gateway's own.
impl fmt::Display for HttpListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.set {
            Some(set) => write!(f, "{} of ListenerSet {set}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl fmt::Display for HttpRouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
        })
    }
}

/// `HTTPRoute shop/web rule 0 (checkout)`
impl fmt::Display for HttpRuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} rule {}", self.kind, self.route, self.rule)?;
        match &self.name {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}
