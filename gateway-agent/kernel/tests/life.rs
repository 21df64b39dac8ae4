//! The life of a pin folder: made, fed, taken over, changed, removed. Needs root.
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]

mod node;
mod packets;
mod tables;

use std::fs;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::links::PinnedLink;
use aya::programs::{SchedClassifier, TcAttachType, TestRun, TestRunOptions};
use gateway_agent_kernel::{
    ApplyProblem, AttachError, DetachError, Kernel, OpenError, Options, Pins, Sizes, Stats, detach,
};
use gateway_agent_tables::{L4Tables, Protocol};
use gateway_common::maps::{LABEL_BYTES, Label, LabelKey, LabelKind, Settings};
use node::{Node, device, ip};
use packets::{ACK, SYN, segment};
use tables::{endpoint, frontend, tables};

#[test]
fn tables_are_applied_once() {
    Node::run(|node| {
        let mut kernel = Kernel::open(&node.options()).unwrap();
        let tables = tables(&[
            frontend(
                80,
                &[
                    ("web", 90, &[endpoint(1, "here"), endpoint(2, "there")]),
                    ("canary", 10, &[endpoint(3, "here")]),
                ],
            ),
            frontend(443, &[]),
        ]);
        let first = kernel.apply(&tables);
        assert_eq!(first.problems, []);
        assert!(first.changes > 0);
        let second = kernel.apply(&tables);
        assert_eq!((second.changes, second.problems), (0, vec![]));

        let stats = stats(node);
        assert_eq!(names(&stats), ["80 canary", "80 web"]);
        assert_eq!(stats.frontends.iter().map(|f| f.port).collect::<Vec<_>>(), [80, 443]);
        assert_eq!(stats.routes[0].route, "TCPRoute test/route-80");
        assert!(stats.reasons.iter().all(|r| r.packets == 0 && !r.description.is_empty()));
        for (name, used) in
            [("frontends", 2), ("backends", 2), ("services", 2), ("endpoints", 3), ("flows", 0)]
        {
            assert_eq!(fill(&stats, name), used, "{name}");
        }
        assert_eq!(Pins::open(&node.pin()).unwrap().flows(), []);
    });
}

#[test]
fn a_new_agent_keeps_ids_and_finds_everything_in_place() {
    Node::run(|node| {
        let tables = tables(&[
            frontend(80, &[("web", 1, &[endpoint(1, "here"), endpoint(2, "there")])]),
            frontend(81, &[("web", 1, &[endpoint(1, "here"), endpoint(2, "there")])]),
        ]);
        let mut first = Kernel::open(&node.options()).unwrap();
        first.attach(&device("lan")).unwrap();
        // Ids not in the order of a fresh start.
        let _ = first.apply(&tables::tables(&[frontend(79, &[("old", 1, &[endpoint(9, "here")])])]));
        assert_eq!(first.apply(&tables).problems, []);
        let before = stats(node);
        let programs = programs("lan");
        drop(first);
        assert_eq!(stats(node), before, "no agent is needed");

        let mut second = Kernel::open(&node.options()).unwrap();
        assert_eq!(stats(node), before);
        let report = second.apply(&tables);
        assert_eq!((report.changes, report.problems), (0, vec![]));
        assert_eq!(stats(node), before);
        assert_eq!(second.attached().unwrap(), [node::ifindex("lan")]);
        let replaced = self::programs("lan");
        assert_eq!(replaced.len(), 1);
        assert_ne!(replaced, programs, "the link has the new agent's program");
        assert_eq!(Pins::open(&node.pin()).unwrap().summary().unwrap().generation, 2);
        assert_eq!(stages(node), ["stages-2"]);
    });
}

#[test]
fn what_is_removed_makes_room() {
    Node::run(|node| {
        let options = node.options();
        let mut kernel = Kernel::open(&options).unwrap();
        // Every frontend, and more endpoints than half of what there is room for, are replaced each time.
        for round in 0..20u16 {
            let frontends: Vec<_> = (0..16)
                .map(|i| frontend(1000 + round * 16 + i, &[("web", 1, &[endpoint(round * 16 + i, "here")])]))
                .collect();
            let report = kernel.apply(&tables(&frontends));
            assert_eq!(report.problems, [], "round {round}");
            assert_eq!(fill(&stats(node), "endpoints"), 16);
        }
        assert_eq!(kernel.apply(&L4Tables::default()).problems, []);
        let stats = stats(node);
        for name in ["frontends", "backends", "services", "endpoints", "ring-places"] {
            assert_eq!(fill(&stats, name), 0, "{name}");
        }
    });
}

#[test]
fn one_that_does_not_fit_harms_no_other() {
    Node::run(|node| {
        let mut options = node.options();
        options.sizes = Sizes { frontends: 2, endpoints: 3, ..options.sizes };
        let mut kernel = Kernel::open(&options).unwrap();
        let endpoints: Vec<_> = (0..5).map(|i| endpoint(i, "here")).collect();
        let report = kernel.apply(&tables(&[
            frontend(1, &[("web", 1, &endpoints)]),
            frontend(2, &[("web", 1, &endpoints)]),
            frontend(3, &[("web", 1, &endpoints)]),
        ]));
        let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems.iter().any(|p| p.contains("192.0.2.1:3/tcp is not served")), "{problems:?}");
        assert!(problems.iter().filter(|p| p.contains("gets no connections")).count() == 2, "{problems:?}");
        let stats = stats(node);
        assert_eq!(
            (fill(&stats, "frontends"), fill(&stats, "endpoints"), fill(&stats, "services")),
            (2, 3, 3)
        );
        // Less again: everything fits.
        assert_eq!(kernel.apply(&tables(&[frontend(3, &[("web", 1, &endpoints[3..])])])).problems, []);
    });
}

#[test]
fn a_ring_without_room_is_shorter() {
    Node::run(|node| {
        let mut options = node.options();
        options.sizes.ring_places = 500;
        let mut kernel = Kernel::open(&options).unwrap();
        let endpoints: Vec<_> = (0..4).map(|i| endpoint(i, "here")).collect();
        assert_eq!(kernel.apply(&tables(&[frontend(1, &[("web", 1, &endpoints)])])).problems, []);
        assert_eq!(fill(&stats(node), "ring-places"), 401);

        let both = tables(&[frontend(1, &[("web", 1, &endpoints)]), frontend(2, &[("web", 1, &endpoints)])]);
        let problems = kernel.apply(&both).problems;
        assert!(matches!(problems[..], [ApplyProblem::RingPlacesFull { needed: 401, .. }]), "{problems:?}");
        let places = fill(&stats(node), "ring-places");
        assert!((405..500).contains(&places), "{places}");
        let again = kernel.apply(&both);
        assert_eq!((again.changes, again.problems), (0, problems), "nothing is written in vain");

        assert_eq!(kernel.apply(&tables(&[frontend(2, &[("web", 1, &endpoints)])])).problems, []);
        assert_eq!(fill(&stats(node), "ring-places"), 401);
        // A new ring stands beside the old one until that is free.
        assert_eq!(kernel.apply(&tables(&[frontend(2, &[("web", 1, &endpoints[1..])])])).problems, []);
        assert_eq!(fill(&stats(node), "ring-places"), 401);
    });
}

#[test]
fn endpoints_drain_before_they_go() {
    Node::run(|node| {
        let mut kernel = Kernel::open(&node.options()).unwrap();
        let both = [endpoint(1, "here"), endpoint(2, "here")];
        let mut tables = tables(&[frontend(80, &[("web", 1, &both)])]);
        assert_eq!(kernel.apply(&tables).problems, []);
        for set in tables.services.values_mut() {
            set.ready.remove(&both[0]);
        }
        assert_eq!(kernel.apply(&tables).problems, []);
        assert_eq!(fill(&stats(node), "endpoints"), 2, "draining");
        tables.alive.retain(|(_, address)| *address != both[0].address);
        assert_eq!(kernel.apply(&tables).problems, []);
        assert_eq!(fill(&stats(node), "endpoints"), 1, "gone");
    });
}

#[test]
fn a_folder_has_one_agent() {
    Node::run(|node| {
        let kernel = Kernel::open(&node.options()).unwrap();
        assert!(matches!(Kernel::open(&node.options()), Err(OpenError::InUse { .. })));
        assert!(matches!(detach(&node.pin()), Err(DetachError::InUse { .. })));
        drop(kernel);
        Kernel::open(&node.options()).unwrap();
    });
}

#[test]
fn a_folder_must_be_on_a_bpffs() {
    Node::run(|_| {
        let error = Kernel::open(&Options::new("/mnt/elsewhere", "here")).unwrap_err();
        assert!(
            matches!(error, OpenError::NotBpffs { .. }) && error.to_string().contains("mount -t bpf"),
            "{error}"
        );
        assert!(!std::path::Path::new("/mnt/elsewhere").exists());
    });
}

/// What happens to an agent's maps, how the next one is started, and why it can't take them over.
type Case = (fn(&Node), fn(&Options) -> Options, &'static str);

#[test]
fn what_cannot_be_taken_over_is_set_aside() {
    let sizes =
        |options: &Options| Options { sizes: Sizes { endpoints: 64, ..options.sizes }, ..options.clone() };
    let ports = |options: &Options| Options { snat_ports: "4000-5000".parse().unwrap(), ..options.clone() };
    let same = |options: &Options| options.clone();
    let cases: [Case; 4] = [
        (|_| (), sizes, "its map endpoints has"),
        (|_| (), ports, "its flows use the SNAT ports 2048-29999"),
        (|node| mark_as_layout(node, 99), same, "its maps have layout 99, and ours is"),
        (|node| fs::remove_file(node.pin().join("maps/hops")).unwrap(), same, "its map hops is missing"),
    ];
    for (change, options, why) in cases {
        Node::run(move |node| {
            let mut first = Kernel::open(&node.options()).unwrap();
            first.attach(&device("lan")).unwrap();
            assert_eq!(first.set_aside(), None);
            drop(first);
            let before = programs("lan");
            change(node);
            let mut second = Kernel::open(&options(&node.options())).unwrap();
            assert!(second.set_aside().unwrap().starts_with(why), "{:?}", second.set_aside());
            assert_eq!(programs("lan"), before, "packets meet the former programs until there are others");
            second.attach(&device("lan")).unwrap();
            let (after, ours) = (programs("lan"), second.program("ingress").unwrap().info().unwrap().id());
            assert_eq!(after, [&before[..], &[format!("ingress {ours}")]].concat(), "ours come next");
            second.take_newcomers().unwrap();
            drop(second);

            let third = Kernel::open(&options(&node.options())).unwrap();
            assert_eq!(third.set_aside(), None, "that of the second is taken over");
            assert!(third.former_age().is_some());
            third.give_up_former().unwrap();
            assert_eq!((programs("lan").len(), third.former_age()), (1, None));
        });
    }
}

#[test]
fn flows_outlive_maps_that_are_set_aside() {
    Node::run(|node| {
        node::routes_to("lan");
        let tables = tables(&[frontend(80, &[("web", 1, &[endpoint(1, "here")])])]);
        let mut first = Kernel::open(&node.options()).unwrap();
        first.attach(&device("lan")).unwrap();
        assert_eq!(first.apply(&tables).problems, []);
        let vip = ([192, 0, 2, 1], 80);
        let client = |port| ([10, 0, 9, 9], port);
        assert_eq!(arrive(&first, &segment(client(5555), vip, SYN)), REDIRECT);

        mark_as_layout(node, 99);
        drop(first);
        let (_, mut attached) = SchedClassifier::query_tcx("lan", TcAttachType::Ingress).unwrap();
        let former = SchedClassifier::from_program_info(attached.remove(0), "ingress".into()).unwrap();
        let former = |frame: &[u8]| verdict(&former, frame);
        let mut second = Kernel::open(&node.options()).unwrap();
        assert_eq!(second.apply(&tables).problems, []);
        second.attach(&device("lan")).unwrap();
        assert_eq!(former(&segment(client(5556), vip, SYN)), REDIRECT, "somebody serves at any time");
        second.take_newcomers().unwrap();
        for port in [5555, 5556] {
            assert_eq!(former(&segment(client(port), vip, ACK)), REDIRECT, "flows go on");
        }
        assert_eq!(former(&segment(client(5557), vip, SYN)), PASS, "newcomers are ours");
        assert_eq!(arrive(&second, &segment(client(5557), vip, SYN)), REDIRECT);
        assert_eq!(Pins::open(&node.pin()).unwrap().flows().len(), 1);
        drop(second);
        let detached = detach(&node.pin()).unwrap();
        assert_eq!(detached.links, [node::ifindex("lan")]);
        assert_eq!(programs("lan"), Vec::<String>::new());
        assert!(!node.pin().exists());
    });
}

/// As an agent of another version leaves it.
fn mark_as_layout(node: &Node, layout: u32) {
    let map = MapData::from_pin(node.pin().join("maps/settings")).unwrap();
    let mut map = Array::<_, Settings>::try_from(Map::Array(map)).unwrap();
    let settings = map.get(&0, 0).unwrap();
    map.set(0, Settings { layout, ..settings }, 0).unwrap();
}

#[test]
fn a_first_start_that_was_cut_off_is_repeated() {
    Node::run(|node| {
        drop(Kernel::open(&node.options()).unwrap());
        fs::remove_file(node.pin().join("maps/settings")).unwrap();
        let mut kernel = Kernel::open(&node.options()).unwrap();
        assert_eq!(kernel.apply(&tables(&[frontend(80, &[])])).problems, []);
    });
}

#[test]
fn what_an_agent_left_half_done_is_cleared() {
    Node::run(|node| {
        let tables = tables(&[frontend(80, &[("web", 1, &[endpoint(1, "here")])])]);
        let mut kernel = Kernel::open(&node.options()).unwrap();
        assert_eq!(kernel.apply(&tables).problems, []);
        drop(kernel);
        let before = stats(node);

        // Ids that were named, but never came into use; one label is not even readable.
        let map = MapData::from_pin(node.pin().join("maps/labels")).unwrap();
        let mut labels = HashMap::<_, LabelKey, Label>::try_from(Map::HashMap(map)).unwrap();
        let used = labels.keys().count();
        for (kind, id) in [(LabelKind::Frontend, 9), (LabelKind::Backend, 9), (LabelKind::Ring, 9)] {
            let template =
                labels.get(&LabelKey { kind: kind as u32, id: u32::from(kind == LabelKind::Backend) }, 0);
            labels.insert(LabelKey { kind: kind as u32, id }, template.unwrap(), 0).unwrap();
        }
        let unreadable = Label { text: [b'x'; LABEL_BYTES] };
        labels.insert(LabelKey { kind: LabelKind::Backend as u32, id: 10 }, unreadable, 0).unwrap();
        assert_eq!(labels.keys().count(), used + 4);

        let mut kernel = Kernel::open(&node.options()).unwrap();
        assert_eq!(kernel.apply(&tables).problems, []);
        assert_eq!(labels.keys().count(), used);
        assert_eq!(stats(node).frontends, before.frontends);
    });
}

#[test]
fn our_program_is_the_device_s_first() {
    Node::run(|node| {
        let mut kernel = Kernel::open(&node.options()).unwrap();
        let mut others = kernel.load(gateway_agent_kernel::OBJECT).unwrap();
        let other: &mut SchedClassifier = others.program_mut("refuse").unwrap().try_into().unwrap();
        other.load().unwrap();
        other.attach("lan", TcAttachType::Ingress).unwrap();
        kernel.attach(&device("lan")).unwrap();
        let names: Vec<_> = programs("lan").iter().map(|p| p.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(names, ["ingress", "refuse"]);
    });
}

#[test]
fn links_of_vanished_devices_are_removed() {
    Node::run(|node| {
        let mut kernel = Kernel::open(&node.options()).unwrap();
        let lan = device("lan");
        kernel.attach(&lan).unwrap();
        kernel.attach(&device("pod")).unwrap();
        // As a child has a copy of what an agent has open, until it executes its program.
        let pod = node.pin().join(format!("links/{}", device("pod").ifindex));
        let _copy = PinnedLink::from_pin(pod).unwrap();
        kernel.detach(device("pod").ifindex).unwrap();
        assert_eq!(programs("pod"), Vec::<String>::new());
        assert_eq!(kernel.attached().unwrap(), [lan.ifindex]);
        ip("link del lan");
        assert!(matches!(kernel.attach(&lan), Err(AttachError::Vanished { .. })));
        assert_eq!(kernel.attached().unwrap(), [0; 0]);

        ip("link add lan type veth peer name pod");
        kernel.attach(&device("lan")).unwrap();
        drop(kernel);
        ip("link del lan");
        assert_eq!(Kernel::open(&node.options()).unwrap().attached().unwrap(), [0; 0]);
    });
}

#[test]
fn programs_run_by_test_run() {
    Node::run(|node| {
        let kernel = Kernel::open(&node.options()).unwrap();
        let program = kernel.program("ingress").unwrap();
        let frame = [0; 64];
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
        let verdict = program.test_run(options).unwrap().return_value;
        // TC_ACT_UNSPEC: not ours.
        assert_eq!(verdict, u32::MAX);
    });
}

#[test]
fn detach_leaves_nothing() {
    Node::run(|node| {
        let mut kernel = Kernel::open(&node.options()).unwrap();
        kernel.attach(&device("lan")).unwrap();
        let _ = kernel.apply(&tables(&[frontend(80, &[("web", 1, &[endpoint(1, "here")])])]));
        drop(kernel);
        let detached = detach(&node.pin()).unwrap();
        assert_eq!((detached.links, detached.maps, detached.stages), (vec![node::ifindex("lan")], 24, 1));
        assert_eq!(programs("lan"), Vec::<String>::new());
        assert!(!node.pin().exists());
        assert!(matches!(detach(&node.pin()), Err(DetachError::Nothing { .. })));
        assert!(Pins::open(&node.pin()).is_err());
    });
}

fn stats(node: &Node) -> Stats {
    Pins::open(&node.pin()).unwrap().stats().unwrap()
}

fn fill(stats: &Stats, table: &str) -> u64 {
    stats.tables.iter().find(|t| t.name == table).unwrap().used
}

/// Port and backend, in order.
fn names(stats: &Stats) -> Vec<String> {
    let port = |id| stats.frontends.iter().find(|f| f.id == id).unwrap().port;
    let mut names: Vec<_> =
        stats.backends.iter().map(|b| format!("{} {}", port(b.frontend), b.backend)).collect();
    names.sort();
    names
}

fn stages(node: &Node) -> Vec<String> {
    let entries = fs::read_dir(node.pin()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("stages")).collect()
}

/// The programs at a device's ingress, in order: name and id.
fn programs(device: &str) -> Vec<String> {
    let (_, programs) = SchedClassifier::query_tcx(device, TcAttachType::Ingress).unwrap();
    programs.iter().map(|p| format!("{} {}", p.name_as_str().unwrap(), p.id())).collect()
}

#[test]
fn flows_outlive_their_frontend_and_the_agent() {
    Node::run(|node| {
        node::routes_to("lan");
        let mut kernel = Kernel::open(&node.options()).unwrap();
        kernel.attach(&device("lan")).unwrap();
        let mut tables = tables(&[frontend(80, &[("web", 1, &[endpoint(1, "here")])])]);
        assert_eq!(kernel.apply(&tables).problems, []);

        let (client, vip, pod) = (([10, 0, 9, 9], 5555), ([192, 0, 2, 1], 80), ([10, 0, 0, 1], 8080));
        assert_eq!(arrive(&kernel, &segment(client, vip, SYN)), REDIRECT);
        let flows = Pins::open(&node.pin()).unwrap().flows();
        let [flow] = &flows[..] else { panic!("{flows:?}") };
        assert_eq!((flow.client, flow.frontend), (client.into(), vip.into()));
        assert_eq!((flow.endpoint, flow.source), (pod.into(), client.into()));
        assert_eq!((flow.protocol, flow.state_name()), (Protocol::Tcp, "opening"));
        // Ticks of 67 ms have begun when they are counted.
        let most = node::TCP_OPENING + Duration::from_millis(100);
        assert!((node::TCP_OPENING / 2..=most).contains(&flow.expires_in), "{flow:?}");
        let stats = stats(node);
        assert_eq!((stats.frontends[0].flows, stats.backends[0].traffic.flows), (1, 1));
        assert_eq!(flow.backend_id, stats.backends[0].id);
        assert_eq!(stats.routes[0].traffic, stats.backends[0].traffic);

        tables.frontends.clear();
        tables.services.clear();
        assert_eq!(kernel.apply(&tables).problems, []);
        drop(kernel);
        let mut kernel = Kernel::open(&node.options()).unwrap();
        assert_eq!(kernel.apply(&tables).problems, []);
        assert_eq!(arrive(&kernel, &segment(pod, client, SYN | ACK)), REDIRECT);
        assert_eq!(arrive(&kernel, &segment(client, vip, ACK)), REDIRECT);
        assert_eq!(arrive(&kernel, &segment(([10, 0, 9, 9], 5556), vip, SYN)), PASS);

        tables.alive.clear();
        assert_eq!(kernel.apply(&tables).problems, []);
        assert_ne!(arrive(&kernel, &segment(client, vip, ACK)), PASS);
        assert_eq!(Pins::open(&node.pin()).unwrap().flows(), []);
        let stats = self::stats(node);
        assert_eq!(stats.reasons.iter().find(|r| r.name == "endpoint_gone").unwrap().packets, 1);
    });
}

/// `TC_ACT_REDIRECT` and `TC_ACT_UNSPEC` of `linux/pkt_cls.h`.
const REDIRECT: u32 = 7;
const PASS: u32 = u32::MAX;

/// The entry program's verdict on a frame that arrives at `lan`.
fn arrive(kernel: &Kernel, frame: &[u8]) -> u32 {
    verdict(kernel.program("ingress").unwrap(), frame)
}

fn verdict(program: &SchedClassifier, frame: &[u8]) -> u32 {
    // struct __sk_buff of linux/bpf.h: 192 bytes, ifindex at 40.
    let mut context = [0; 192];
    context[40..44].copy_from_slice(&node::ifindex("lan").to_ne_bytes());
    let options = TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), ..TestRunOptions::new() };
    program.test_run(options).unwrap().return_value
}
