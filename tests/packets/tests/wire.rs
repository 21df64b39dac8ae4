//! Packets whose checksums and segments are left to the device, and packets in pieces: put on a link, through the
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]
//! attached programs, and looked at on the next link. Needs root.

use packets::connection::Connection;
use packets::net::Net;
use packets::packet::{ACK, FIN, Packet, SYN, port_unreachable, reset, reset_and_ack, tcp, udp};
use packets::tables::{Plan, Tcp, Udp, here, share, there};
use packets::wire::{Form, Wire};
use packets::{Node, Port};

const SEGMENT: u16 = 1400;

/// What is sent in which form: short and long, even and odd.
const LOADS: [(usize, Form); 11] = [
    (0, Form::Whole),
    (5, Form::Whole),
    (0, Form::Partial),
    (5, Form::Partial),
    (1400, Form::Partial),
    // Cut behind the link header, in either IP header, in either TCP header.
    (5001, Form::Scattered(14)),
    (5001, Form::Scattered(30)),
    (5001, Form::Scattered(50)),
    (5001, Form::Scattered(70)),
    (2801, Form::Segmented(SEGMENT)),
    (20_001, Form::Segmented(SEGMENT)),
];

fn payload(length: usize) -> Vec<u8> {
    (0u8..251).cycle().take(length).collect()
}

/// Both ends of the node's links.
struct Wires([Wire; 3]);

impl Wires {
    fn of(node: &Node) -> Self {
        Self(Port::ALL.map(|port| node.wire(port)))
    }

    fn at(&self, port: Port) -> &Wire {
        &self.0[port as usize]
    }

    /// What enters by one device leaves by another as that packet, or as its segments.
    #[track_caller]
    fn carry(
        &self,
        (from, sent): (Port, &Packet),
        form: Form,
        (to, expected): (Port, &Packet),
        offload: bool,
    ) {
        self.at(from).sends(sent, from.mac(), form);
        let packets = match form {
            Form::Segmented(size) if !offload => expected.segments(size.into()),
            _ => vec![expected.clone()],
        };
        for packet in packets {
            let captured = self.at(to).receives();
            assert!(
                captured.frame == packet.frame(to.peer_mac(), to.mac()),
                "another packet left by {to:?}: {:02x?} instead of {packet:?}",
                captured.frame
            );
            let is_left_to_device = offload && matches!(form, Form::Partial | Form::Segmented(_));
            assert_eq!(captured.was_partial, is_left_to_device);
            let segment = if let (Form::Segmented(size), true) = (form, offload) { Some(size) } else { None };
            assert_eq!(captured.segment, segment);
        }
    }
}

fn routes(net: Net) -> Plan {
    let (near, far) = ([here(net.here(2))], [there(net.there(2))]);
    Plan::default()
        .route(Tcp, net.frontend(80), &[share("near", 1, &near)])
        .route(Tcp, net.frontend(Net::ENDPOINT_PORT), &[share("same-port", 1, &near)])
        .route(Tcp, net.frontend(81), &[share("far", 1, &far)])
        .route(Udp, net.frontend(80), &[share("near-dns", 1, &near)])
        .route(Udp, net.frontend(81), &[share("far-dns", 1, &far)])
}

#[test]
fn segments_of_connections_are_right_on_the_wire() {
    Node::run(|node| {
        let wires = Wires::of(node);
        for net in Net::BOTH {
            node.apply(&routes(net));
            for port in [80, 81, Net::ENDPOINT_PORT] {
                let frontend = net.frontend(port);
                let flow = Connection::established(node, net.client(40_000), frontend);
                for offload in [true, false] {
                    node.offload(offload);
                    for (length, form) in LOADS {
                        println!("{frontend}: {length} bytes, {form:?}, offloads: {offload}");
                        let request = flow.request().ack(1001, 5001).timestamp(9).with(&payload(length));
                        let on = request.from(flow.source).to(flow.endpoint).hopped();
                        wires.carry((Port::Wan, &request), form, (flow.port, &on), offload);
                        let answer = flow.answer().ack(5001, 1001).with(&payload(length));
                        let on = answer.from(frontend).to(flow.client).hopped();
                        wires.carry((flow.port, &answer), form, (Port::Wan, &on), offload);
                    }
                }
            }
        }
    });
}

#[test]
fn datagrams_are_right_on_the_wire() {
    Node::run(|node| {
        let wires = Wires::of(node);
        for net in Net::BOTH {
            node.apply(&routes(net));
            for (frontend, port) in [(net.frontend(80), Port::Pods), (net.frontend(81), Port::Lan)] {
                let first = node.receives(Port::Wan, &udp(net.client(40_000), frontend, b""));
                let (source, endpoint) = (first.source(), first.destination());
                assert!(first.is_redirected());
                for offload in [true, false] {
                    node.offload(offload);
                    for (length, form) in LOADS {
                        println!("{frontend}: {length} bytes, {form:?}, offloads: {offload}");
                        let question = udp(net.client(40_000), frontend, &payload(length));
                        let on = question.from(source).to(endpoint).hopped();
                        wires.carry((Port::Wan, &question), form, (port, &on), offload);
                        let answer = udp(endpoint, source, &payload(length));
                        let on = answer.from(frontend).to(net.client(40_000)).hopped();
                        wires.carry((port, &answer), form, (Port::Wan, &on), offload);
                    }
                }
            }
        }
    });
}

/// From the first packet of a connection on, which another program handles.
#[test]
fn newcomers_are_right_on_the_wire() {
    Node::run(|node| {
        let wires = Wires::of(node);
        for net in Net::BOTH {
            node.apply(&routes(net));
            let mut client = 40_000;
            for offload in [true, false] {
                node.offload(offload);
                for (length, form) in LOADS {
                    client += 1;
                    let frontend = net.frontend(80);
                    let endpoint = net.here(2);
                    println!("{net:?}: {length} bytes, {form:?}, offloads: {offload}");
                    // Segmented SYNs don't exist.
                    if !matches!(form, Form::Segmented(_)) {
                        let syn =
                            tcp(net.client(client), frontend).syn(1000).timestamp(1).with(&payload(length));
                        let on = syn.to(endpoint).hopped();
                        wires.carry((Port::Wan, &syn), form, (Port::Pods, &on), offload);
                    }
                    let datagram = udp(net.client(client), frontend, &payload(length));
                    let on = datagram.to(endpoint).hopped();
                    wires.carry((Port::Wan, &datagram), form, (Port::Pods, &on), offload);
                }
            }
        }
    });
}

/// The answer to a packet takes the packet's own buffer, with all that was still to be done to it.
#[test]
fn resets_are_right_on_the_wire() {
    Node::run(|node| {
        let wires = Wires::of(node);
        for net in Net::BOTH {
            let frontend = net.frontend(80);
            for offload in [true, false] {
                node.offload(offload);
                for (client, (length, form)) in (40_000..).zip(LOADS) {
                    for flags in [SYN, ACK, ACK | FIN] {
                        if flags != ACK && matches!(form, Form::Segmented(_)) {
                            continue;
                        }
                        println!("{net:?}: flags {flags:#x}, {length} bytes, {form:?}, offloads: {offload}");
                        let client = net.client(client);
                        if flags == SYN {
                            node.apply(&Plan::default().route(Tcp, frontend, &[]));
                        } else {
                            node.apply(&routes(net));
                            Connection::established(node, client, frontend);
                            node.apply(&Plan::default());
                        }
                        let acknowledgment = if flags == SYN { 0 } else { 5001 };
                        let cause =
                            tcp(client, frontend).segment(flags, 1001, acknowledgment).with(&payload(length));
                        let answer = if flags == SYN {
                            reset_and_ack(frontend, client, 1002 + u32::try_from(length).unwrap())
                        } else {
                            reset(frontend, client, 5001)
                        };
                        wires.at(Port::Wan).sends(&cause, Port::Wan.mac(), form);
                        let captured = wires.at(Port::Wan).receives();
                        let expected = answer.frame(Port::Wan.peer_mac(), Port::Wan.mac());
                        assert_eq!(captured.frame, expected);
                        assert_eq!(captured.segment, None);
                    }
                }
            }
        }
    });
}

#[test]
fn unreachable_messages_are_right_on_the_wire() {
    Node::run(|node| {
        let wires = Wires::of(node);
        for net in Net::BOTH {
            let (client, frontend) = (net.client(40_000), net.frontend(80));
            for offload in [true, false] {
                node.offload(offload);
                for (length, form) in LOADS {
                    println!("{net:?}: {length} bytes, {form:?}, offloads: {offload}");
                    let datagram = udp(client, frontend, &payload(length));
                    node.apply(&routes(net));
                    let on = datagram.to(net.here(2)).hopped();
                    wires.carry((Port::Wan, &datagram), form, (Port::Pods, &on), offload);
                    node.apply(&Plan::default());
                    wires.at(Port::Wan).sends(&datagram, Port::Wan.mac(), form);
                    let captured = wires.at(Port::Wan).receives();

                    // The quoted datagram's checksum was never made; whatever stands there is covered by the message's.
                    let mut answer = port_unreachable(&datagram);
                    let at = answer.payload.len() - 2;
                    if !matches!(form, Form::Whole | Form::Scattered(_)) {
                        let quoted = captured.frame.len() - 2;
                        answer.payload[at..].copy_from_slice(&captured.frame[quoted..]);
                    }
                    assert_eq!(captured.frame, answer.frame(Port::Wan.peer_mac(), Port::Wan.mac()));
                    assert_eq!(captured.segment, None);
                }
            }
        }
    });
}
