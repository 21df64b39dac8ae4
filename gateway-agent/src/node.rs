//! What of the machine decides whether forwarding can work here.

use std::fs;
use std::io;
use std::path::Path;

use crate::devices::Attachable;

/// The kernel's host name, in the form that Kubernetes uses for node names.
pub fn host_name() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_lowercase())
}

/// Whether this process runs in the machine's initial network namespace.
///
/// The kernel registers `dev_weight` and its like for that namespace alone (`net/core/sysctl_net_core.c`), which also
/// tells a container with process ids of its own, where /proc/1 is not the machine's init. Without /proc/sys/net the
/// namespaces of this process and of process 1 are compared; if that fails too, the answer is the careful one: yes.
pub fn in_initial_network_namespace() -> bool {
    if Path::new("/proc/sys/net/core").is_dir() {
        return Path::new("/proc/sys/net/core/dev_weight").exists();
    }
    match (fs::read_link("/proc/self/ns/net"), fs::read_link("/proc/1/ns/net")) {
        (Ok(own), Ok(init)) => own == init,
        _ => true,
    }
}

/// As uname -r prints it.
pub fn kernel_release() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}

/// Bytes of memory that this machine has, from /proc/meminfo.
pub fn memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let kibibytes: u64 = total
        .and_then(|n| n.trim().parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo has no MemTotal"))?;
    Ok(kibibytes * 1024)
}

/// Devices that the kernel doesn't forward from: its route look-ups there answer nothing, also to our programs.
pub fn forwarding_problems(devices: &[Attachable]) -> Vec<String> {
    let mut problems = Vec::new();
    for device in devices {
        for (family, used) in [("ipv4", device.has_v4), ("ipv6", device.has_v6)] {
            let key = format!("net.{family}.conf.{}.forwarding", device.l3_name);
            let off =
                fs::read_to_string(format!("/proc/sys/net/{family}/conf/{}/forwarding", device.l3_name))
                    .is_ok_and(|value| value.trim() == "0");
            if used && off {
                let all =
                    if family == "ipv4" { "net.ipv4.ip_forward" } else { "net.ipv6.conf.all.forwarding" };
                problems.push(format!(
                    "device {}: packets that arrive there are not forwarded, since {key} is 0; run: sysctl -w {all}=1",
                    device.device.name
                ));
            }
        }
    }
    problems
}
