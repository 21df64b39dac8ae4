//! What the rules of HTTPRoutes and GRPCRoutes match.

use serde::{Deserialize, Serialize};

use super::{FieldName, FieldValue, MethodName, Path, Pattern};

/// All conditions of one match of an HTTPRoute's rule; a request must meet each of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpMatch {
    pub path: PathMatch,
    /// None: any method.
    pub method: Option<MethodName>,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathMatch {
    Exact(Path),
    /// The whole path.
    Pattern(Pattern),
    /// This path and every path below it; a slash at its end counts for nothing.
    Prefix(Path),
}

/// A header with this value. Lines of the same name count as one value, joined by `, ` (RFC 9110, 5.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderMatch {
    pub name: FieldName,
    pub value: ValueMatch<FieldValue>,
}

/// A query parameter with this value, both compared after decoding (application/x-www-form-urlencoded, as backends
/// read them). Of parameters of the same name the first counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryMatch {
    pub name: String,
    pub value: ValueMatch<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueMatch<T> {
    Exact(T),
    /// The whole value.
    Pattern(Pattern),
}

/// All conditions of one match of a GRPCRoute's rule; a request must meet each of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcMatch {
    pub service: GrpcNameMatch,
    pub method: GrpcNameMatch,
    pub headers: Vec<HeaderMatch>,
}

/// What the service or the method of a gRPC request must be; its path is `/service/method`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GrpcNameMatch {
    Any,
    Exact(GrpcName),
    /// The whole name.
    Pattern(Pattern),
}

/// The name of a gRPC service or method: not empty, without slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GrpcName(Box<str>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a gRPC service or method; remove slashes")]
pub struct InvalidGrpcName(String);

impl HttpMatch {
    /// Every request: what a rule without matches means.
    pub fn any() -> Self {
        Self { path: PathMatch::Prefix(Path::root()), method: None, headers: Vec::new(), query: Vec::new() }
    }
}

impl GrpcMatch {
    /// Every gRPC request: what a rule without matches means.
    pub fn any() -> Self {
        Self { service: GrpcNameMatch::Any, method: GrpcNameMatch::Any, headers: Vec::new() }
    }
}

impl GrpcName {
    pub fn parse(text: &str) -> Result<Self, InvalidGrpcName> {
        if text.is_empty() || text.contains('/') {
            return Err(InvalidGrpcName(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for GrpcName {
    type Error = InvalidGrpcName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<GrpcName> for String {
    fn from(name: GrpcName) -> Self {
        name.0.into()
    }
}
