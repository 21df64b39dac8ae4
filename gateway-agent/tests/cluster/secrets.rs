//! What agents get to see of Secrets: copies of those that Gateways may use, and nothing else.

use lab::wait_until;
use serde_json::{Value, json};

use crate::objects::{namespace, verdict};
use crate::rig::{PATIENCE, Rig, Role, SYSTEM};

const TYPE: &str = "gateway-agent.io/for-agents";

/// A certificate and its key, for a.example.com, and the anchor of others.
const CHAIN: &str = include_str!("../../routing/tests/certificates/exact.crt");
const KEY: &str = include_str!("../../routing/tests/certificates/exact.key");
const OTHER_CHAIN: &str = include_str!("../../routing/tests/certificates/ed25519.crt");
const OTHER_KEY: &str = include_str!("../../routing/tests/certificates/ed25519.key");
const ROOT: &str = include_str!("../../routing/tests/certificates/root.crt");

pub fn agents_see_what_gateways_may_use(rig: &Rig, agent: &Role) {
    let longest = "s".repeat(253);
    rig.apply(&[
        namespace("vault"),
        secret("vault", "cert", CHAIN, KEY),
        secret("vault", "unused", CHAIN, KEY),
        secret("late", &longest, CHAIN, KEY),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "trusted", "namespace": "late" },
            "data": { "ca.crt": ROOT, "other": "not for agents" },
        }),
        gateway(&longest),
    ]);
    let key = the_key_of_agents(rig);
    rig.until("gateway", "late", "secure", |it| listener_verdict(it, "granted") == "False RefNotPermitted");
    until_copied(rig, agent, &[("ConfigMap", "late", "trusted"), ("Secret", "late", &longest)]);

    rig.apply(&[grant()]);
    let all = [("ConfigMap", "late", "trusted"), ("Secret", "late", &longest), ("Secret", "vault", "cert")];
    let copies = until_copied(rig, agent, &all);
    let original = rig.object("secret", "vault", "cert");
    let copy = copies.iter().find(|it| origin(it) == all[2]).unwrap();
    assert_eq!(copy["data"], original["data"], "the entries that are needed");
    let bundle = copies.iter().find(|it| origin(it) == all[0]).unwrap();
    assert_eq!(bundle["data"].as_object().unwrap().keys().collect::<Vec<_>>(), ["ca.crt"]);

    an_agent_reads_no_other_secret(rig);
    what_others_write_there_does_not_last(rig, copy);

    rig.apply(&[secret("vault", "cert", OTHER_CHAIN, OTHER_KEY)]);
    let renewed = rig.object("secret", "vault", "cert");
    let name = copy["metadata"]["name"].as_str().unwrap();
    rig.until("secret", SYSTEM, name, |it| it["data"] == renewed["data"]);

    rig.kubectl(&["delete", "referencegrant", "secrets", "--namespace", "vault"]);
    until_copied(rig, agent, &all[..2]);
    rig.kubectl(&["delete", "gateway", "secure", "--namespace", "late"]);
    until_copied(rig, agent, &[]);
    assert_eq!(the_key_of_agents(rig), key, "it is made once");
}

/// By whose key agents know each other: it is there without any Gateway.
fn the_key_of_agents(rig: &Rig) -> Value {
    rig.kubectl(&["wait", "--for=create", "secret/gateway-agent-peers", "--namespace", SYSTEM]);
    let secret = rig.object("secret", SYSTEM, "gateway-agent-peers");
    let key = &secret["data"]["key"];
    // 32 bytes in Base64.
    assert_eq!((secret["type"].as_str(), key.as_str().map(str::len)), (Some(TYPE), Some(44)));
    key.clone()
}

/// Waits until these have copies, and no others, and the agent sees them as if they were the originals.
fn until_copied(rig: &Rig, agent: &Role, origins: &[(&str, &str, &str)]) -> Vec<Value> {
    let mut copies = Vec::new();
    let waited = wait_until("copies", PATIENCE, || {
        copies = rig.objects("secret", SYSTEM);
        copies.retain(|it| it["type"] == TYPE && it["metadata"]["name"] != "gateway-agent-peers");
        let mut found: Vec<_> = copies.iter().map(origin).collect();
        found.sort_unstable();
        found == origins
    });
    assert!(
        waited.is_ok(),
        "copies of {:?}, not of {origins:?}",
        copies.iter().map(origin).collect::<Vec<_>>()
    );
    let of_kind = |kind: &str| origins.iter().filter(|(it, ..)| *it == kind).count();
    // The key too.
    let expected = [json!(of_kind("Secret") + 1), json!(of_kind("ConfigMap"))];
    let waited = wait_until("the agent to see them", PATIENCE, || {
        let objects = &rig.status("agent")["objects"];
        let count = |kind: &str| objects.get(kind).cloned().unwrap_or(json!(0));
        [count("Secret"), count("ConfigMap")] == expected
    });
    assert!(waited.is_ok(), "{}", agent.log());
    copies
}

fn an_agent_reads_no_other_secret(rig: &Rig) {
    let kubeconfig = rig.agent_kubeconfig();
    let reads = |words: &[&str]| rig.try_kubectl(&[words, &["--kubeconfig", &kubeconfig]].concat());
    assert!(reads(&["get", "secrets", "--namespace", SYSTEM]).is_ok());
    for words in [
        &["get", "secrets", "--all-namespaces"][..],
        &["get", "secrets", "--namespace", "vault"],
        &["get", "secret", "cert", "--namespace", "vault"],
        &["get", "configmap", "trusted", "--namespace", "late"],
        &["delete", "secret", "gateway-agent-peers", "--namespace", SYSTEM],
    ] {
        let refused = reads(words).unwrap_err();
        assert!(refused.contains("forbidden"), "{words:?}: {refused}");
    }
}

fn what_others_write_there_does_not_last(rig: &Rig, copy: &Value) {
    let name = copy["metadata"]["name"].as_str().unwrap();
    let patch = json!({ "data": { "tls.crt": "AAAA" } }).to_string();
    rig.kubectl(&["patch", "secret", name, "--namespace", SYSTEM, "--type=merge", "--patch", &patch]);
    rig.until("secret", SYSTEM, name, |it| it["data"] == copy["data"]);
    let mut forged = copy.clone();
    forged["metadata"] = json!({
        "name": "copy-forged", "namespace": SYSTEM, "annotations": copy["metadata"]["annotations"],
    });
    rig.apply(&[forged]);
    rig.kubectl(&["wait", "--for=delete", "secret/copy-forged", "--namespace", SYSTEM, "--timeout=300s"]);
}

fn origin(copy: &Value) -> (&str, &str, &str) {
    let annotation = |part: &str| {
        copy["metadata"]["annotations"][format!("gateway-agent.io/origin-{part}")].as_str().unwrap()
    };
    (annotation("kind"), annotation("namespace"), annotation("name"))
}

fn listener_verdict(gateway: &Value, name: &str) -> String {
    let listeners = gateway["status"]["listeners"].as_array().into_iter().flatten();
    let listener = listeners.into_iter().find(|it| it["name"] == name);
    listener.map_or_else(|| "none".to_owned(), |it| verdict(&it["conditions"], "ResolvedRefs"))
}

fn secret(namespace: &str, name: &str, chain: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": name, "namespace": namespace },
        "stringData": { "tls.crt": chain, "tls.key": key },
    })
}

/// Two listeners with certificates, one of another namespace, and a bundle that clients are judged by.
fn gateway(own: &str) -> Value {
    let listener = |name: &str, host: &str, reference: Value| {
        json!({
            "name": name, "protocol": "HTTPS", "port": 9443, "hostname": host,
            "tls": { "certificateRefs": [reference] },
        })
    };
    let bundle = json!({ "group": "", "kind": "ConfigMap", "name": "trusted" });
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "secure", "namespace": "late" },
        "spec": {
            "gatewayClassName": "gateway-agent",
            "listeners": [
                listener("own", "a.example.com", json!({ "name": own })),
                listener("granted", "b.example.com", json!({ "name": "cert", "namespace": "vault" })),
            ],
            "tls": { "frontend": { "default": { "validation": { "caCertificateRefs": [bundle] } } } },
        },
    })
}

fn grant() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": { "name": "secrets", "namespace": "vault" },
        "spec": {
            "from": [{ "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "late" }],
            "to": [{ "group": "", "kind": "Secret" }],
        },
    })
}
