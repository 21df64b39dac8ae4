//! Which devices the programs are attached to, and which should be.

use std::collections::BTreeMap;

use gateway_agent_kernel::{Device, Kernel, one_line};
use tracing::{info, warn};

use crate::devices::Attachable;

/// The devices that should be attached to, with how that went.
#[derive(Debug, Default)]
pub struct Hooks {
    hooks: BTreeMap<u32, Hook>,
}

#[derive(Debug)]
pub struct Hook {
    pub device: Device,
    /// Why the programs don't see its packets.
    pub error: Option<String>,
}

impl Hooks {
    /// Attaches to what is new or changed or failed before, and detaches from what is gone.
    pub fn reconcile<'a>(&mut self, kernel: &mut Kernel, wanted: impl Iterator<Item = &'a Attachable>) {
        let wanted: BTreeMap<u32, &Device> = wanted.map(|a| (a.device.ifindex, &a.device)).collect();
        match kernel.attached() {
            Ok(attached) => self.detach_from_others(kernel, &attached, &wanted),
            Err(error) => warn!("can't list the pinned links: {error}"),
        }
        let mut before = std::mem::take(&mut self.hooks);
        for (ifindex, device) in wanted {
            let hook = match before.remove(&ifindex) {
                Some(hook) if hook.device == *device && hook.error.is_none() => hook,
                _ => attach(kernel, device),
            };
            self.hooks.insert(ifindex, hook);
        }
    }

    /// From what is gone, or what an earlier agent attached to and this one shall not.
    fn detach_from_others(&self, kernel: &mut Kernel, attached: &[u32], wanted: &BTreeMap<u32, &Device>) {
        for ifindex in attached.iter().filter(|ifindex| !wanted.contains_key(ifindex)) {
            let name = self.hooks.get(ifindex).map_or("an earlier device", |hook| hook.device.name.as_str());
            match kernel.detach(*ifindex) {
                Ok(()) => info!(event = "detached", ifindex, "detached from {name} (ifindex {ifindex})"),
                Err(error) => warn!(ifindex, "can't detach from {name} (ifindex {ifindex}): {error}"),
            }
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Hook> {
        self.hooks.values()
    }

    pub fn attached(&self) -> usize {
        self.hooks.values().filter(|hook| hook.error.is_none()).count()
    }

    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.hooks.values().filter_map(|hook| {
            hook.error
                .as_ref()
                .map(|error| format!("device {}: {error}; it is tried again", hook.device.name))
        })
    }
}

fn attach(kernel: &mut Kernel, device: &Device) -> Hook {
    let error = kernel.attach(device).err().map(|error| one_line(&error));
    if error.is_none() {
        info!(
            event = "attached",
            ifindex = device.ifindex,
            device = device.name,
            "attached to {} (source addresses {}, {})",
            device.name,
            device.source_v4.map_or_else(|| "no IPv4".to_owned(), |a| a.to_string()),
            device.source_v6.map_or_else(|| "no IPv6".to_owned(), |a| a.to_string()),
        );
    }
    Hook { device: device.clone(), error }
}
