//! An object as it is listed, less what makes up half of it and nobody here reads.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// An object without `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document(pub(super) Value);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields::OfObject).map(|fields| Self(Value::Object(fields)))
    }
}

#[derive(Clone, Copy)]
enum Fields {
    OfObject,
    OfMetadata,
}

impl<'de> Visitor<'de> for Fields {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            match (self, name.as_str()) {
                (Self::OfObject, "metadata") => {
                    let metadata = map.next_value_seed(Self::OfMetadata)?;
                    fields.insert(name, Value::Object(metadata));
                }
                (Self::OfMetadata, "managedFields") => drop(map.next_value::<IgnoredAny>()?),
                _ => drop(fields.insert(name, map.next_value()?)),
            }
        }
        Ok(fields)
    }
}

impl<'de> DeserializeSeed<'de> for Fields {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn managed_fields_are_left_out() {
        let object = |managed: &Value| {
            json!({
                "kind": "HTTPRoute",
                "metadata": {"name": "r", "managedFields": managed},
                "spec": {"metadata": {"managedFields": 1}},
            })
        };
        let document: Document = serde_json::from_value(object(&json!([{"manager": "kubectl"}]))).unwrap();
        assert_eq!(document.0["metadata"], json!({"name": "r"}));
        assert_eq!(document.0["spec"], object(&Value::Null)["spec"]);
        assert!(serde_json::from_str::<Document>("[]").is_err());
    }
}
