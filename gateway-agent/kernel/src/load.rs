//! Opening the pin folder: the first agent makes the maps, later ones take them over.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::maps::{MapError, ProgramArray};
use aya::programs::{ProgramError, SchedClassifier, SkLookup};
use aya::{Ebpf, EbpfError, EbpfLoader};
use gateway_agent_tables::{FrontendKey, L4Delta, L4Tables};
use gateway_common::maps::{HashKey, LAYOUT, Settings, Stage};
use thiserror::Error;

use crate::apply::{ApplyReport, Feed};
use crate::attach::{self, AttachError, Device};
use crate::folder::{self, Lock};
use crate::found::{Found, found};
use crate::object::OBJECT;
use crate::options::{Options, Sizes};
use crate::peers::PeerLink;
use crate::seed::selection_key;
use crate::steer::{self, Process, Steering};
use crate::store::{Access, MAPS, Store, StoreError, maps_folder};
use crate::{former, sys};

/// An agent's part of the kernel. Dropping it changes nothing there: packets go on as the maps say.
pub struct Kernel {
    pin: PathBuf,
    sizes: Sizes,
    programs: Ebpf,
    feed: Feed,
    steering: Steering,
    /// Why an earlier agent's maps were not taken over, if there were any.
    set_aside: Option<String>,
    _lock: Lock,
}

/// Why a pin folder can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{} is on no BPF file system; mount one: `mount -t bpf bpf /sys/fs/bpf`, and choose a folder below it", pin.display())]
    NotBpffs { pin: PathBuf },
    #[error("another agent feeds {}; stop it, or choose another pin folder", pin.display())]
    InUse { pin: PathBuf },
    #[error("{}: {cause}; run as root or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON", path.display())]
    Folder { path: PathBuf, cause: io::Error },
    #[error("the programs or maps can't be loaded: {}", crate::one_line(.0))]
    Load(EbpfError),
    #[error("map {map} doesn't fit into memory: choose fewer flows, or give the agent more memory")]
    NoMemory { map: String },
    #[error("program {name} can't be loaded: {}", crate::one_line(cause))]
    Program { name: &'static str, cause: ProgramError },
    #[error("the object has no program {0}; build it again: `cargo xtask build`")]
    NoProgram(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{what}: {}", crate::one_line(cause))]
    Map { what: &'static str, cause: MapError },
    #[error("the program array can't be pinned at {}: {}", path.display(), crate::one_line(cause))]
    Pin { path: PathBuf, cause: aya::pin::PinError },
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// The entry program, and those that it hands packets to.
const ENTRY: &str = "ingress";
const STAGES: [(Stage, &str); 4] = [
    (Stage::Admit, "admit"),
    (Stage::Refuse, "refuse"),
    (Stage::Neighbour, "neighbour"),
    (Stage::HandOn, "hand_on"),
];

impl Kernel {
    /// Makes the maps, or takes over those that an earlier agent pinned; loads the programs and puts them into the
    /// links that are pinned already, one by one and each atomically.
    ///
    /// Time-outs and the selection seed may differ from the earlier agent's. Maps of another layout, other sizes or
    /// other SNAT ports are set aside: their flows go on, until [`Self::give_up_former`].
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        let pin = &options.pin;
        let lock = folder::open(pin)?;
        let (flow_key, set_aside) = match found(options)? {
            Found::Nothing => (None, None),
            Found::Ours(settings) => (Some(settings.flow_key), None),
            Found::Others(why) => {
                former::set_aside(pin)?;
                folder::make_within(pin)?;
                (None, Some(why))
            }
        };

        let mut programs = load_object(pin, &options.sizes, OBJECT)?;
        for name in STAGES.iter().map(|(_, name)| *name).chain([ENTRY]) {
            let program = classifier_mut(&mut programs, name)?;
            program.load().map_err(|cause| OpenError::Program { name, cause })?;
        }
        let program = steer_program(&mut programs)?;
        program.load().map_err(|cause| OpenError::Program { name: steer::PROGRAM, cause })?;
        let mut store = Store::open(pin, Access::Feed)?;
        let settings = settings(options, flow_key)?;
        store.settings.set(0, settings, 0).map_err(|cause| OpenError::Map { what: "settings", cause })?;
        let error = |cause| OpenError::Map { what: "reading what an earlier agent left", cause };
        let steering = Steering::recover(&store).map_err(error)?;
        let feed = Feed::recover(store, &options.node).map_err(error)?;

        let sizes = options.sizes;
        let mut kernel = Self { pin: pin.clone(), sizes, programs, feed, steering, set_aside, _lock: lock };
        kernel.start_generation()?;
        Ok(kernel)
    }

    /// Lets the programs see what arrives at the device. Again for one that has changed.
    pub fn attach(&mut self, device: &Device) -> Result<(), AttachError> {
        let program = classifier_mut(&mut self.programs, ENTRY).map_err(|_| AttachError::NoProgram)?;
        attach::attach(&self.pin, program, &mut self.feed.store.devices, device)
    }

    /// The programs no longer see the device. Not attached: nothing happens.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), AttachError> {
        attach::detach(&self.pin, &mut self.feed.store.devices, ifindex)
    }

    /// Devices with a pinned link, by ifindex, in ascending order. They may have vanished meanwhile.
    pub fn attached(&self) -> Result<Vec<u32>, AttachError> {
        attach::attached(&self.pin)
    }

    /// Makes the kernel forward as `tables` say, changing what differs. One entry that doesn't fit harms no other.
    pub fn apply(&mut self, tables: &L4Tables) -> ApplyReport {
        self.feed.apply(tables)
    }

    /// The same, at the cost of the difference: `delta` names all by which `tables` differ from those that were applied
    /// last. Newcomers meet the new tables at once. What the former ones had besides is given up when no program can
    /// still read it: that is for [`Self::begin_release`] and [`Self::release`], or the next [`Self::apply`].
    pub fn update(&mut self, tables: &L4Tables, delta: &L4Delta) -> ApplyReport {
        self.feed.update(tables, delta)
    }

    /// Whether anything is to be given up: then call [`wait_for_programs`](crate::wait_for_programs), which takes some
    /// 20 ms, on a thread that has the time, and [`Self::release`] after it.
    pub fn begin_release(&mut self) -> bool {
        self.feed.begin_release()
    }

    /// Resets the flows of endpoints that were gone at [`Self::begin_release`], and frees what else was given up by then.
    /// No program that ran then may still run.
    pub fn release(&mut self) -> ApplyReport {
        self.feed.release()
    }

    /// Gives connections to these addresses and ports to the proxy, in the network namespace of this thread, and no
    /// others.
    pub fn steer(&mut self, frontends: &BTreeSet<FrontendKey>) -> ApplyReport {
        match steer_program(&mut self.programs) {
            Ok(program) => self.steering.apply(&self.pin, program, &mut self.feed.store, frontends),
            Err(error) => {
                let mut report = ApplyReport::default();
                report.not_steered(frontends, &crate::one_line(&error));
                report
            }
        }
    }

    /// Connections that are steered begin at these sockets from now on. `process` is the proxy's, if it is a child of
    /// the agent, so that others can end it when the agent is gone.
    pub fn switch_proxy(
        &mut self,
        sockets: &[BorrowedFd<'_>],
        process: Option<Process>,
    ) -> Result<(), OpenError> {
        steer::switch(&mut self.feed.store, sockets, process)
            .map_err(|cause| OpenError::Map { what: "sockets of the proxy", cause })?;
        Ok(former::end_steering(&self.pin)?)
    }

    /// Whether an agent, alive or dead, has given the connections to a proxy.
    pub fn has_sockets(&self) -> Result<bool, OpenError> {
        let ours =
            steer::has_sockets(&self.feed.store).map_err(|cause| OpenError::Map { what: "proxy", cause })?;
        Ok(ours || former::is_steering(&self.pin))
    }

    /// The proxy whose sockets have the connections, if it is the child of an agent, alive or dead.
    pub fn proxy_process(&self) -> Result<Option<Process>, OpenError> {
        let ours =
            steer::process(&self.feed.store).map_err(|cause| OpenError::Map { what: "proxy", cause })?;
        Ok(ours.or_else(|| former::proxy(&self.pin)))
    }

    /// Why an earlier agent's maps were set aside when this one opened the folder.
    pub fn set_aside(&self) -> Option<&str> {
        self.set_aside.as_deref()
    }

    /// How long ago maps were set aside whose flows still go on, by this agent or one before it.
    pub fn former_age(&self) -> Option<Duration> {
        former::age(&self.pin)
    }

    /// What was set aside gets no newcomers from now on: to be called when the programs are attached where those were.
    pub fn take_newcomers(&self) -> Result<(), OpenError> {
        if self.former_age().is_none() {
            return Ok(());
        }
        if self.feed.store.steered.keys().next().is_none() {
            former::end_steering(&self.pin)?;
        }
        former::take_newcomers(&self.pin)
    }

    /// Removes what was set aside. The node treats packets of its flows as any others, and resets them.
    pub fn give_up_former(&self) -> Result<(), OpenError> {
        former::give_up(&self.pin)
    }

    /// Says how other nodes are reached: on a link with this one, or, if they are not named, not.
    pub fn set_peers(&mut self, links: &BTreeMap<String, PeerLink>) -> Result<(), OpenError> {
        self.feed.set_peers(links).map_err(|cause| OpenError::Map { what: "the maps of peers", cause })
    }

    pub(crate) fn pin(&self) -> &Path {
        &self.pin
    }

    /// `ingress` or a stage such as `admit`, loaded. Tests and benches run it by `BPF_PROG_TEST_RUN`
    /// ([`aya::programs::TestRun`]).
    pub fn program(&self, name: &str) -> Option<&SchedClassifier> {
        self.programs.program(name)?.try_into().ok()
    }

    /// Parses a further object, such as a test's own programs, onto these maps: those of the same name are shared,
    /// others and `stages` are its own. Its programs are still to be loaded.
    pub fn load(&self, object: &[u8]) -> Result<Ebpf, OpenError> {
        load_object(&self.pin, &self.sizes, object)
    }

    /// Puts the programs into action: a program array of their own, pinned before any link uses it; the former ones
    /// go only when no packet can still be on its way to them.
    fn start_generation(&mut self) -> Result<(), OpenError> {
        let former = folder::generations(&self.pin)?;
        let path = folder::stages_path(&self.pin, former.last().map_or(1, |n| n + 1));
        let stages = self.programs.map("stages").ok_or(OpenError::NoProgram("stages"))?;
        stages.pin(&path).map_err(|cause| OpenError::Pin { path, cause })?;
        self.fill_stages()?;

        let program = classifier_mut(&mut self.programs, ENTRY)?;
        attach::replace_all(&self.pin, program, &mut self.feed.store.devices)?;
        self.steering.take_over(&self.pin, steer_program(&mut self.programs)?)?;
        if !former.is_empty() {
            sys::wait_for_programs();
        }
        for generation in former {
            let path = folder::stages_path(&self.pin, generation);
            fs::remove_file(&path).map_err(|cause| OpenError::Folder { path, cause })?;
        }
        Ok(())
    }

    fn fill_stages(&mut self) -> Result<(), OpenError> {
        let error = |cause| OpenError::Map { what: "program array", cause };
        let stages = self.programs.take_map("stages").ok_or(OpenError::NoProgram("stages"))?;
        let mut stages = ProgramArray::try_from(stages).map_err(error)?;
        for (stage, name) in STAGES {
            let program = classifier_mut(&mut self.programs, name)?;
            let fd = program.fd().map_err(|cause| OpenError::Program { name, cause })?;
            stages.set(stage as u32, fd, 0).map_err(error)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("pin", &self.pin).field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

fn settings(options: &Options, flow_key: Option<HashKey>) -> Result<Settings, OpenError> {
    Ok(Settings {
        layout: LAYOUT,
        forward_buckets: options.sizes.forward_buckets(),
        reverse_buckets: options.sizes.reverse_buckets(),
        snat_first_port: options.snat_ports.first().into(),
        snat_groups: options.snat_ports.groups(),
        flow_key: match flow_key {
            Some(key) => key,
            None => random_key().map_err(OpenError::Random)?,
        },
        selection_key: selection_key(&options.selection_seed),
        timeouts: options.timeouts.ticks(),
    })
}

fn random_key() -> Result<HashKey, getrandom::Error> {
    let mut key = HashKey::default();
    for word in &mut key {
        *word = getrandom::u32()?;
    }
    Ok(key)
}

/// Opens pinned maps, makes and pins missing ones.
fn load_object(pin: &Path, sizes: &Sizes, object: &[u8]) -> Result<Ebpf, OpenError> {
    let folder = maps_folder(pin);
    let mut loader = EbpfLoader::new();
    for map in &MAPS {
        loader.map_pin_path(map.name, folder.join(map.name)).map_max_entries(map.name, (map.entries)(sizes));
    }
    loader.load(object).map_err(|error| match error {
        EbpfError::MapError(MapError::CreateError { name, io_error })
            if io_error.kind() == io::ErrorKind::OutOfMemory =>
        {
            OpenError::NoMemory { map: name }
        }
        error => OpenError::Load(error),
    })
}

fn classifier_mut<'a>(
    programs: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, OpenError> {
    let program = programs.program_mut(name).ok_or(OpenError::NoProgram(name))?;
    program.try_into().map_err(|_| OpenError::NoProgram(name))
}

fn steer_program(programs: &mut Ebpf) -> Result<&mut SkLookup, OpenError> {
    let program = programs.program_mut(steer::PROGRAM).ok_or(OpenError::NoProgram(steer::PROGRAM))?;
    program.try_into().map_err(|_| OpenError::NoProgram(steer::PROGRAM))
}
