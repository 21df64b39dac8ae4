//! deploy/crds holds the CRDs of this project as the types give them; with `UPDATE_CRDS=1` the test writes them.

use std::fs;
use std::path::Path;

use gateway_agent_api::own;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

#[test]
fn deploy_holds_the_crds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    for crd in own::crds() {
        let path = folder.join(format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural));
        let actual = yaml(&crd);
        if std::env::var_os("UPDATE_CRDS").is_some() {
            fs::create_dir_all(&folder).expect("deploy/crds can be made");
            fs::write(&path, &actual).expect("deploy/crds is writable");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert!(actual == expected, "{} is not current: run `cargo xtask codegen`", path.display());
    }
}

fn yaml(crd: &CustomResourceDefinition) -> String {
    let text = serde_saphyr::to_string(crd).expect("a CRD is YAML");
    format!("# Written by `cargo xtask codegen` from gateway-agent/api/src/own.\n{text}")
}

#[test]
fn every_field_is_described() {
    for crd in own::crds() {
        for version in &crd.spec.versions {
            let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
            let schema = serde_json::to_value(schema).expect("a schema is JSON");
            for part in ["spec", "status"] {
                described(&schema["properties"][part], &format!("{} {part}", crd.spec.names.kind));
            }
        }
    }
}

/// Every property below this one says what it is; a leaf of spec says what holds without it.
fn described(schema: &Value, path: &str) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let description = property["description"].as_str().unwrap_or_default();
        assert!(description.ends_with('.'), "{path} is described as {description:?}");
        let required =
            schema["required"].as_array().is_some_and(|names| names.contains(&Value::from(name.as_str())));
        let is_leaf = property["properties"].is_null();
        if path.contains(" spec.") && is_leaf && !required {
            assert!(description.contains("Default: "), "{path} has no default in {description:?}");
        }
        described(property, &path);
        described(&property["items"], &path);
    }
}
