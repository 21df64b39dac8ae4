//! How long a full translation takes, and one of a change, and how much of the heap is kept: `cargo bench -p
//! gateway-agent-routing`.
//!
//! 5,000 routes (4,000 HTTP, 400 gRPC, 300 TCP, 300 UDP) at 20 Gateways lead to 1,000 Services with 10,000 endpoints,
//! the cluster of issue C's bench. Changes of Gateways are timed once more beside 480 further Gateways, which nothing of
//! them is about.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gateway_agent_api::{Kind, Object};
use gateway_agent_routing::{Node, Service, Snapshot, Translation, translate};
use serde_json::{Value, json};

const GATEWAYS: usize = 20;
/// At addresses of their own, without routes.
const FURTHER_GATEWAYS: usize = 480;
const SERVICES: usize = 1_000;
const ENDPOINTS_OF_A_SERVICE: usize = 10;
/// Kind, protocol of the listener, and how many.
const ROUTES: [(&str, usize); 4] =
    [("HTTPRoute", 4_000), ("GRPCRoute", 400), ("TCPRoute", 300), ("UDPRoute", 300)];
/// Enough for a median.
const RUNS: usize = 15;

/// Counts what is allocated.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is done by the system's allocator, whose promises are passed on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the same promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above; `memory` came from there.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn main() {
    let before = held_kilobytes();
    let mut snapshot = cluster();
    let objects: BTreeSet<_> = snapshot.objects().map(|(name, _)| name.clone()).collect();
    println!("{} objects: {} kB", objects.len(), held_kilobytes() - before);
    let before = held_kilobytes();
    let mut of_tables = Translation::of_tables();
    of_tables.update(&snapshot, &objects);
    println!("a translation of tables that is kept: {} kB", held_kilobytes() - before);
    let mut times: Vec<Duration> = (0..RUNS).map(|_| time(&snapshot)).collect();
    times.sort();
    let outcome = translate(&snapshot);
    println!(
        "translate: median {:?}, least {:?}, most {:?}; {} statuses, {} frontends, {} HTTP routes, {} Services, {} problems",
        times[RUNS / 2],
        times[0],
        times[RUNS - 1],
        outcome.statuses.len(),
        outcome.tables.l4.frontends.len(),
        outcome.tables.http.http_routes.len(),
        outcome.tables.http.services.len(),
        outcome.problems.len(),
    );
    let before = held_kilobytes();
    let mut translation = Translation::default();
    translation.update(&snapshot, &objects);
    println!("a translation that is kept: {} kB", held_kilobytes() - before);
    for (name, change) in CHANGES.into_iter().chain(CHANGES_OF_GATEWAYS) {
        follow(name, change, &mut snapshot, &mut translation);
    }
    let further = (GATEWAYS..GATEWAYS + FURTHER_GATEWAYS).map(|index| named_gateway(index, &gateway(index)));
    put(further.collect(), &mut snapshot, &mut translation);
    for (name, change) in CHANGES_OF_GATEWAYS {
        let name = format!("beside {FURTHER_GATEWAYS} further Gateways, {name}");
        follow(&name, change, &mut snapshot, &mut translation);
    }
    assert_eq!(*translation.outcome(), translate(&snapshot), "a translation that follows is right");
}

/// Lets changes of one kind happen one after the other, and says how long each took.
fn follow(name: &str, change: Change, snapshot: &mut Snapshot, translation: &mut Translation) {
    let mut times: Vec<Duration> = (0..CHANGES_OF_A_KIND)
        .map(|index| {
            let objects = change(index);
            let start = Instant::now();
            put(objects, snapshot, translation);
            start.elapsed()
        })
        .collect();
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{name}: median {:?}, 99 % {:?}, most {:?}", at(50), at(99), at(100));
}

fn put(objects: Vec<Object>, snapshot: &mut Snapshot, translation: &mut Translation) {
    let changed = objects.iter().map(Object::object_ref).collect();
    for object in objects {
        snapshot.insert(object);
    }
    black_box(translation.update(snapshot, &changed));
}

/// Changes that follow each other, by number: each gives the objects that are put.
type Change = fn(usize) -> Vec<Object>;

const CHANGES_OF_A_KIND: usize = 200;

const CHANGES: [(&str, Change); 5] = [
    ("EndpointSlice: an endpoint more or less", |index| {
        vec![slice(index / 2 * 7 % SERVICES, 0, ENDPOINTS_OF_A_SERVICE - index % 2)]
    }),
    ("TCPRoute: another backend", |index| {
        let of_kind = index % ROUTES[2].1;
        vec![named_route("TCPRoute", 4_400 + of_kind, of_kind, index)]
    }),
    ("HTTPRoute: other backends", |index| vec![named_route("HTTPRoute", index, index, index + 1)]),
    ("Service: another application protocol", |index| {
        vec![service(index / 2 % SERVICES, if index % 2 == 0 { "kubernetes.io/h2c" } else { "http" })]
    }),
    ("HTTPRoute beside a burst of 100 EndpointSlices", |index| {
        let mut objects = vec![named_route("HTTPRoute", index, index, index + 2)];
        objects.extend((0..100).map(|at| slice(at, 0, ENDPOINTS_OF_A_SERVICE - index % 2)));
        objects
    }),
];

/// Each is about one Gateway.
const CHANGES_OF_GATEWAYS: [(&str, Change); 4] = [
    ("Gateway: a listener more or less", |index| {
        let mut spec = gateway(index / 2 % GATEWAYS);
        if index % 2 == 0
            && let Some(listeners) = spec["listeners"].as_array_mut()
        {
            listeners.pop();
        }
        vec![named_gateway(index / 2 % GATEWAYS, &spec)]
    }),
    ("Gateway: another label for what is made for it", |index| {
        let mut spec = gateway(index % GATEWAYS);
        spec["infrastructure"] = json!({ "labels": { "change": index.to_string() } });
        vec![named_gateway(index % GATEWAYS, &spec)]
    }),
    ("ListenerSet: another host name", |index| {
        let parent = json!({ "name": format!("edge-{}", index % GATEWAYS) });
        let hostname = format!("{index}.example.com");
        let listener = json!({ "name": "more", "protocol": "HTTP", "port": 80, "hostname": hostname });
        let spec = json!({ "parentRef": parent, "listeners": [listener] });
        vec![object("ListenerSet", "infra", &format!("set-{}", index % GATEWAYS), &spec)]
    }),
    ("Secret: written again", |index| vec![secret(index % GATEWAYS)]),
];

fn time(snapshot: &Snapshot) -> Duration {
    let start = Instant::now();
    black_box(translate(black_box(snapshot)));
    start.elapsed()
}

/// Of the heap.
fn held_kilobytes() -> usize {
    HELD.load(Ordering::Relaxed) / 1000
}

fn cluster() -> Snapshot {
    let mut snapshot = Snapshot::new(Node {
        name: "node-0".to_owned(),
        addresses: (0..GATEWAYS + FURTHER_GATEWAYS)
            .map(|index| address(index).parse().expect("an address"))
            .collect(),
        gateway_addresses: Vec::new(),
        ..Node::default()
    });
    snapshot.served = Service::ALL.into();
    let class = json!({ "controllerName": "gateway-agent.io/controller" });
    snapshot.insert(object("GatewayClass", "", "gateway-agent", &class));
    for index in 0..GATEWAYS {
        snapshot.insert(named_gateway(index, &gateway(index)));
        snapshot.insert(secret(index));
    }
    let routes = ROUTES.iter().flat_map(|(kind, count)| (0..*count).map(move |index| (kind, index)));
    for (index, (kind, of_kind)) in routes.enumerate() {
        snapshot.insert(named_route(kind, index, of_kind, index));
    }
    for index in 0..SERVICES {
        snapshot.insert(service(index, "http"));
        snapshot.insert(slice(index, 0, ENDPOINTS_OF_A_SERVICE));
    }
    snapshot
}

fn service(index: usize, app_protocol: &str) -> Object {
    let ports = json!([
        { "name": "main", "port": 80, "targetPort": 8080, "appProtocol": app_protocol },
        { "name": "udp", "port": 53, "protocol": "UDP", "targetPort": 5353 },
    ]);
    object("Service", "shop", &format!("service-{index}"), &json!({ "ports": ports }))
}

/// Its backends are at `target`.
fn named_route(kind: &str, index: usize, of_kind: usize, target: usize) -> Object {
    object(kind, "shop", &format!("route-{index}"), &route(kind, index, of_kind, target))
}

fn named_gateway(index: usize, spec: &Value) -> Object {
    object("Gateway", "infra", &format!("edge-{index}"), spec)
}

/// Of a Gateway.
fn secret(index: usize) -> Object {
    let (certificate, key) =
        (include_str!("../tests/certificates/exact.crt"), include_str!("../tests/certificates/exact.key"));
    let metadata = json!({ "namespace": "infra", "name": format!("edge-{index}") });
    decode(
        "Secret",
        json!({ "metadata": metadata, "stringData": { "tls.crt": certificate, "tls.key": key } }),
    )
}

fn address(gateway: usize) -> String {
    format!("198.18.{}.{}", gateway / 250, gateway % 250 + 1)
}

/// Web listeners, and 15 ports each for TCP and UDP.
fn gateway(index: usize) -> Value {
    let anyone = json!({ "namespaces": { "from": "All" } });
    let certificate = json!({ "certificateRefs": [{ "name": format!("edge-{index}") }] });
    let mut listeners = vec![
        json!({ "name": "web", "protocol": "HTTP", "port": 80, "allowedRoutes": anyone }),
        json!({ "name": "secure", "protocol": "HTTPS", "port": 443, "tls": certificate }),
    ];
    for port in 0..ROUTES[2].1 / GATEWAYS {
        for protocol in ["TCP", "UDP"] {
            let name = format!("{}-{port}", protocol.to_lowercase());
            listeners.push(
                json!({ "name": name, "protocol": protocol, "port": 9_000 + port, "allowedRoutes": anyone }),
            );
        }
    }
    json!({
        "gatewayClassName": "gateway-agent",
        "listeners": listeners,
        "addresses": [{ "type": "IPAddress", "value": address(index) }],
        "allowedListeners": { "namespaces": { "from": "Same" } },
    })
}

fn route(kind: &str, index: usize, of_kind: usize, target: usize) -> Value {
    let gateway = format!("edge-{}", of_kind % GATEWAYS);
    let section = match kind {
        "TCPRoute" => format!("tcp-{}", of_kind / GATEWAYS),
        "UDPRoute" => format!("udp-{}", of_kind / GATEWAYS),
        _ => "web".to_owned(),
    };
    let parent = json!([{ "name": gateway, "namespace": "infra", "sectionName": section }]);
    let port = if kind == "UDPRoute" { 53 } else { 80 };
    let backend =
        |step: usize| json!({ "name": format!("service-{}", (target + step) % SERVICES), "port": port });
    let host = json!([format!("route-{index}.example.com")]);
    match kind {
        "HTTPRoute" => json!({
            "parentRefs": parent,
            "hostnames": host,
            "rules": [
                {
                    "matches": [{ "path": { "type": "PathPrefix", "value": "/api" } }],
                    "backendRefs": [backend(0)],
                },
                {
                    "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }],
                    "backendRefs": [backend(1), backend(2)],
                },
            ],
        }),
        "GRPCRoute" => json!({
            "parentRefs": parent,
            "hostnames": host,
            "rules": [{ "matches": [{ "method": { "service": "shop.Orders" } }], "backendRefs": [backend(0)] }],
        }),
        _ => json!({ "parentRefs": parent, "rules": [{ "backendRefs": [backend(0)] }] }),
    }
}

fn slice(service: usize, part: usize, endpoints: usize) -> Object {
    let endpoints: Vec<_> = (0..endpoints)
        .map(|index| {
            let number = service * ENDPOINTS_OF_A_SERVICE + index;
            json!({
                "addresses": [format!("10.{}.{}.{}", part, number / 250, number % 250 + 1)],
                "nodeName": format!("node-{}", index % 3),
            })
        })
        .collect();
    let json = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "shop",
            "name": format!("service-{service}-{part}"),
            "labels": { "kubernetes.io/service-name": format!("service-{service}") },
        },
        "addressType": "IPv4",
        "ports": [
            { "name": "main", "port": 8080, "protocol": "TCP" },
            { "name": "udp", "port": 5353, "protocol": "UDP" },
        ],
        "endpoints": endpoints,
    });
    decode("EndpointSlice", json)
}

fn object(kind: &str, namespace: &str, name: &str, spec: &Value) -> Object {
    decode(kind, json!({ "metadata": { "namespace": namespace, "name": name }, "spec": spec }))
}

fn decode(kind: &str, json: Value) -> Object {
    let kind = Kind::ALL.iter().copied().find(|it| it.name() == kind).expect("a kind");
    Object::decode(kind, json, &mut |_| ()).expect("an object of its kind")
}
