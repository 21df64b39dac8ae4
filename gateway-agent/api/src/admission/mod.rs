//! Admission of documents that come from files: what the API server would check before it stores an object.
//!
//! Metadata by Kubernetes' naming rules; the Gateway API's kinds by their CRDs' schemas, with defaults and CEL rules; core kinds
//! by their types and the API server's port checks.

mod core;
mod crd;
mod finding;
mod metadata;
mod rule;
mod schema;

use serde_json::Value;

use crate::{Kind, Object, ObjectRef, older};
pub use finding::Finding;

/// An object that would have been stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    pub object: Object,
    /// What was dropped or looks wrong, though the object holds: unknown fields above all.
    pub warnings: Vec<Finding>,
}

/// Why a document is no object that counts.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Not an object of Kubernetes at all.
    #[error("not a Kubernetes object: {0}")]
    Malformed(Finding),
    /// A kind that is not read, such as Deployment: nothing is wrong with it.
    #[error("{api_version} {kind} {name} is not read")]
    Ignored { api_version: String, kind: String, name: String },
    /// A kind that is read, in a version that is not.
    #[error("{object} has version {version}, which is not read; use {}", .object.kind.versions().join(" or "))]
    UnknownVersion { object: ObjectRef, version: String },
    /// The API server would have refused it.
    #[error("{object}: {}", finding::list(findings))]
    Invalid { object: ObjectRef, findings: Vec<Finding> },
}

impl Refusal {
    /// The object that the document was meant to be, as far as the document says.
    pub fn object(&self) -> Option<&ObjectRef> {
        match self {
            Self::Malformed(_) | Self::Ignored { .. } => None,
            Self::UnknownVersion { object, .. } | Self::Invalid { object, .. } => Some(object),
        }
    }

    /// False where the document is merely none of our business.
    pub fn is_error(&self) -> bool {
        !matches!(self, Self::Ignored { .. })
    }
}

/// The objects of one document: itself, or the items of a `List` (of `TCPRouteList` and the like as well).
pub fn documents(document: Value) -> Vec<Value> {
    let Value::Object(mut fields) = document else { return vec![document] };
    let is_list = fields.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    match fields.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => items.into_iter().flat_map(documents).collect(),
        Some(items) => {
            fields.insert("items".to_owned(), items);
            vec![Value::Object(fields)]
        }
        None => vec![Value::Object(fields)],
    }
}

/// Admits one document, which must not be a list: see [`documents`].
pub fn admit(mut document: Value) -> Result<Admitted, Refusal> {
    let head = Head::of(&document).map_err(Refusal::Malformed)?;
    let Some(kind) = Kind::find(&head.group, &head.kind) else {
        return Err(Refusal::Ignored { api_version: head.api_version(), kind: head.kind, name: head.name });
    };
    let object = ObjectRef::new(kind, head.namespace.as_deref().unwrap_or("default"), &head.name);
    if !kind.versions().contains(&head.version.as_str()) {
        return Err(Refusal::UnknownVersion { object, version: head.version });
    }

    let mut review = finding::Review::default();
    metadata::review(kind, &mut document, &mut review);
    if let Some(fields) = document.as_object_mut() {
        fields.remove("status");
    }
    older::rename(kind, &mut document);
    let schema = crd::schema(kind, &head.version);
    match schema {
        Some(schema) => schema.review(&mut document, &mut review),
        None => core::complete(kind, &mut document),
    }
    if !review.errors.is_empty() {
        return Err(Refusal::Invalid { object, findings: review.errors });
    }
    let is_stored = document.pointer("/metadata/uid").is_some();
    match review.decode(kind, document, core::review) {
        Ok((decoded, warnings)) => {
            let warnings = match (is_stored, schema) {
                (false, _) => warnings,
                (true, Some(_)) => newer(warnings),
                // Kubernetes' own kinds gain fields with every release; what is needed of them is known.
                (true, None) => Vec::new(),
            };
            Ok(Admitted { object: decoded, warnings })
        }
        Err(findings) => Err(Refusal::Invalid { object, findings }),
    }
}

/// An API server has seen the object and would have dropped what it didn't know: it knows more than this version.
fn newer(warnings: Vec<Finding>) -> Vec<Finding> {
    let fix = "remove it, or use a version of gateway-agent that knows it";
    let cause = "unknown to this version, has no effect";
    warnings.into_iter().map(|warning| Finding::new(warning.path, cause, fix)).collect()
}

/// What every document must say before anything else about it can be judged.
struct Head {
    group: String,
    version: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl Head {
    fn of(document: &Value) -> Result<Self, Finding> {
        if !document.is_object() {
            return Err(Finding::new(
                "",
                format!("a document holds {}", finding::type_name(document)),
                "write one object with apiVersion, kind, metadata and spec per document",
            ));
        }
        let text =
            |pointer: &str| document.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let required = |pointer: &str, path: &str, fix: &str| {
            text(pointer).map(str::to_owned).ok_or_else(|| Finding::new(path, "missing or no text", fix))
        };
        let api_version =
            required("/apiVersion", "apiVersion", "add it, for instance gateway.networking.k8s.io/v1")?;
        let kind = required("/kind", "kind", "add it, for instance Gateway")?;
        let name = required("/metadata/name", "metadata.name", &format!("give the {kind} a name"))?;
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
        Ok(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind,
            namespace: text("/metadata/namespace").map(str::to_owned),
            name,
        })
    }

    fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}
