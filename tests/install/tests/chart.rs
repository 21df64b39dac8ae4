//! The chart: nothing for Helm to complain of, wrong values refused, and plain manifests that are its own.

use std::fs;

use install::{Chart, checkout};

#[test]
fn plain_manifests_are_those_of_the_chart() {
    let chart = Chart::open().expect("Helm");
    let written = fs::read_to_string(checkout("deploy/install.yaml")).expect("deploy/install.yaml");
    let current = chart.manifests(&[]).expect("the chart's manifests");
    assert!(written == current, "deploy/install.yaml is not the chart's: run `cargo xtask chart`");
}

#[test]
fn helm_has_nothing_against_the_chart() {
    let said = Chart::open().expect("Helm").lint().expect("no complaint");
    assert!(said.contains("0 chart(s) failed"), "{said}");
}

#[test]
fn values_do_what_they_say() {
    let chart = Chart::open().expect("Helm");
    for (settings, expected) in [
        (&["image.registry=example.test/team"][..], "image: example.test/team/gateway-agent:0.1.0\n"),
        (&["image.tag=x"], "image: gateway-agent:x\n"),
        (&["agent.maxSurge=10%"], "maxSurge: 10%\n"),
        (&["agent.metrics.address=10.0.0.1"], "- --metrics=10.0.0.1:9890\n"),
        (&["agent.devices={eth0,eth1}"], "- --device=eth1\n"),
        (&["apiServer.host=10.0.0.9"], "value: \"10.0.0.9\"\n"),
        (&["gatewayConfig.http.trustedHops=1"], "kind: GatewayConfig\n"),
    ] {
        let manifests = chart.template(settings).expect("manifests");
        assert!(manifests.contains(expected), "{settings:?}: no {expected:?}");
    }
    let without = chart.template(&["agent.metrics.port=0", "gatewayClass.create=false"]).expect("manifests");
    assert!(!without.contains("kind: GatewayClass\n"));
}

#[test]
fn wrong_values_are_refused_by_name() {
    let chart = Chart::open().expect("Helm");
    for (setting, name) in [
        ("agent.device=eth0", "device"),
        ("agent.maxSurge=0", "maxSurge"),
        ("agent.seccompProfile=None", "seccompProfile"),
        ("controller.replicas=0", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("controler.replicas=3", "controler"),
    ] {
        let refusal = chart.template(&[setting]).expect_err(setting).to_string();
        assert!(refusal.contains(name), "{setting}: {refusal}");
    }
}
