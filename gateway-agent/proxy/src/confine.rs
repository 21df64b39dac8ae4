//! A process that gives up what it doesn't need before it meets the first client.

use rustix::io;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// The user and group of images without root, by convention (gcr.io/distroless: nonroot). No file belongs to it.
const NOBODY: u32 = 65_532;

/// Drops user, groups and capabilities for good, and raises the number of descriptors to what is allowed.
///
/// Concerns the calling thread and those that it starts: to be called before there are others.
pub fn confine() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let held = capabilities(None)?.effective;
    if held.contains(CapabilitySet::SETPCAP) {
        clear_ambient_capability_set()?;
        // A kernel that doesn't know a capability has nobody who holds it.
        for capability in held.iter() {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    if held.contains(CapabilitySet::SETUID | CapabilitySet::SETGID) {
        let (user, group) = (rustix::thread::Uid::from_raw(NOBODY), rustix::thread::Gid::from_raw(NOBODY));
        set_thread_groups(&[])?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    set_no_new_privs(true)
}
