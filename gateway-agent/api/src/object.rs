//! All kinds of objects in one type, and how they are named.

use std::fmt;

use serde_json::Value;

use crate::{
    EndpointSlice, Gateway, GatewayClass, Namespace, ObjectMeta, ReferenceGrant, Service, TcpRoute, UdpRoute,
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
    group: &'static str,
    /// Served versions that have the kind's type, the preferred one first.
    versions: &'static [&'static str],
    namespaced: bool,
}

macro_rules! kinds {
    ($($variant:ident: $name:literal, $group:literal, $versions:expr, namespaced $namespaced:literal;)+) => {
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
                        group: $group,
                        versions: $versions,
                        namespaced: $namespaced,
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

            /// Decodes an object of this kind and calls `unknown` with the path of each field that its type lacks.
            pub(crate) fn decode(
                kind: Kind,
                json: Value,
                unknown: &mut dyn FnMut(String),
            ) -> Result<Self, serde_path_to_error::Error<serde_json::Error>> {
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
    GatewayClass: "GatewayClass", "gateway.networking.k8s.io", &["v1", "v1beta1"], namespaced false;
    Gateway: "Gateway", "gateway.networking.k8s.io", &["v1", "v1beta1"], namespaced true;
    TcpRoute: "TCPRoute", "gateway.networking.k8s.io", &["v1", "v1alpha2"], namespaced true;
    UdpRoute: "UDPRoute", "gateway.networking.k8s.io", &["v1", "v1alpha2"], namespaced true;
    ReferenceGrant: "ReferenceGrant", "gateway.networking.k8s.io", &["v1", "v1beta1"], namespaced true;
    Service: "Service", "", &["v1"], namespaced true;
    EndpointSlice: "EndpointSlice", "discovery.k8s.io", &["v1"], namespaced true;
    Namespace: "Namespace", "", &["v1"], namespaced false;
}

fn decode<T: serde::de::DeserializeOwned>(
    json: Value,
    unknown: &mut dyn FnMut(String),
) -> Result<Box<T>, serde_path_to_error::Error<serde_json::Error>> {
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(json, &mut track);
    let mut note = |path: serde_ignored::Path<'_>| {
        let path = spell(&path);
        // The generated types hold neither: the type itself says both.
        if !matches!(path.as_str(), "apiVersion" | "kind") {
            unknown(path);
        }
    };
    match serde_ignored::deserialize::<_, _, T>(tracked, &mut note) {
        Ok(object) => Ok(Box::new(object)),
        Err(cause) => Err(serde_path_to_error::Error::new(track.path(), cause)),
    }
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

    /// Empty for the core group.
    pub const fn group(self) -> &'static str {
        self.facts().group
    }

    /// Versions that are read, the preferred one first.
    pub const fn versions(self) -> &'static [&'static str] {
        self.facts().versions
    }

    pub const fn is_namespaced(self) -> bool {
        self.facts().namespaced
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
