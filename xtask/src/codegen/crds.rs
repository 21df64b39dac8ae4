//! The release's CRDs, and what admission needs of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::output::Output;

/// In the module: the channel with every kind and field.
pub(super) const FOLDER: &str = "config/crd/experimental";

/// A CRD of the release.
#[derive(Debug)]
pub(super) struct Crd {
    /// Its file's name.
    pub(super) file: PathBuf,
    document: Value,
}

impl Crd {
    pub(super) fn kind(&self) -> Result<&str> {
        self.text("/spec/names/kind")
    }

    fn text(&self, pointer: &str) -> Result<&str> {
        let value = self.document.pointer(pointer).and_then(Value::as_str);
        value.with_context(|| format!("{} has no {pointer}", self.file.display()))
    }
}

/// Every CRD of the module, in the order of its files.
pub(super) fn read(module: &Path) -> Result<Vec<Crd>> {
    let folder = module.join(FOLDER);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .with_context(|| format!("listing {}", folder.display()))?
        .map(|entry| Ok(PathBuf::from(entry?.file_name())))
        .collect::<Result<_>>()?;
    files.sort();
    let mut crds = Vec::new();
    for file in files {
        let text = fs::read_to_string(folder.join(&file))?;
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("reading {}", file.display()))?;
        // The folder also has an admission policy and a kustomization.
        let found = documents.into_iter().find(|document| document["kind"] == "CustomResourceDefinition");
        crds.extend(found.map(|document| Crd { file, document }));
    }
    Ok(crds)
}

/// Keeps names, scope and the versions' schemas without their prose. A version with the schema of the first one is
/// left out.
pub(super) fn trim(crds: &[Crd], output: &mut Output) -> Result<()> {
    for crd in crds {
        let spec = &crd.document["spec"];
        let mut versions: Vec<Value> = Vec::new();
        for version in spec["versions"].as_array().context("a CRD without versions")? {
            let schema = trimmed_schema(&version["schema"]["openAPIV3Schema"]);
            if versions.first().is_none_or(|first| first["schema"]["openAPIV3Schema"] != schema) {
                versions.push(json!({ "name": version["name"], "schema": { "openAPIV3Schema": schema } }));
            }
        }
        let trimmed = json!({
            "metadata": {
                "name": crd.text("/metadata/name")?,
                "annotations": crd.document["metadata"]["annotations"],
            },
            "spec": {
                "group": spec["group"],
                "names": spec["names"],
                "scope": spec["scope"],
                "versions": versions,
            },
        });
        let text = serde_json::to_string_pretty(&trimmed)?;
        output.crd(crd.text("/spec/names/plural")?, text + "\n");
    }
    Ok(())
}

/// Without status, which is a subresource that a writer of objects can't set.
fn trimmed_schema(schema: &Value) -> Value {
    let mut schema = without_prose(schema);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.remove("status");
    }
    schema
}

/// Without descriptions; a property may have that name, but is no text.
fn without_prose(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, field)| *name != "description" || !field.is_string());
            Value::Object(
                kept.map(|(name, field)| (name.clone(), without_prose(field))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => items.iter().map(without_prose).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimming_keeps_what_validates() {
        let schema = json!({
            "description": "Prose.",
            "properties": {
                "spec": { "properties": { "description": { "type": "string", "description": "Prose." } } },
                "status": { "type": "object" },
            },
        });
        let kept =
            json!({ "properties": { "spec": { "properties": { "description": { "type": "string" } } } } });
        assert_eq!(trimmed_schema(&schema), kept);
    }
}
