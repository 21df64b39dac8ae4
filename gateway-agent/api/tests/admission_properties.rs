//! Laws of admission, tried on valid documents with one place spoilt.

use gateway_agent_api::Kind;
use gateway_agent_api::admission::{Refusal, admit, documents};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

/// The objects of valid.yaml.
fn valid() -> Vec<Value> {
    serde_saphyr::from_multiple(include_str!("valid.yaml")).expect("YAML")
}

/// Every place of a document, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                // RFC 6901, section 3.
                let name = name.replace('~', "~0").replace('/', "~1");
                places(field, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

fn junk() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![0, 1, 80, 65_535, 65_536, 70_000, -1]).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        select(
            &["", "TCP", "UDP", "HTTP", "Terminate", "IPAddress", "Hostname", "a", "A.b", "*.c", "192.0.2.1"]
                [..]
        )
        .prop_map(Value::from),
    ];
    let field =
        prop_oneof![select(&["name", "port", "namespace", "kind", "protocol", "value"][..]), Just("unknown")];
    leaf.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((field.clone(), inner), 0..4).prop_map(|fields| fields
                .into_iter()
                .map(|(name, field)| (name.to_owned(), field))
                .collect()),
        ]
    })
}

/// A valid document with one place replaced, and the place.
fn spoilt() -> impl Strategy<Value = (Value, String)> {
    (select(valid()), any::<Index>(), junk()).prop_map(|(mut document, place, junk)| {
        let mut found = Vec::new();
        places(&document, "", &mut found);
        let place = found.swap_remove(place.index(found.len()));
        *document.pointer_mut(&place).expect("a place that was found") = junk;
        (document, place)
    })
}

#[test]
fn the_documents_are_valid() {
    for document in valid() {
        let admitted = admit(document.clone()).unwrap_or_else(|refusal| panic!("{document}: {refusal}"));
        assert_eq!(admitted.warnings, [], "{document}");
    }
}

#[test]
fn every_kind_is_among_the_documents() {
    let documents = valid();
    for kind in Kind::ALL {
        assert!(documents.iter().any(|document| document["kind"] == kind.name()), "none is a {kind}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever is wrong has an answer that names it; nothing panics.
    #[test]
    fn a_refusal_says_what_is_wrong((document, place) in spoilt()) {
        for document in documents(document) {
            match admit(document) {
                Ok(admitted) => prop_assert!(!admitted.object.object_ref().name.is_empty()),
                Err(Refusal::Invalid { findings, .. }) => {
                    prop_assert!(!findings.is_empty(), "{place}");
                    for finding in findings {
                        prop_assert!(!finding.path.is_empty() && !finding.cause.is_empty() && !finding.fix.is_empty(), "{finding}");
                    }
                }
                Err(refusal) => prop_assert!(!refusal.to_string().is_empty()),
            }
        }
    }

    /// What was admitted once is admitted again as it is, with nothing left to drop or to fill in.
    #[test]
    fn admission_is_idempotent((document, _) in spoilt()) {
        let Ok(first) = admit(document) else { return Ok(()) };
        let again = admit(first.object.to_json().expect("JSON"));
        match again {
            Ok(again) => {
                prop_assert_eq!(again.object, first.object);
                prop_assert_eq!(again.warnings, []);
            }
            Err(refusal) => prop_assert!(false, "{}", refusal),
        }
    }
}
