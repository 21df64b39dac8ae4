//! A node with the real programs, and packets that arrive at it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use aya::maps::{Map, MapData, MapError, ProgramArray};
use aya::programs::{TestRun, TestRunOptions};
use gateway_agent_kernel::{
    Announcements, Device, DeviceKind, Flow, Kernel, Options, PeerLink, Pins, PortRange, Sizes, Stats,
};
use gateway_agent_tables::{FrontendKey, Protocol};
use gateway_common::maps::Stage;
use lab::{Lab, Namespace};

use crate::net::Net;
use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::table::Table;
use crate::tables::{HERE, Plan};
use crate::wire::Wire;

/// A device of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Towards clients.
    Wan,
    /// Towards other nodes.
    Lan,
    /// Towards the endpoints on this node.
    Pods,
}

impl Port {
    pub const ALL: [Self; 3] = [Self::Wan, Self::Lan, Self::Pods];

    pub fn name(self) -> &'static str {
        match self {
            Self::Wan => "wan",
            Self::Lan => "lan",
            Self::Pods => "pods",
        }
    }

    /// The device's own address.
    pub fn mac(self) -> [u8; 6] {
        [2, 0, 0, 0, 0, self as u8 + 1]
    }

    /// That of whoever is at the other end.
    pub fn peer_mac(self) -> [u8; 6] {
        [2, 0, 0, 0, 1, self as u8 + 1]
    }

    fn address(self, net: Net) -> IpAddr {
        match self {
            Self::Wan => net.frontend(0).ip(),
            Self::Lan => net.node(0).ip(),
            Self::Pods => {
                let pods = if net == Net::V4 { "10.1.0.1" } else { "fd00:1::1" };
                pods.parse().expect("an address")
            }
        }
    }
}

/// Runs on a thread inside the node's network namespace; everything is gone when it ends.
pub struct Node {
    pin: PathBuf,
    kernel: Kernel,
    pins: Pins,
    ifindex: [u32; 3],
    inside: Namespace,
    outside: Namespace,
}

impl Node {
    /// Tells a story on a node with small tables. Fails without root.
    pub fn run(story: impl FnOnce(&mut Self) + Send) {
        Self::run_with(|_| (), story);
    }

    /// The same with other options.
    pub fn run_with(change: impl FnOnce(&mut Options) + Send, story: impl FnOnce(&mut Self) + Send) {
        let lab = Lab::new("packets").expect("this test needs root");
        let [inside, outside] = ["node", "outside"].map(|name| lab.namespace(name).expect("a namespace"));
        let pin = lab.bpffs("bpf").expect("a bpffs").join("gateway-agent");
        set_up(&inside, &outside);
        inside.run(|| {
            let mut options = Options::new(pin, HERE);
            options.sizes = Sizes {
                flows: 1000,
                frontends: 64,
                backends: 64,
                services: 64,
                endpoints: 64,
                ring_places: 16_384,
            };
            options.snat_ports = PortRange::new(2048, 4095).expect("a range");
            // No flow ends by itself between two packets of a story, also on a machine that stalls.
            let timeouts = &mut options.timeouts;
            (timeouts.tcp_opening, timeouts.tcp_closed, timeouts.udp_opening) =
                (SHORTEST, SHORTEST, SHORTEST);
            change(&mut options);
            story(&mut Self::open(&options, inside.clone(), outside));
        });
    }

    fn open(options: &Options, inside: Namespace, outside: Namespace) -> Self {
        let mut kernel = Kernel::open(options).expect("the programs load");
        let pins = Pins::open(&options.pin).expect("the maps are pinned");
        let ifindex = Port::ALL.map(|port| {
            let device = device(port);
            kernel.attach(&device).expect("the device takes the program");
            device.ifindex
        });
        Self { pin: options.pin.clone(), kernel, pins, ifindex, inside, outside }
    }

    /// Feeds the kernel, all of it.
    pub fn apply(&mut self, plan: &Plan) {
        let report = self.kernel.apply(&plan.0);
        assert_eq!(report.problems, [], "the tables fit");
    }

    /// Connections to a frontend go to the proxy.
    pub fn steer(&mut self, frontend: SocketAddr) {
        let port = frontend.port().try_into().expect("a port");
        let key = FrontendKey { address: frontend.ip(), port, protocol: Protocol::Tcp };
        assert_eq!(self.kernel.steer(&[key].into()).problems, [], "the program can be attached");
    }

    /// The programs no longer see the device.
    pub fn detach(&mut self, port: Port) {
        self.kernel.detach(self.ifindex(port)).expect("the device is left");
    }

    pub fn attach(&mut self, port: Port) {
        self.attach_as(port, |_| ());
    }

    /// The programs see the device as something else.
    pub fn attach_as(&mut self, port: Port, change: impl FnOnce(&mut Device)) {
        let mut device = device(port);
        change(&mut device);
        self.kernel.attach(&device).expect("the device takes the program");
    }

    /// How other nodes are reached.
    pub fn set_peers(&mut self, links: &[(&str, PeerLink)]) {
        let links = links.iter().map(|(name, link)| ((*name).to_owned(), *link)).collect();
        self.kernel.set_peers(&links).expect("the peers are written");
    }

    /// A handle to announce pool addresses with.
    pub fn announcements(&self) -> Announcements {
        self.kernel.announcements(gateway_agent_kernel::OBJECT).expect("the program loads")
    }

    /// A packet arrives at a device, in a frame addressed to it.
    pub fn receives(&self, port: Port, packet: &Packet) -> Outcome {
        self.receives_frame(port, &packet.frame(port.mac(), port.peer_mac()))
    }

    /// Any frame arrives.
    pub fn receives_frame(&self, port: Port, frame: &[u8]) -> Outcome {
        let before = self.reasons();
        let (verdict, left, left_by) = self.process(port, frame);
        let counted = self.reasons().into_iter().zip(before).filter(|(now, then)| now.1 != then.1);
        let counted = counted.map(|(now, then)| (now.0, now.1 - then.1)).collect();
        Outcome { arrived_at: port, arrived: frame.to_vec(), verdict, left_by, left, counted }
    }

    /// Any frame arrives, and nobody looks at the counters: the verdict, the frame after it, and where it leaves.
    pub fn process(&self, port: Port, frame: &[u8]) -> (i32, Vec<u8>, Option<Port>) {
        let context = Context::arriving_at(self.ifindex(port));
        let mut context_after = [0; Context::BYTES];
        // Room for an answer that is longer than its cause.
        let mut after = vec![0; frame.len() + 256];
        let program = self.kernel.program("ingress").expect("the object has its entry program");
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut after),
                ctx_in: Some(&context.0),
                ctx_out: Some(&mut context_after),
                ..TestRunOptions::default()
            })
            .expect("the kernel runs the program");
        after.truncate(usize::try_from(result.data_size_out).expect("a length"));
        let left_by = Context(context_after).left_by().and_then(|index| self.port(index));
        (result.return_value.cast_signed(), after, left_by)
    }

    /// The other end of a device's link.
    pub fn wire(&self, port: Port) -> Wire {
        self.outside.run(|| Wire::open(&peer(port), port.peer_mac()))
    }

    /// Lets the node's devices finish checksums and cut segments, or has the kernel do it before.
    pub fn offload(&self, on: bool) {
        for port in Port::ALL {
            self.inside.offload(port.name(), on).expect("veth devices change their offloads");
        }
    }

    /// A pinned map, to put into it what no agent would.
    pub fn map<M: TryFrom<Map, Error = MapError>>(&self, name: &str) -> M {
        let map = MapData::from_pin(self.pin.join("maps").join(name)).and_then(Map::from_map_data);
        map.and_then(M::try_from).expect("a map of that type is pinned")
    }

    /// Takes a stage out of the pipeline.
    pub fn lose(&self, stage: Stage) {
        let generation = self.pins.summary().expect("the pins can be read").generation;
        let stages = MapData::from_pin(self.pin.join(format!("stages-{generation}")));
        let stages = stages.and_then(Map::from_map_data).and_then(ProgramArray::try_from);
        stages.and_then(|mut stages| stages.clear_index(&(stage as u32))).expect("the stage was there");
    }

    /// The flow table itself.
    pub fn table(&self) -> Table {
        Table::open(&self.pin)
    }

    /// Runs on a further thread inside the node.
    pub fn inside<T: Send>(&self, story: impl FnOnce() -> T + Send) -> T {
        self.inside.run(story)
    }

    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    pub fn stats(&self) -> Stats {
        self.pins.stats().expect("the counters can be read")
    }

    pub fn flows(&self) -> Vec<Flow> {
        self.pins.flows()
    }

    pub fn ifindex(&self, port: Port) -> u32 {
        self.ifindex[port as usize]
    }

    fn port(&self, ifindex: u32) -> Option<Port> {
        Port::ALL.into_iter().find(|port| self.ifindex(*port) == ifindex)
    }

    fn reasons(&self) -> Vec<(&'static str, u64)> {
        self.stats().reasons.iter().map(|reason| (reason.name, reason.packets)).collect()
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("pins", &self.pins).finish_non_exhaustive()
    }
}

/// `struct __sk_buff` of linux/bpf.h.
struct Context([u8; Self::BYTES]);

impl Context {
    const BYTES: usize = 192;
    /// Indices of 32-bit fields.
    const INGRESS_IFINDEX: usize = 9;
    const IFINDEX: usize = 10;
    const CB: usize = 12;

    fn arriving_at(ifindex: u32) -> Self {
        let mut context = Self([0; Self::BYTES]);
        for field in [Self::INGRESS_IFINDEX, Self::IFINDEX] {
            context.0[4 * field..][..4].copy_from_slice(&ifindex.to_ne_bytes());
        }
        context
    }

    /// The device that the program redirected to: its last word in cb.
    fn left_by(&self) -> Option<u32> {
        let bytes = self.0[4 * (Self::CB + 4)..][..4].try_into().ok()?;
        Some(u32::from_ne_bytes(bytes)).filter(|index| *index != 0)
    }
}

fn device(port: Port) -> Device {
    let name = std::ffi::CString::new(port.name()).expect("no zero byte");
    // SAFETY: the name ends with a zero byte.
    let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert_ne!(ifindex, 0, "device {name:?} exists");
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = (port.address(Net::V4), port.address(Net::V6)) else {
        unreachable!("the plan has both families")
    };
    Device {
        ifindex,
        name: port.name().to_owned(),
        l3_ifindex: ifindex,
        mac: port.mac(),
        kind: if port == Port::Pods { DeviceKind::Ordinary } else { DeviceKind::Uplink },
        source_v4: Some(v4),
        source_v6: Some(v6),
    }
}

fn peer(port: Port) -> String {
    format!("{}-peer", port.name())
}

/// Each device has a peer outside, where nobody answers; all neighbours are known.
#[expect(clippy::format_push_string, reason = "lines of a script")]
fn set_up(inside: &Namespace, outside: &Namespace) {
    for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        inside.sysctl(name, "1").expect("the node forwards");
    }
    let (mut lines, mut outside_lines) = (String::new(), String::new());
    for port in Port::ALL {
        let (name, peer) = (port.name(), peer(port));
        let [mac, peer_mac] = [port.mac(), port.peer_mac()].map(lab::MacAddress);
        lines += &format!("link add {name} address {mac} mtu {MTU} type veth ");
        lines += &format!("peer name {peer} address {peer_mac} mtu {MTU} netns {}\n", outside.name());
        lines += &format!("link set {name} up\n");
        lines += &format!("address add {}/24 dev {name}\n", port.address(Net::V4));
        lines += &format!("address add {}/64 dev {name} nodad\n", port.address(Net::V6));
        outside_lines += &format!("link set {peer} up\n");
    }
    lines += "route add 10.2.0.0/16 via 192.0.2.2\nroute add fd00:2::/32 via 2001:db8:2::2\n";
    let clients = Net::BOTH.map(|net| (Port::Wan, net.client(0).ip().to_string()));
    let pods = Net::BOTH.map(|net| (Port::Pods, net.here(2).ip().to_string()));
    let nodes = ["192.0.2.2", "2001:db8:2::2"].map(|address| (Port::Lan, address.to_owned()));
    for (port, address) in [clients, pods, nodes].concat() {
        let mac = lab::MacAddress(port.peer_mac());
        lines += &format!("neighbour add {address} lladdr {mac} dev {} nud permanent\n", port.name());
    }
    inside.ip(&lines).expect("the node has its devices");
    outside.ip(&outside_lines).expect("the links are up");
}

/// What the shortest time-outs of flows are here.
pub const SHORTEST: Duration = Duration::from_mins(1);

/// Jumbo frames: an AF_PACKET socket scatters only packets that are longer than a page.
const MTU: u16 = 9000;
