//! The peers, set up as their documents advise for one worker, with what ours does for each request.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::subject::{
    AUTHORIZER, ENDPOINTS_HTTP1, ENDPOINTS_HTTP2, GRPC, GUARDED, HTTP1, HTTP2, Kind, Means, Routes, host,
    prefix,
};
use crate::lane::{BACKEND, GATEWAY, Lane};
use crate::process::Process;

pub(crate) fn start(
    kind: Kind,
    lane: &Lane,
    routes: Routes,
    folder: &Path,
    means: &Means<'_>,
) -> Result<Process> {
    let file = folder.join("configuration");
    let mut command = match kind {
        Kind::Haproxy => {
            let map = folder.join("map");
            fs::write(&map, haproxy_map(routes))?;
            fs::write(&file, haproxy(&map))?;
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f");
            command
        }
        Kind::Nginx => {
            fs::write(&file, nginx(routes, folder))?;
            let mut command = Command::new("nginx");
            command.arg("-c");
            command
        }
        Kind::Envoy => {
            fs::write(&file, envoy(routes).to_string())?;
            let mut command = Command::new(means.envoy);
            command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
            command.args(["--config-yaml", ""]).arg("--config-path");
            command
        }
        Kind::Direct | Kind::Ours => bail!("{} is no peer", kind.name()),
    };
    command.arg(file);
    let cpu = means.cpus.first().to_string();
    Process::start(kind.name(), &lane.gateway, folder, &cpu, &command)
}

/// A maxconn of 7,500 keeps two descriptors per connection within a limit of 20,000.
fn haproxy(map: &Path) -> String {
    let servers = |ports: [u16; 2], options: &str| {
        let server = |port| format!("  server e{port} {BACKEND}:{port}{options}\n");
        format!("  balance random(2)\n{}", ports.map(server).concat())
    };
    format!(
        "global\n  maxconn 7500\n  nbthread 1\n\
         defaults\n  mode http\n  maxconn 7500\n  option splice-auto\n  option forwardfor\n  http-reuse always\n  \
         timeout connect 5s\n  timeout client 75s\n  timeout server 60s\n  timeout http-keep-alive 75s\n\
         frontend web\n  bind {GATEWAY}:{HTTP1}\n  bind {GATEWAY}:{HTTP2}\n{forwarded}  \
         use_backend %[base,map_beg({map},none)]\n\
         frontend grpc\n  bind {GATEWAY}:{GRPC}\n{forwarded}  default_backend grpc\n\
         backend web\n{web}backend grpc\n{grpc}backend none\n  http-request return status 404\n",
        forwarded = "  http-request set-header X-Forwarded-Proto http\n  \
                     http-request set-header X-Forwarded-Host %[req.hdr(host)]\n",
        map = map.display(),
        web = servers(ENDPOINTS_HTTP1, ""),
        grpc = servers(ENDPOINTS_HTTP2, " proto h2"),
    )
}

fn haproxy_map(routes: Routes) -> String {
    let mut map = String::new();
    for (host_index, prefix_index) in rules(routes) {
        let _ = writeln!(map, "{}{} web", host(host_index), prefix(prefix_index));
    }
    map
}

fn rules(routes: Routes) -> impl Iterator<Item = (usize, usize)> {
    (0..routes.each()).flat_map(move |host| (0..routes.each()).map(move |prefix| (host, prefix)))
}

/// Requests per connection are not bounded, so that connections stay as long as with the others; buffers hold the
/// largest answer, so that none goes to a file.
fn nginx(routes: Routes, folder: &Path) -> String {
    let upstream = |name: &str, ports: [u16; 2]| {
        let server = |port| format!(" server {BACKEND}:{port};");
        format!(
            "  upstream {name} {{ random two least_conn;{} keepalive 512; keepalive_requests 100000000; }}\n",
            ports.map(server).concat()
        )
    };
    let mut servers = String::new();
    for index in 0..routes.each() {
        let _ = write!(
            servers,
            "  server {{\n    listen {GATEWAY}:{HTTP1};\n    listen {GATEWAY}:{HTTP2} http2;\n    server_name {};\n",
            host(index)
        );
        for index in 0..routes.each() {
            let _ = writeln!(servers, "    location {} {{ proxy_pass http://web; }}", prefix(index));
        }
        servers.push_str("  }\n");
    }
    format!(
        "daemon off;\nmaster_process on;\nuser root;\npid {folder}/nginx.pid;\nerror_log stderr warn;\n\
         worker_processes 1;\nworker_rlimit_nofile 20000;\nevents {{ worker_connections 19000; }}\n\
         http {{\n  access_log off;\n  keepalive_timeout 75s;\n  keepalive_requests 100000000;\n  \
         server_names_hash_max_size 4096;\n  server_names_hash_bucket_size 128;\n  tcp_nodelay on;\n  \
         proxy_http_version 1.1;\n  proxy_buffers 16 16k;\n  proxy_set_header Connection \"\";\n{forwarded}{web}{grpc}{servers}  \
         server {{\n    listen {GATEWAY}:{GRPC} http2;\n    location / {{ grpc_pass grpc://grpc; }}\n  }}\n}}\n",
        folder = folder.display(),
        forwarded = "  proxy_set_header Host $host;\n  proxy_set_header X-Forwarded-Host $host;\n  \
                     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n  \
                     proxy_set_header X-Forwarded-Proto $scheme;\n",
        web = upstream("web", ENDPOINTS_HTTP1),
        grpc = upstream("grpc", ENDPOINTS_HTTP2),
    )
}

fn envoy(routes: Routes) -> Value {
    let hosts: Vec<Value> = (0..routes.each())
        .map(|index| {
            let routes = (0..routes.each()).map(|index| route(&prefix(index), "web"));
            json!({"name": host(index), "domains": [host(index)], "routes": routes.collect::<Vec<_>>()})
        })
        .collect();
    let all = |to| json!([{"name": to, "domains": ["*"], "routes": [route("/", to)]}]);
    json!({
        "static_resources": {
            "listeners": [
                envoy_listener(HTTP1, &json!(hosts), None),
                envoy_listener(HTTP2, &json!(hosts), None),
                envoy_listener(GRPC, &all("grpc"), None),
                envoy_listener(GUARDED, &all("web"), Some(authorization())),
            ],
            "clusters": [cluster("web", &ENDPOINTS_HTTP1, "http_protocol_options"),
                         cluster("grpc", &ENDPOINTS_HTTP2, "http2_protocol_options"),
                         cluster("authorizer", &[AUTHORIZER], "http2_protocol_options")],
        },
    })
}

fn route(prefix: &str, cluster: &str) -> Value {
    json!({"match": {"prefix": prefix}, "route": {"cluster": cluster}})
}

const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions.filters";

fn authorization() -> Value {
    json!({"name": "envoy.filters.http.ext_authz", "typed_config": {
        "@type": format!("{EXTENSIONS}.http.ext_authz.v3.ExtAuthz"),
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "authorizer"}, "timeout": "10s"},
    }})
}

fn envoy_listener(port: u16, hosts: &Value, filter: Option<Value>) -> Value {
    let router = json!({
        "@type": format!("{EXTENSIONS}.http.router.v3.Router"),
        "suppress_envoy_headers": true,
    });
    let router = json!({"name": "envoy.filters.http.router", "typed_config": router});
    let filters: Vec<Value> = filter.into_iter().chain([router]).collect();
    let manager = json!({
        "@type": format!("{EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "use_remote_address": true,
        "generate_request_id": false,
        "http_filters": filters,
        "route_config": {
            "name": "bench",
            "virtual_hosts": hosts,
            "request_headers_to_add": [{
                "header": {"key": "x-forwarded-host", "value": "%REQ(:AUTHORITY)%"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }],
        },
    });
    json!({
        "name": port.to_string(),
        "address": socket(&GATEWAY.to_string(), port),
        "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
        ]}],
    })
}

/// Without a limit that a case comes near to.
fn cluster(name: &str, ports: &[u16], protocol: &str) -> Value {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let endpoints: Vec<Value> = ports
        .iter()
        .map(|port| json!({"endpoint": {"address": socket(&BACKEND.to_string(), *port)}}))
        .collect();
    json!({
        "name": name,
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [
            {"max_connections": 10_000, "max_pending_requests": 10_000, "max_requests": 10_000},
        ]},
        "typed_extension_protocol_options": {
            OPTIONS: {"@type": format!("type.googleapis.com/{OPTIONS}"), "explicit_http_config": {protocol: {}}},
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    })
}

fn socket(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}
