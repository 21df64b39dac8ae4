//! What the program costs per packet, by `BPF_PROG_TEST_RUN`, without the work of the redirect.
//!
//! The kernel repeats a program on one packet, which each repetition finds as the one before left it. So that every
//! repetition forwards, the frontends form a ring: the endpoint of each is the next one's address. A packet to the
//! first then walks the ring, over another flow with each repetition, and one call times hundreds of different flows
//! with neither a system call nor a clock between them. Answers walk it backwards.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use gateway_agent_kernel::{Device, DeviceKind, Kernel, Options, Pins, Sizes};
use gateway_agent_tables::{
    Backend, Endpoint, EndpointSet, Family, Frontend, FrontendKey, L4Tables, ListenerName, ObjectName,
    Protocol, RouteKind, RouteName, ServicePort, Split, Target as BackendTarget,
};

use crate::bpf::{self, Run};
use crate::cpu::Cpus;
use crate::frame::{self, ACK, SYN, Segment};
use crate::lane::{self, Lane};
use crate::report::Limit::{AtMost, AtMostMore, None as NoLimit};
use crate::report::{Metric, Report, Target};

pub(crate) const CASE: &str = "program";
const NS_PER_PACKET: Metric = Metric { name: "ns_per_packet", unit: "ns" };

/// Frontends in the ring; a packet's hop limit of 255 lasts for one way around.
const RING: u32 = 200;
/// The ring of two: the fewest frontends that a packet can be forwarded between for ever.
const PAIR: u32 = 2;
/// Port of the ring's frontends, and of the pair's.
const RING_PORT: u16 = 80;
const PAIR_PORT: u16 = 81;
const CROWD_PORT: u16 = 82;
/// Frontends besides the pair for `frontends-10k`; `frontends-1` has the pair alone.
const CROWD: u32 = 10_000;
/// Neither a frontend's nor an endpoint's.
const STRANGE_PORT: u16 = 443;

/// Clients, each with a flow to every frontend of the ring: 1,000 flows, and 100,000.
const FEW_CLIENTS: u32 = 1_000 / RING;
const MANY_CLIENTS: u32 = 100_000 / RING;
/// Clients whose flows a round of `established-100k` visits, each flow once: 16,400.
const VISITED_CLIENTS: u32 = 16_384_u32.div_ceil(RING);
/// A stride that has no divisor in common with the number of clients visits all of them, in a scattered order.
const STRIDE: u32 = 263;
/// Packets per round of the other cases.
const PACKETS: u32 = 20_000;
/// New flows per round: a hundredth of the table.
const NEWCOMERS: u32 = 4_000;

/// Issue A, "Must show".
pub(crate) const TARGETS: &[Target] = &[
    target("not-ours", "trivial", AtMostMore(30.0)),
    target("not-ours-same-port", "trivial", NoLimit),
    target("established", "trivial", AtMostMore(220.0)),
    target("established-answer", "trivial", AtMostMore(220.0)),
    target("established-1k", "trivial", NoLimit),
    target("established-100k", "established-1k", AtMostMore(250.0)),
    target("new-flow", "trivial", NoLimit),
    // "Within noise": what two runs of `frontends-1` differ by.
    target("frontends-10k", "frontends-1", AtMost(1.1)),
];

const fn target(subject: &'static str, baseline: &'static str, limit: crate::report::Limit) -> Target {
    Target { case: CASE, metric: NS_PER_PACKET.name, subject, baseline: Some(baseline), limit }
}

/// Loads the real programs in a lane's gateway and measures them in rounds.
pub(crate) fn run(rounds: usize, cpus: &Cpus, bpffs: &Path, report: &mut Report) -> Result<()> {
    let lane = Lane::new()?;
    lane.gateway.command(&format!("ip route add 10.3.0.0/16 via {}", lane::BACKEND))?;
    lane.gateway.inside(|| {
        cpus.pin(cpus.count() - 1)?;
        let trivial = bpf::trivial()?;
        let mut flows = Stage::new(bpffs, "flows", 400_000, &[(RING_PORT, RING), (PAIR_PORT, PAIR)])?;
        let mut alone = Stage::new(bpffs, "alone", 100_000, &[(PAIR_PORT, PAIR)])?;
        let mut crowd = Stage::new(bpffs, "crowd", 100_000, &[(PAIR_PORT, PAIR), (CROWD_PORT, CROWD)])?;
        for _ in 0..MANY_CLIENTS {
            let client = flows.newcomer();
            flows.establish(client, RING_PORT, RING)?;
        }
        for round in 0..rounds {
            eprintln!("  {CASE}: round {} of {rounds}", round + 1);
            let mut add = |subject, nanoseconds| report.add(CASE, subject, NS_PER_PACKET, nanoseconds);
            add("trivial", flows.unchanged(trivial.as_fd(), STRANGE_PORT)?);
            flows.round(u32::try_from(round)?, &mut add)?;
            add("frontends-1", alone.newcomers(PAIR_PORT, PAIR)?);
            add("frontends-10k", crowd.newcomers(PAIR_PORT, PAIR)?);
        }
        Ok(())
    })
}

/// The programs with tables of their own, and the devices that frames seem to come from.
struct Stage {
    kernel: Kernel,
    pin: PathBuf,
    client_side: Device,
    backend_side: Device,
    /// Numbers clients, so that each newcomer is one.
    clients: u32,
}

impl Stage {
    /// With frontends in rings: their port and number.
    fn new(bpffs: &Path, name: &str, flows: u32, rings: &[(u16, u32)]) -> Result<Self> {
        let pin = bpffs.join(name);
        let mut options = Options::new(&pin, NODE);
        options.sizes = Sizes { flows, ..Sizes::default() };
        let mut kernel = Kernel::open(&options)?;
        let client_side = device(lane::CLIENT_SIDE, lane::CLIENT_SIDE_MAC, lane::GATEWAY)?;
        let backend_side = device(lane::BACKEND_SIDE, lane::BACKEND_SIDE_MAC, lane::GATEWAY_INSIDE)?;
        kernel.attach(&client_side)?;
        kernel.attach(&backend_side)?;
        let mut tables = L4Tables::default();
        for &(port, length) in rings {
            add_ring(&mut tables, port, length);
        }
        let report = kernel.apply(&tables);
        ensure!(report.problems.is_empty(), "the tables don't fit: {:?}", report.problems.first());
        Ok(Self { kernel, pin, client_side, backend_side, clients: 0 })
    }

    fn round(&mut self, round: u32, add: &mut impl FnMut(&'static str, f64)) -> Result<()> {
        add("not-ours", self.unchanged(self.ingress()?, STRANGE_PORT)?);
        add("not-ours-same-port", self.unchanged(self.ingress()?, RING_PORT)?);

        let one = self.newcomer();
        self.establish(one, PAIR_PORT, PAIR)?;
        let walks = PACKETS / RING;
        add("established", median((0..walks).map(|_| self.ask(one, PAIR_PORT, ACK, PAIR, RING)))?);
        add("established-answer", median((0..walks).map(|_| self.answer(one, PAIR_PORT, ACK, PAIR, RING)))?);

        // The first clients' flows again and again; what came before them has left the caches cold.
        let few = || median((0..walks).map(|walk| self.ask(walk % FEW_CLIENTS, RING_PORT, ACK, RING, RING)));
        few()?;
        add("established-1k", few()?);
        let scattered = |walk| (round * VISITED_CLIENTS + walk) * STRIDE % MANY_CLIENTS;
        let many = (0..VISITED_CLIENTS).map(|walk| self.ask(scattered(walk), RING_PORT, ACK, RING, RING));
        add("established-100k", median(many)?);
        add("new-flow", self.newcomers(RING_PORT, RING)?);
        Ok(())
    }

    fn newcomer(&mut self) -> u32 {
        self.clients += 1;
        self.clients - 1
    }

    /// Nanoseconds for a SYN of a new flow; one call makes as many as the ring is long.
    fn newcomers(&mut self, port: u16, ring: u32) -> Result<f64> {
        let new: Vec<u32> = (0..NEWCOMERS / ring).map(|_| self.newcomer()).collect();
        median(new.into_iter().map(|client| self.ask(client, port, SYN, ring, ring)))
    }

    /// Makes a client's flows to all frontends of a ring, confirmed ones.
    fn establish(&self, client: u32, port: u16, ring: u32) -> Result<()> {
        self.ask(client, port, SYN, ring, ring)?;
        self.answer(client, port, SYN | ACK, ring, ring)?;
        self.ask(client, port, ACK, ring, ring)?;
        Ok(())
    }

    /// Nanoseconds for a packet that goes to no frontend.
    fn unchanged(&self, program: BorrowedFd, port: u16) -> Result<f64> {
        let destination = SocketAddrV4::new(Ipv4Addr::new(10, 9, 9, 9), port);
        let segment = self.segment(client_address(0), destination, ACK);
        let device = &self.client_side;
        median((0..PACKETS / RING).map(|_| {
            let mut frame = segment.frame();
            let run = bpf::test_run(program, &mut frame, device.ifindex, RING)?;
            ensure!(
                run.verdict == PASS && frame == segment.frame(),
                "a stranger's packet was touched: {run:?}"
            );
            Ok(run)
        }))
    }

    /// A client's segment to the first frontend of a ring, sent on for `steps`.
    fn ask(&self, client: u32, port: u16, flags: u8, ring: u32, steps: u32) -> Result<Run> {
        let segment = self.segment(client_address(client), member(port, 0), flags);
        let mut frame = Segment { device: self.client_side.mac, ..segment }.frame();
        let run = bpf::test_run(self.ingress()?, &mut frame, self.client_side.ifindex, steps)?;
        self.expect(run, frame::destination(&frame), member(port, steps % ring))?;
        Ok(run)
    }

    /// An answer to the client from the first frontend's endpoint, sent back for `steps`.
    fn answer(&self, client: u32, port: u16, flags: u8, ring: u32, steps: u32) -> Result<Run> {
        let segment = self.segment(member(port, 0), client_address(client), flags);
        let mut frame = Segment { device: self.backend_side.mac, ..segment }.frame();
        let run = bpf::test_run(self.ingress()?, &mut frame, self.backend_side.ifindex, steps)?;
        self.expect(run, frame::source(&frame), member(port, (ring - steps % ring) % ring))?;
        Ok(run)
    }

    /// Both sides begin at the same number, so one acknowledgment suits all flows of a ring.
    fn segment(&self, source: SocketAddrV4, destination: SocketAddrV4, flags: u8) -> Segment {
        const FIRST: u32 = 1_000;
        let begun = u32::from(flags & SYN == 0);
        let acknowledgment = if flags & ACK == 0 { 0 } else { FIRST + 1 };
        let device = self.client_side.mac;
        Segment { device, source, destination, flags, sequence: FIRST + begun, acknowledgment }
    }

    /// The time of a drop or of a packet that stayed where it was says nothing about forwarding.
    fn expect(&self, run: Run, arrived: SocketAddrV4, expected: SocketAddrV4) -> Result<()> {
        if run.verdict == REDIRECT && arrived == expected {
            return Ok(());
        }
        let reasons = Pins::open(&self.pin)?.stats()?.reasons;
        let met: Vec<_> = reasons.iter().filter(|r| r.packets > 0).map(|r| (r.name, r.packets)).collect();
        bail!(
            "a packet is at {arrived} with verdict {}, not at {expected}: {met:?}",
            run.verdict.cast_signed()
        )
    }

    fn ingress(&self) -> Result<BorrowedFd<'_>> {
        let program = self.kernel.program("ingress").context("the object has no program `ingress`")?;
        Ok(program.fd()?.as_fd())
    }
}

/// Verdicts of `linux/pkt_cls.h`: `TC_ACT_UNSPEC` and `TC_ACT_REDIRECT`.
const PASS: u32 = u32::MAX;
const REDIRECT: u32 = 7;
const NODE: &str = "here";

/// Of the calls' means: another process' turn on this processor lengthens a few of them.
fn median(runs: impl Iterator<Item = Result<Run>>) -> Result<f64> {
    let mut times = runs.map(|run| Ok(run?.nanoseconds)).collect::<Result<Vec<u32>>>()?;
    times.sort_unstable();
    let middle = times.get(times.len() / 2).context("no call was timed")?;
    Ok(f64::from(*middle))
}

/// On the client's link; no port that an endpoint has.
fn client_address(client: u32) -> SocketAddrV4 {
    let ports = u32::from(lane::LAST_PORT - lane::FIRST_PORT) + 1;
    let address = u32::from(Ipv4Addr::new(10, 1, 0, 10)) + client / ports;
    let port = u32::from(lane::FIRST_PORT) + client % ports;
    SocketAddrV4::new(address.into(), u16::try_from(port).unwrap_or(u16::MAX))
}

/// The n-th address and port of a ring.
fn member(port: u16, n: u32) -> SocketAddrV4 {
    SocketAddrV4::new((u32::from(Ipv4Addr::new(10, 3, 0, 1)) + n).into(), port)
}

/// Frontends whose endpoints are each other.
fn add_ring(tables: &mut L4Tables, port: u16, length: u32) {
    let number = NonZeroU16::new(port).unwrap_or(NonZeroU16::MIN);
    for n in 0..length {
        let object = ObjectName { namespace: "bench".into(), name: format!("ring-{port}-{n}") };
        let service = ServicePort {
            service: object.clone(),
            port: number,
            protocol: Protocol::Tcp,
            family: Family::V4,
        };
        let endpoint = member(port, (n + 1) % length).into();
        let ready = [Endpoint { address: endpoint, node: Some(NODE.into()) }].into();
        tables.alive.insert((Protocol::Tcp, endpoint));
        tables.services.insert(service.clone(), EndpointSet { ready });
        let backend =
            Backend { name: object.to_string(), weight: 1, target: BackendTarget::Service(service) };
        let route = RouteName { kind: RouteKind::Tcp, object: object.clone(), rule: 0 };
        let key =
            FrontendKey { address: (*member(port, n).ip()).into(), port: number, protocol: Protocol::Tcp };
        let listener = ListenerName { gateway: object, listener: "tcp".into() };
        let split = Split::new(route, vec![backend]).ok();
        tables.frontends.insert(key, Frontend { listener, split });
    }
}

/// A device of this thread's network namespace.
fn device(name: &str, mac: [u8; 6], source: Ipv4Addr) -> Result<Device> {
    let ifindex = nix::net::if_::if_nametoindex(name)?;
    Ok(Device {
        ifindex,
        name: name.to_owned(),
        l3_ifindex: ifindex,
        mac,
        kind: DeviceKind::Ordinary,
        source_v4: Some(source),
        source_v6: None,
    })
}
