//! Names of rules, for people and counters.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ObjectName;

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

impl HttpRuleName {
    /// As metrics and logs tell the rules of a route apart: by its name, or else by its index.
    pub fn label(&self) -> Cow<'_, str> {
        match &self.name {
            Some(name) => name.into(),
            None => self.rule.to_string().into(),
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
