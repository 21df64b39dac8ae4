//! All kinds of objects in one type, and how they are named.

use std::fmt;

use serde_json::Value;

use crate::{
    BackendTlsPolicy, ClusterTrustBundle, ConfigMap, EndpointSlice, Gateway, GatewayClass, GatewayConfig,
    GatewayNode, GrpcRoute, HttpRoute, ListenerSet, Namespace, Node, ObjectMeta, ReferenceGrant, Secret,
    Service, TcpRoute, TlsRoute, UdpRoute, XBackend, XBackendTrafficPolicy, XMesh, XTelemetryPolicy, older,
    own,
};

/// One kind's type: gives typed access to what [`Object`] holds.
pub trait Typed: Sized {
    const KIND: Kind;

    /// None: the object is of another kind.
    fn of(object: &Object) -> Option<&Self>;

    fn metadata(&self) -> &ObjectMeta;
}

/// What Kubernetes says about a kind.
struct Facts {
    name: &'static str,
    plural: &'static str,
    group: &'static str,
    /// Served versions that have the kind's type, the preferred one first.
    versions: &'static [&'static str],
    scope: Scope,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Namespaced,
    Cluster,
}

macro_rules! kinds {
    ($($variant:ident: $name:literal, $plural:literal, $group:expr, $versions:expr, $scope:expr;)+) => {
        /// The kinds that are read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($variant,)+
        }

        /// An object of any kind that is read.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Object {
            $($variant(Box<$variant>),)+
        }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            const fn facts(self) -> Facts {
                match self {
                    $(Self::$variant => Facts {
                        name: $name,
                        plural: $plural,
                        group: $group,
                        versions: $versions,
                        scope: $scope,
                    },)+
                }
            }
        }

        impl Object {
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::$variant,)+
                }
            }

            pub fn metadata(&self) -> &ObjectMeta {
                match self {
                    $(Self::$variant(object) => &object.metadata,)+
                }
            }

            /// As the API server would show it, with `apiVersion` and `kind`.
            pub fn to_json(&self) -> Result<Value, serde_json::Error> {
                match self {
                    $(Self::$variant(object) => serde_json::to_value(object),)+
                }
            }

            /// Decodes an object of this kind, of any version that is read, as an API server gives it or as admission
            /// left it. `unknown` is called with the path of each field that its type lacks; that is no error, nor are
            /// unknown values of enums.
            pub fn decode(
                kind: Kind,
                mut json: Value,
                unknown: &mut dyn FnMut(String),
            ) -> Result<Self, DecodeError> {
                older::rename(kind, &mut json);
                older::complete(kind, &mut json);
                match kind {
                    $(Kind::$variant => decode(json, unknown).map(Self::$variant),)+
                }
            }
        }

        $(
            impl Typed for $variant {
                const KIND: Kind = Kind::$variant;

                fn of(object: &Object) -> Option<&Self> {
                    match object {
                        Object::$variant(object) => Some(object),
                        _ => None,
                    }
                }

                fn metadata(&self) -> &ObjectMeta {
                    &self.metadata
                }
            }

            impl From<$variant> for Object {
                fn from(object: $variant) -> Self {
                    Self::$variant(Box::new(object))
                }
            }
        )+
    };
}

kinds! {
    GatewayClass: "GatewayClass", "gatewayclasses", GATEWAY, &["v1", "v1beta1"], Scope::Cluster;
    Gateway: "Gateway", "gateways", GATEWAY, &["v1", "v1beta1"], Scope::Namespaced;
    ListenerSet: "ListenerSet", "listenersets", GATEWAY, &["v1"], Scope::Namespaced;
    HttpRoute: "HTTPRoute", "httproutes", GATEWAY, &["v1", "v1beta1"], Scope::Namespaced;
    GrpcRoute: "GRPCRoute", "grpcroutes", GATEWAY, &["v1"], Scope::Namespaced;
    TlsRoute: "TLSRoute", "tlsroutes", GATEWAY, &["v1", "v1alpha3", "v1alpha2"], Scope::Namespaced;
    TcpRoute: "TCPRoute", "tcproutes", GATEWAY, &["v1", "v1alpha2"], Scope::Namespaced;
    UdpRoute: "UDPRoute", "udproutes", GATEWAY, &["v1", "v1alpha2"], Scope::Namespaced;
    ReferenceGrant: "ReferenceGrant", "referencegrants", GATEWAY, &["v1", "v1beta1"], Scope::Namespaced;
    BackendTlsPolicy: "BackendTLSPolicy", "backendtlspolicies", GATEWAY, &["v1", "v1alpha3"], Scope::Namespaced;
    XBackend: "XBackend", "xbackends", EXPERIMENTAL, &["v1alpha1"], Scope::Namespaced;
    XBackendTrafficPolicy:
        "XBackendTrafficPolicy", "xbackendtrafficpolicies", EXPERIMENTAL, &["v1alpha1"], Scope::Namespaced;
    XMesh: "XMesh", "xmeshes", EXPERIMENTAL, &["v1alpha1"], Scope::Cluster;
    XTelemetryPolicy: "XTelemetryPolicy", "xtelemetrypolicies", EXPERIMENTAL, &["v1alpha1"], Scope::Namespaced;
    GatewayConfig: "GatewayConfig", "gatewayconfigs", own::GROUP, &["v1alpha1"], Scope::Namespaced;
    GatewayNode: "GatewayNode", "gatewaynodes", own::GROUP, &["v1alpha1"], Scope::Cluster;
    Service: "Service", "services", "", &["v1"], Scope::Namespaced;
    EndpointSlice: "EndpointSlice", "endpointslices", "discovery.k8s.io", &["v1"], Scope::Namespaced;
    Secret: "Secret", "secrets", "", &["v1"], Scope::Namespaced;
    ConfigMap: "ConfigMap", "configmaps", "", &["v1"], Scope::Namespaced;
    ClusterTrustBundle:
        "ClusterTrustBundle", "clustertrustbundles", "certificates.k8s.io", &["v1", "v1beta1", "v1alpha1"], Scope::Cluster;
    Namespace: "Namespace", "namespaces", "", &["v1"], Scope::Cluster;
    Node: "Node", "nodes", "", &["v1"], Scope::Cluster;
}

/// The Gateway API's groups: of what is stable, and of the kinds that only the experimental channel has.
const GATEWAY: &str = "gateway.networking.k8s.io";
const EXPERIMENTAL: &str = "gateway.networking.x-k8s.io";

/// Why a document is no object of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct DecodeError {
    /// Such as `spec.listeners[0].port`.
    pub path: String,
    pub cause: String,
}

fn decode<T: serde::de::DeserializeOwned>(
    mut json: Value,
    unknown: &mut dyn FnMut(String),
) -> Result<Box<T>, DecodeError> {
    if let Some(fields) = json.as_object_mut() {
        // The type itself says both; those of core kinds would insist on their one version.
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(json, &mut track);
    let mut note = |path: serde_ignored::Path<'_>| unknown(spell(&path));
    let noting = serde_ignored::Deserializer::new(tracked, &mut note);
    // Each of these layers has code of its own for all that is decoded by it: 300 types if they weren't hidden.
    let mut hidden = <dyn erased_serde::Deserializer<'_>>::erase(noting);
    erased_serde::deserialize::<T>(&mut hidden)
        .map(Box::new)
        .map_err(|cause| DecodeError { path: track.path().to_string(), cause: cause.to_string() })
}

/// A path as people write it: `spec.ports[0].port`.
fn spell(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", spell(parent)),
        Path::Map { parent: Path::Root, key } => key.clone(),
        Path::Map { parent, key } => format!("{}.{key}", spell(parent)),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            spell(parent)
        }
    }
}

impl Kind {
    /// The kind of `group` with this name, whatever the version.
    pub fn find(group: &str, name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.group() == group && kind.name() == name)
    }

    /// As in an object's `kind`.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// As in an object's address: `httproutes`.
    pub const fn plural(self) -> &'static str {
        self.facts().plural
    }

    /// Empty for the core group.
    pub const fn group(self) -> &'static str {
        self.facts().group
    }

    /// Versions that are read, the preferred one first.
    pub const fn versions(self) -> &'static [&'static str] {
        self.facts().versions
    }

    pub const fn is_namespaced(self) -> bool {
        matches!(self.facts().scope, Scope::Namespaced)
    }

    /// The preferred `apiVersion`.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.versions()[0].to_owned(),
            group => format!("{group}/{}", self.versions()[0]),
        }
    }
}

/// Names an object: kind, namespace (none for cluster-scoped kinds) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    pub kind: Kind,
    pub namespace: Option<String>,
    pub name: String,
}

impl ObjectRef {
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: kind.is_namespaced().then(|| namespace.to_owned()), name: name.to_owned() }
    }
}

impl Object {
    pub fn object_ref(&self) -> ObjectRef {
        let metadata = self.metadata();
        ObjectRef::new(
            self.kind(),
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}
