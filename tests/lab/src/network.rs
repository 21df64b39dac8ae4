//! Devices, addresses, routes and offloads, by iproute2 and ethtool.

use std::fmt;
use std::str::FromStr;

use crate::{LabError, Namespace};

/// Joins two namespaces by a veth pair, both ends up.
pub fn link(a: &Namespace, a_device: &str, b: &Namespace, b_device: &str) -> Result<(), LabError> {
    a.ip(&format!(
        "link add {a_device} type veth peer name {b_device} netns {}\nlink set {a_device} up\n",
        b.name()
    ))?;
    b.ip(&format!("link set {b_device} up\n"))
}

impl Namespace {
    /// Makes a bridge that forwards from the start, and floods what it does not know.
    pub fn bridge(&self, device: &str) -> Result<(), LabError> {
        // Snooping would drop neighbour solicitations until a querier is heard; a forward delay would block ports.
        self.ip(&format!(
            "link add {device} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set {device} up\n"
        ))
    }

    /// Makes `device` a port of `bridge`.
    pub fn bridge_port(&self, bridge: &str, device: &str) -> Result<(), LabError> {
        self.ip(&format!("link set {device} master {bridge}\n"))
    }

    /// Adds an address with its prefix length; usable at once.
    pub fn address(&self, device: &str, address: &str) -> Result<(), LabError> {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.ip(&format!("address add {address} dev {device} {nodad}\n"))
    }

    /// Adds a route, as `ip route add` takes it; the family follows from its addresses.
    pub fn route(&self, route: &str) -> Result<(), LabError> {
        let family = if route.contains(':') { "-6" } else { "-4" };
        let words: Vec<&str> =
            ["ip", family, "route", "add"].into_iter().chain(route.split_whitespace()).collect();
        self.command(&words).map(drop)
    }

    /// In bytes.
    pub fn mtu(&self, device: &str, mtu: u16) -> Result<(), LabError> {
        self.ip(&format!("link set {device} mtu {mtu}\n"))
    }

    /// Checksum and segmentation offloads of a device, all on or all off.
    pub fn offload(&self, device: &str, on: bool) -> Result<(), LabError> {
        let state = if on { "on" } else { "off" };
        let features =
            ["rx", "tx", "sg", "tso", "gso", "gro"].into_iter().flat_map(|feature| [feature, state]);
        let words: Vec<&str> = ["ethtool", "-K", device].into_iter().chain(features).collect();
        self.command(&words).map(drop)
    }

    pub fn mac(&self, device: &str) -> Result<MacAddress, LabError> {
        let link = self.link_json(device)?;
        let text = link["address"].as_str().unwrap_or_default();
        text.parse()
            .map_err(|()| LabError::Unexpected(format!("{device} in {} has no MAC: {link}", self.name())))
    }

    pub fn ifindex(&self, device: &str) -> Result<u32, LabError> {
        let link = self.link_json(device)?;
        let index = link["ifindex"].as_u64().and_then(|i| u32::try_from(i).ok());
        index.ok_or_else(|| LabError::Unexpected(format!("{device} in {} has no index: {link}", self.name())))
    }

    fn link_json(&self, device: &str) -> Result<serde_json::Value, LabError> {
        let text = self.command(&["ip", "-json", "link", "show", "dev", device])?;
        let mut links: Vec<serde_json::Value> = serde_json::from_str(&text)
            .map_err(|e| LabError::Unexpected(format!("ip -json printed {text}: {e}")))?;
        links.pop().ok_or_else(|| LabError::Unexpected(format!("no device {device} in {}", self.name())))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl FromStr for MacAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes: Vec<u8> =
            text.split(':').map(|b| u8::from_str_radix(b, 16)).collect::<Result<_, _>>().map_err(drop)?;
        bytes.try_into().map(Self).map_err(drop)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.map(|byte| format!("{byte:02x}"));
        f.write_str(&bytes.join(":"))
    }
}
