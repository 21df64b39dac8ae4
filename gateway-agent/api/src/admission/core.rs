//! Core kinds: the defaults that the API server fills in and the limits that it checks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::finding::Review;
use crate::{EndpointSlice, Kind, Object, Secret, Service};

/// Fills in the API server's defaults.
pub(super) fn complete(kind: Kind, document: &mut Value) {
    let ports = match kind {
        Kind::Service => document.pointer_mut("/spec/ports"),
        Kind::EndpointSlice => document.get_mut("ports"),
        Kind::Secret => return complete_secret(document),
        _ => None,
    };
    for port in ports.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
        port.retain(|_, field| !field.is_null());
        port.entry("protocol").or_insert_with(|| "TCP".into());
        if kind == Kind::Service
            && let Some(number) = port.get("port").cloned()
        {
            port.entry("targetPort").or_insert(number);
        }
    }
}

/// stringData is a way to write data, and wins over it.
fn complete_secret(document: &mut Value) {
    let Some(fields) = document.as_object_mut() else { return };
    fields.retain(|_, field| !field.is_null());
    fields.entry("type").or_insert_with(|| OPAQUE.into());
    let Some(Value::Object(texts)) = fields.get("stringData") else { return };
    if !texts.values().all(Value::is_string) {
        // Decoding says what is wrong with them.
        return;
    }
    let bytes = |text: &Value| ByteString(text.as_str().unwrap_or_default().as_bytes().to_vec());
    let texts: Vec<_> = texts.iter().map(|(key, text)| (key.clone(), json!(bytes(text)))).collect();
    fields.remove("stringData");
    let data = fields.entry("data").or_insert_with(|| json!({}));
    if let Some(data) = data.as_object_mut() {
        data.extend(texts);
    }
}

/// The type of a Secret that names none.
const OPAQUE: &str = "Opaque";

/// Checks the parts of core kinds that the agent relies on.
pub(super) fn review(object: &Object, review: &mut Review) {
    match object {
        Object::Service(service) => review_service(service, review),
        Object::EndpointSlice(slice) => review_slice(slice, review),
        Object::Secret(secret) => review_secret(secret, review),
        Object::ConfigMap(map) => {
            let keys = map.data.iter().flat_map(BTreeMap::keys);
            review_keys(keys.chain(map.binary_data.iter().flat_map(BTreeMap::keys)), review);
        }
        _ => {}
    }
}

fn review_secret(secret: &Secret, review: &mut Review) {
    let keys = || secret.data.iter().flat_map(BTreeMap::keys);
    review_keys(keys(), review);
    if secret.type_.as_deref() == Some(TLS) {
        for key in TLS_KEYS.into_iter().filter(|required| !keys().any(|key| key == required)) {
            let cause = format!("a Secret of type {TLS} lacks it");
            review.error(format!("data[{key}]"), cause, "add it, base64-encoded PEM");
        }
    }
}

/// The type of Secrets that hold a certificate and its key, and what the API server demands of them.
const TLS: &str = "kubernetes.io/tls";
const TLS_KEYS: [&str; 2] = ["tls.crt", "tls.key"];

/// A volume makes each key a file.
fn review_keys<'a>(keys: impl Iterator<Item = &'a String>, review: &mut Review) {
    let fits = |key: &str| {
        (1..=253).contains(&key.len())
            && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && key != "."
            && !key.starts_with("..")
    };
    for key in keys.filter(|key| !fits(key)) {
        let fix = "use at most 253 letters, digits, '-', '_' and '.', and not '..' at the beginning";
        review.error(format!("data[{key}]"), format!("{key:?} is no key"), fix);
    }
}

fn review_service(service: &Service, review: &mut Review) {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    for (index, port) in ports.enumerate() {
        let path = format!("spec.ports[{index}]");
        review_port(port.port, &format!("{path}.port"), review);
        review_protocol(port.protocol.as_deref(), &format!("{path}.protocol"), review);
        match &port.target_port {
            Some(IntOrString::Int(number)) => review_port(*number, &format!("{path}.targetPort"), review),
            Some(IntOrString::String(name)) if !is_port_name(name) => review.error(
                format!("{path}.targetPort"),
                format!("{name:?} is neither a port number nor a port's name"),
                "use a number from 1 to 65535, or a name of at most 15 lower-case letters, digits and '-'",
            ),
            _ => {}
        }
    }
}

fn review_slice(slice: &EndpointSlice, review: &mut Review) {
    for (index, port) in slice.ports.iter().enumerate() {
        if let Some(number) = port.port {
            review_port(number, &format!("ports[{index}].port"), review);
        }
        review_protocol(port.protocol.as_deref(), &format!("ports[{index}].protocol"), review);
    }
    for (index, endpoint) in slice.endpoints.iter().enumerate() {
        for (place, address) in endpoint.texts().iter().enumerate() {
            review_address(
                &slice.address_type,
                address,
                &format!("endpoints[{index}].addresses[{place}]"),
                review,
            );
        }
    }
    if !["IPv4", "IPv6", "FQDN"].contains(&slice.address_type.as_str()) {
        let cause = format!("{:?} is no address type", slice.address_type);
        review.error("addressType", cause, "use IPv4, IPv6 or FQDN");
    }
}

fn review_address(address_type: &str, address: &str, path: &str, review: &mut Review) {
    if address_type == "FQDN" {
        return;
    }
    match address.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv4() == (address_type == "IPv4") => {
            // The API server refuses these too: packets for them would reach the node itself, or nobody.
            if let Some(range) = unroutable(ip) {
                review.error(
                    path,
                    format!("{address} is a {range} address"),
                    "name an address of a pod or host",
                );
            }
        }
        _ => {
            let cause = format!("{address:?} is no {address_type} address");
            review.error(path, cause, format!("write an {address_type} address, or correct addressType"));
        }
    }
}

fn unroutable(ip: IpAddr) -> Option<&'static str> {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.is_loopback() {
        Some("loopback")
    } else if ip.is_unspecified() {
        Some("unspecified")
    } else if ip.is_multicast() {
        Some("multicast")
    } else {
        link_local.then_some("link-local")
    }
}

fn review_port(port: i32, path: &str, review: &mut Review) {
    if !(1..=65535).contains(&port) {
        review.error(path, format!("{port} is no port"), "use a number from 1 to 65535");
    }
}

fn review_protocol(protocol: Option<&str>, path: &str, review: &mut Review) {
    if let Some(protocol) = protocol.filter(|protocol| !["TCP", "UDP", "SCTP"].contains(protocol)) {
        review.error(path, format!("{protocol:?} is no protocol of a port"), "use TCP, UDP or SCTP");
    }
}

/// IANA service name, as Kubernetes checks it (RFC 6335, 5.1).
fn is_port_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && name.contains(|c: char| c.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}
