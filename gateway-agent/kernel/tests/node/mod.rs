//! A node of its own for each test: network and mount namespaces with a bpffs and a pair of devices. They end with the
//! thread, and with them all that was made.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use gateway_agent_kernel::{Device, DeviceKind, Options, Sizes};

/// Far longer than any test takes.
pub(crate) const TCP_OPENING: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub(crate) struct Node {
    bpffs: PathBuf,
}

impl Node {
    /// Runs `test` on a fresh node. Fails without root.
    pub(crate) fn run(test: impl FnOnce(&Node) + Send + 'static) {
        let inside = thread::spawn(|| {
            // SAFETY: takes flags only, and concerns this thread alone, which ends with the test.
            let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
            assert_eq!(unshared, 0, "this test needs root: {}", io::Error::last_os_error());
            mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE);
            // A tmpfs over /mnt, so that the mount point needs no folder of the machine.
            mount(Some("tmpfs"), Path::new("/mnt"), Some("tmpfs"), 0);
            let bpffs = PathBuf::from("/mnt/bpf");
            std::fs::create_dir(&bpffs).unwrap();
            mount(Some("bpf"), &bpffs, Some("bpf"), 0);
            ip("link add lan type veth peer name pod");
            ip("link set lan up");
            ip("link set pod up");
            test(&Node { bpffs });
        });
        if let Err(panic) = inside.join() {
            std::panic::resume_unwind(panic);
        }
    }

    pub(crate) fn pin(&self) -> PathBuf {
        self.bpffs.join("gateway-agent")
    }

    /// A small one, quick to make. No flow ends by itself while a test runs, however slow the machine is.
    pub(crate) fn options(&self) -> Options {
        let sizes = Sizes {
            flows: 1000,
            frontends: 16,
            backends: 32,
            services: 16,
            endpoints: 32,
            ring_places: 8192,
        };
        let mut options = Options { sizes, ..Options::new(self.pin(), "here") };
        options.timeouts.tcp_opening = TCP_OPENING;
        options
    }
}

/// The device as an agent would describe it.
pub(crate) fn device(name: &str) -> Device {
    Device {
        ifindex: ifindex(name),
        name: name.to_owned(),
        l3_ifindex: ifindex(name),
        mac: crate::packets::LAN_MAC,
        kind: DeviceKind::Ordinary,
        source_v4: Some([192, 0, 2, 1].into()),
        source_v6: None,
    }
}

pub(crate) fn ifindex(name: &str) -> u32 {
    let name = CString::new(name).unwrap();
    // SAFETY: the name ends with a zero byte.
    let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert_ne!(ifindex, 0, "no device {name:?}");
    ifindex
}

/// Makes the node a router whose every way leads out of the device, to a neighbour that needs no resolution.
pub(crate) fn routes_to(device: &str) {
    ip(&format!("addr add 198.51.100.1/30 dev {device}"));
    ip(&format!("neigh add 198.51.100.2 lladdr 02:00:00:00:00:02 dev {device}"));
    ip("route add default via 198.51.100.2");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
}

pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}: {status}");
}

fn mount(source: Option<&str>, target: &Path, kind: Option<&str>, flags: libc::c_ulong) {
    let text = |s: &str| CString::new(s).unwrap();
    let (source, kind) = (source.map(text), kind.map(text));
    let target_text = text(target.to_str().unwrap());
    let pointer = |s: &Option<CString>| s.as_ref().map_or(std::ptr::null(), |s| s.as_ptr());
    // SAFETY: every string ends with a zero byte or is null, which mount(2) allows for these.
    let mounted = unsafe {
        libc::mount(pointer(&source), target_text.as_ptr(), pointer(&kind), flags, std::ptr::null())
    };
    assert_eq!(mounted, 0, "mount on {}: {}", target.display(), io::Error::last_os_error());
}
