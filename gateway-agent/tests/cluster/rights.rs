//! The rights of deploy/rbac against what the API server was asked for in all stories: nothing was refused, and nothing is
//! granted that nobody used.

use std::collections::BTreeSet;
use std::fs;

use lab::wait_until;
use serde_json::{Value, json};

use crate::rig::{PATIENCE, Rig, Role, SYSTEM, deploy};

/// Of one account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    account: String,
    /// None: of the whole cluster.
    namespace: Option<String>,
    group: String,
    resource: String,
    /// None: any.
    name: Option<String>,
    verb: String,
}

/// What the API server writes down: who asked for what, and whether that was allowed.
pub fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "Metadata", "userGroups": [format!("system:serviceaccounts:{SYSTEM}")] },
            { "level": "None" },
        ],
    })
}

pub fn are_exact(rig: &Rig) {
    let granted = granted();
    assert!(granted.len() > 20, "{granted:?}");
    let (mut used, mut missing) = (BTreeSet::new(), BTreeSet::new());
    let log = fs::read_to_string(rig.audit_log()).unwrap();
    // The last line may be half-written.
    for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        // Stories that try what must be refused use kubectl.
        if event["userAgent"].as_str().is_some_and(|agent| agent.starts_with("kubectl")) {
            continue;
        }
        let Some(right) = asked(&event) else { continue };
        // An API server that has just started may refuse what is granted, since it doesn't know the roles yet.
        if event["annotations"]["authorization.k8s.io/decision"] == "allow" {
            // To apply what isn't there yet takes the right to create it, which the log doesn't say by itself.
            if right.verb == "patch" && event["responseStatus"]["code"] == 201 {
                used.insert(Right { verb: "create".to_owned(), ..right.clone() });
            }
            used.insert(right);
        } else if !granted.iter().any(|it| it.covers(&right)) {
            missing.insert(right);
        }
    }
    assert!(missing.is_empty(), "asked for, but not granted: {missing:#?}");
    let is_used = |right: &&Right| used.iter().any(|asked| right.covers(asked));
    let unused: Vec<_> = granted.iter().filter(|right| !is_used(right) && !right.is_of_addresses()).collect();
    assert!(unused.is_empty(), "granted, but used by no story (take it away, or add the story): {unused:#?}");
}

/// Whoever lacks a right says which.
pub fn a_missing_one_is_named(rig: &Rig, controller: &Role) {
    let role = rig.object("clusterrole", "", "gateway-agent-controller");
    let mut rules = role["rules"].clone();
    for rule in rules.as_array_mut().unwrap() {
        if rule["resources"].as_array().unwrap().iter().any(|it| it == "gateways/status") {
            rule["resources"].as_array_mut().unwrap().retain(|it| it != "gateways/status");
        }
    }
    let patch = json!({ "rules": rules }).to_string();
    rig.kubectl(&["patch", "clusterrole", "gateway-agent-controller", "--type=merge", "--patch", &patch]);
    rig.apply(&[crate::objects::gateway("late", "unwritten", 9005)]);
    controller.until_told("problem", "cannot patch resource \"gateways/status\"");
    rig.apply_file(&deploy("rbac"));
    let gateway = |it: &Value| !it["status"]["addresses"].is_null();
    rig.until("gateway", "late", "unwritten", gateway);
    rig.kubectl(&["delete", "gateway", "unwritten", "--namespace", "late"]);
    wait_until("the end of the problem", PATIENCE, || controller.told("resolved", "gateways/status") > 0)
        .unwrap();
}

impl Right {
    /// What stands for a Gateway comes and goes in the stories of addresses, which have a cluster of their own.
    fn is_of_addresses(&self) -> bool {
        let writes = ["create", "delete", "patch"].contains(&self.verb.as_str());
        writes && ["services", "endpointslices"].contains(&self.resource.as_str())
    }

    fn covers(&self, asked: &Self) -> bool {
        self.account == asked.account
            && (self.namespace.is_none() || self.namespace == asked.namespace)
            && (self.name.is_none() || self.name == asked.name)
            && (&self.group, &self.resource, &self.verb) == (&asked.group, &asked.resource, &asked.verb)
    }
}

/// What an audit event is about; None: no object (which kinds there are, everybody may ask).
fn asked(event: &Value) -> Option<Right> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let object = event.get("objectRef")?;
    let resource = text(&object["resource"])?;
    let resource = match text(&object["subresource"]) {
        Some(part) => format!("{resource}/{part}"),
        None => resource,
    };
    Some(Right {
        account: event["user"]["username"].as_str()?.rsplit_once(':')?.1.to_owned(),
        namespace: text(&object["namespace"]),
        group: text(&object["apiGroup"]).unwrap_or_default(),
        resource,
        name: text(&object["name"]),
        verb: text(&event["verb"])?,
    })
}

/// What the manifests grant, each right by itself.
fn granted() -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for account in ["agent", "controller"] {
        let manifest = fs::read_to_string(deploy("rbac").join(format!("{account}.yaml"))).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&manifest).unwrap();
        let name = match account {
            "agent" => "gateway-agent",
            _ => "gateway-agent-controller",
        };
        for role in documents.iter().filter(|it| it["kind"] == "ClusterRole" || it["kind"] == "Role") {
            for rule in role["rules"].as_array().unwrap() {
                rights.extend(rights_of(rule, name, role["metadata"]["namespace"].as_str()));
            }
        }
    }
    rights
}

fn rights_of(rule: &Value, account: &str, namespace: Option<&str>) -> Vec<Right> {
    let texts = |field: &str| -> Vec<String> {
        let texts = rule[field].as_array().into_iter().flatten();
        texts.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let names = texts("resourceNames");
    let names: Vec<_> = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
    let mut rights = Vec::new();
    for group in texts("apiGroups") {
        for resource in texts("resources") {
            for verb in texts("verbs") {
                rights.extend(names.iter().map(|name| Right {
                    account: account.to_owned(),
                    namespace: namespace.map(str::to_owned),
                    group: group.clone(),
                    resource: resource.clone(),
                    name: name.clone(),
                    verb: verb.clone(),
                }));
            }
        }
    }
    rights
}
