//! deploy/rbac against the code: exactly the rights that are used.

use std::collections::BTreeSet;

use gateway_agent_api::Kind;
use serde_json::Value;

use crate::source::cluster::{Role, has_our_status};

/// Group, resource and verb; a Role's have `namespaced ` before the verb.
type Right = (String, String, String);

/// What the roles in a manifest grant.
fn granted(manifest: &str) -> BTreeSet<Right> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifest).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let roles = documents.iter().filter(|it| it["kind"] == "ClusterRole" || it["kind"] == "Role");
    let mut rights = BTreeSet::new();
    let scoped = roles.flat_map(|role| {
        let scope = if role["kind"] == "Role" { "namespaced " } else { "" };
        role["rules"].as_array().unwrap().iter().map(move |rule| (scope, rule))
    });
    for (scope, rule) in scoped {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    let right = (group.clone(), resource.clone(), format!("{scope}{verb}"));
                    assert!(rights.insert(right.clone()), "{right:?} is granted twice");
                }
            }
        }
    }
    rights
}

fn right(group: &str, resource: &str, verb: &str) -> Right {
    (group.to_owned(), resource.to_owned(), verb.to_owned())
}

/// What following the cluster takes.
fn to_read(role: Role) -> BTreeSet<Right> {
    let kinds = Kind::ALL.iter().filter(|kind| role.reads(**kind));
    let resources = kinds.map(|kind| (kind.group(), kind.plural()));
    resources
        .chain([("apiextensions.k8s.io", "customresourcedefinitions")])
        .flat_map(|(group, plural)| {
            let scope =
                if role == Role::Agent && plural == Kind::Secret.plural() { "namespaced " } else { "" };
            ["list", "watch"].map(|verb| right(group, plural, &format!("{scope}{verb}")))
        })
        .collect()
}

#[test]
fn agents_may_do_what_they_do() {
    let node = (Kind::GatewayNode.group(), Kind::GatewayNode.plural());
    let mut used = to_read(Role::Agent);
    used.insert(right(node.0, node.1, "create"));
    used.insert(right(node.0, &format!("{}/status", node.1), "patch"));
    for plural in ["nodes", "pods"] {
        used.extend(["list", "watch"].map(|verb| right("", plural, verb)));
    }
    // Whether it is being uninstalled.
    used.extend(["list", "watch"].map(|verb| right("apps", "daemonsets", &format!("namespaced {verb}"))));
    assert_eq!(granted(include_str!("../../deploy/rbac/agent.yaml")), used);
}

#[test]
fn controllers_may_do_what_they_do() {
    let mut used = to_read(Role::Controller);
    for kind in Kind::ALL.iter().filter(|kind| has_our_status(**kind)) {
        used.insert(right(kind.group(), &format!("{}/status", kind.plural()), "patch"));
    }
    used.extend(
        ["delete", "patch"].map(|verb| right(Kind::GatewayNode.group(), Kind::GatewayNode.plural(), verb)),
    );
    for kind in [Kind::Service, Kind::EndpointSlice] {
        used.extend(["create", "delete", "patch"].map(|verb| right(kind.group(), kind.plural(), verb)));
    }
    used.insert(right("events.k8s.io", "events", "create"));
    used.extend(
        ["create", "get", "update"]
            .map(|verb| right("coordination.k8s.io", "leases", &format!("namespaced {verb}"))),
    );
    used.extend(
        ["create", "delete", "update"].map(|verb| right("", "secrets", &format!("namespaced {verb}"))),
    );
    assert_eq!(granted(include_str!("../../deploy/rbac/controller.yaml")), used);
}
