//! Objects of older releases, in the terms of the release that the types are made from.

use serde_json::{Map, Value};

use crate::Kind;

/// Moves what Gateway API v1.6 called otherwise to where v1.7 has it, unless something is there already.
pub(crate) fn rename(kind: Kind, object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    match kind {
        Kind::HttpRoute | Kind::GrpcRoute => {
            for rule in spec.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
                rename_session_persistence(rule.get_mut("sessionPersistence"));
            }
        }
        Kind::XBackendTrafficPolicy => rename_session_persistence(spec.get_mut("sessionPersistence")),
        Kind::XBackend => {
            if let Some(port) = spec.get_mut("port").and_then(Value::as_object_mut) {
                move_field(port, "port", "number");
            }
        }
        _ => {}
    }
}

/// Fills in what older versions of a kind could do without.
pub(crate) fn complete(kind: Kind, object: &mut Value) {
    // A TLSRoute v1alpha2 without hostnames takes every name.
    if kind == Kind::TlsRoute
        && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.entry("hostnames").or_insert_with(|| Value::Array(Vec::new()));
    }
}

/// v1.6: {type, sessionName, cookieConfig}; v1.7: {type, cookie: {name, ...}, header: {name}}.
fn rename_session_persistence(value: Option<&mut Value>) {
    let Some(fields) = value.and_then(Value::as_object_mut) else { return };
    move_field(fields, "cookieConfig", "cookie");
    let Some(name) = fields.remove("sessionName") else { return };
    // Cookie is the default.
    let target = if fields.get("type").is_some_and(|kind| kind == "Header") { "header" } else { "cookie" };
    let holder = fields.entry(target).or_insert_with(|| Value::Object(Map::new()));
    if let Some(holder) = holder.as_object_mut() {
        holder.entry("name").or_insert(name);
    }
}

fn move_field(fields: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = fields.remove(from) {
        fields.entry(to).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_renamed_is_found_under_its_new_name() {
        let route = |persistence| json!({ "rules": [{}, { "sessionPersistence": persistence }] });
        let cases = [
            (
                Kind::HttpRoute,
                route(json!({ "sessionName": "a", "cookieConfig": { "lifetimeType": "Session" } })),
                route(json!({ "cookie": { "name": "a", "lifetimeType": "Session" } })),
            ),
            (
                Kind::GrpcRoute,
                route(json!({ "type": "Header", "sessionName": "a" })),
                route(json!({ "type": "Header", "header": { "name": "a" } })),
            ),
            (
                Kind::XBackendTrafficPolicy,
                json!({ "sessionPersistence": { "type": "Cookie", "sessionName": "a" } }),
                json!({ "sessionPersistence": { "type": "Cookie", "cookie": { "name": "a" } } }),
            ),
            (Kind::XBackend, json!({ "port": { "port": 80 } }), json!({ "port": { "number": 80 } })),
            (Kind::Gateway, json!({ "sessionName": "a" }), json!({ "sessionName": "a" })),
        ];
        for (kind, old, new) in cases {
            let mut object = json!({ "spec": old });
            rename(kind, &mut object);
            assert_eq!(object, json!({ "spec": new }), "{kind}");
        }
    }
}
