//! HTTP and gRPC: frontends, listeners, the routes of their host names, and the endpoints of Services.
//!
//! [`HttpTables`] is the contract with the proxy: plain values that can be compared and sent piece by piece.
//! [`HttpMatcher`] is compiled from it where requests are matched.

mod auth;
mod backend;
mod bytes;
mod cors;
mod field;
mod filter;
mod matcher;
mod matches;
mod name;
mod names;
mod normal;
mod path;
mod pattern;
mod policy;
mod precedence;
mod redirect;
mod settings;
mod telemetry;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{FrontendKey, HostPattern, ListenerName, ObjectName};

pub use auth::{AuthProtocol, ExternalAuth};
pub use backend::{
    BackendProtocol, HttpBackend, HttpEndpoints, HttpRefusal, HttpService, HttpSplit, HttpSplitError,
    HttpTarget, Upstream,
};
pub use bytes::ByteSet;
pub use cors::{AllowList, Cors, Origin, OriginError};
pub use field::{FieldName, FieldValue, InvalidField, MethodName};
pub use filter::{
    Filter, Fraction, FractionError, HeaderEdits, HeaderEditsError, Mirror, PathRewrite, UrlRewrite,
};
pub use matcher::{
    Considered, HttpMatcher, ListenerMatcher, RequestFields, RequestHead, RequestHost, Unmet, Wanted, explain,
};
pub use matches::{
    GrpcMatch, GrpcName, GrpcNameMatch, HeaderMatch, HttpMatch, InvalidGrpcName, PathMatch, QueryMatch,
    ValueMatch,
};
pub use name::{HttpRouteKind, HttpRuleName};
pub use names::Names;
pub use normal::{DoubledSlashes, EncodedSlashes, PathFault, PathRules};
pub use path::{Hostname, InvalidHostname, InvalidPath, Path};
pub use pattern::{Pattern, PatternError};
pub use policy::{
    CookieLifetime, Retry, RetryCode, RetryCodeError, SessionKey, SessionPersistence, SessionToken, Timeout,
    Timeouts,
};
pub use precedence::{AlphabeticalName, MatchPlace, MatchPrecedence, RouteAge};
pub use redirect::{Redirect, RedirectStatus, RequestUrl, Scheme};
pub use settings::{HttpLimits, HttpSettings};
pub use telemetry::HttpTelemetry;
pub use update::HttpUpdate;

/// Everything that the proxy needs to forward HTTP and gRPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpTables {
    /// What clients connect to.
    pub frontends: BTreeMap<FrontendKey, HttpFrontend>,
    pub listeners: BTreeMap<ListenerName, HttpListener>,
    /// The HTTPRoutes that any listener names.
    pub http_routes: BTreeMap<ObjectName, Arc<HttpRoute<HttpMatch>>>,
    /// The GRPCRoutes that any listener names.
    pub grpc_routes: BTreeMap<ObjectName, Arc<HttpRoute<GrpcMatch>>>,
    /// The endpoints, of both families, behind each Service port that a route names. A request for one without
    /// ready endpoints is answered with 503, or UNAVAILABLE to gRPC.
    pub services: BTreeMap<HttpService, HttpEndpoints>,
}

/// An address and port, shared by listeners that differ in their host names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpFrontend {
    /// A request belongs to the most specific listener for its host, and to no other: listeners are isolated.
    pub listeners: BTreeMap<HostPattern, ListenerName>,
}

impl HttpFrontend {
    /// Whether any of these is one of its listeners.
    pub fn is_of(&self, listeners: &BTreeSet<ListenerName>) -> bool {
        self.listeners.values().any(|name| listeners.contains(name))
    }
}

/// A listener of protocol HTTP or HTTPS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpListener {
    /// Of its clients' URLs.
    pub scheme: Scheme,
    /// As the Gateway has it: redirects are made from it.
    pub port: NonZeroU16,
    /// Of its Gateway.
    pub settings: HttpSettings,
    /// The routes of each host name, as the routes have it: more than the listener's own names may be among them.
    pub hosts: BTreeMap<HostPattern, HostRoutes>,
    pub telemetry: HttpTelemetry,
}

/// The routes of one host name. A request that none of them matches goes on to the next, less specific host name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoutes {
    pub http: Names,
    /// Tried first for gRPC requests, on all host names, and never for others.
    pub grpc: Names,
}

/// An HTTPRoute or GRPCRoute; `M` is what its rules match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRoute<M> {
    pub age: RouteAge,
    pub rules: Vec<HttpRouteRule<M>>,
}

/// What a rule matches, any one of `matches`, and what it then does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRouteRule<M> {
    pub matches: Vec<M>,
    /// Requests in flight keep it while tables change.
    pub rule: Arc<HttpRule>,
}

/// What is done with a request that met a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRule {
    pub name: HttpRuleName,
    /// In the order that the route has them.
    pub filters: Vec<Filter>,
    pub action: HttpAction,
    pub timeouts: Timeouts,
    /// None: a failed request is not tried again.
    pub retry: Option<Box<Retry>>,
    /// None: each request is given to any endpoint.
    pub session: Option<Box<SessionPersistence>>,
}

/// What becomes of a request after the rule's filters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpAction {
    Forward(HttpSplit),
    Redirect(Redirect),
    Refuse(HttpRefusal),
}
