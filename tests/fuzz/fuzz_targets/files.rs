//! A file of any content: it is parsed, its objects are admitted and compiled, and nothing panics.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gateway_agent_api::admission::{Admitted, admit, documents};
use gateway_agent_api::text::{self, Form};
use gateway_agent_routing::{Node, Snapshot, translate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    for form in [Form::Yaml, Form::Json] {
        compile(form, text);
    }
});

/// As the agent does it with its files.
fn compile(form: Form, text: &[u8]) {
    let found = match text::parse(form, text) {
        Ok(found) => found,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let mut snapshot = Snapshot::new(node());
    for value in found.into_iter().flat_map(|document| documents(document.value)) {
        match admit(value) {
            Ok(admitted) => {
                admission_is_idempotent(&admitted);
                snapshot.insert(admitted.object);
            }
            Err(refusal) => assert!(!refusal.to_string().is_empty()),
        }
    }
    let outcome = translate(&snapshot);
    for problem in &outcome.problems {
        assert!(!problem.to_string().is_empty());
    }
    assert_eq!(outcome, translate(&snapshot), "the same snapshot gives the same outcome");
}

/// What was admitted once is admitted again as it is, with nothing left to drop or to fill in.
fn admission_is_idempotent(first: &Admitted) {
    let json = first.object.to_json().expect("an object is JSON");
    match admit(json) {
        Ok(again) => {
            assert_eq!(again.object, first.object);
            assert_eq!(again.warnings, []);
        }
        Err(refusal) => panic!("admitted before, but then: {refusal}"),
    }
}

/// With the addresses that the corpus's Gateways name.
fn node() -> Node {
    let addresses: Vec<IpAddr> =
        vec![Ipv4Addr::new(192, 0, 2, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()];
    Node {
        name: "node-a".to_owned(),
        addresses: addresses.clone(),
        gateway_addresses: addresses,
        ..Node::default()
    }
}
