//! The port sets that tell most packets in two look-ups that they are not ours.
//!
//! Bits are set before anything needs them and stay until the next start: flows of a removed frontend or endpoint
//! still need theirs. A start keeps those of the present tables and of live flows.

use aya::maps::{Array, MapData, MapError};
use gateway_agent_tables::Protocol;
use gateway_common::maps::{PortSet, PortSets};

#[derive(Debug)]
pub(crate) struct Ports {
    sets: Box<PortSets>,
    written: bool,
}

impl Ports {
    pub(crate) fn new() -> Self {
        let none = [0; 1024];
        let sets =
            PortSets { frontend_tcp: none, frontend_udp: none, endpoint_tcp: none, endpoint_udp: none };
        Self { sets: Box::new(sets), written: false }
    }

    pub(crate) fn add_frontend(&mut self, protocol: Protocol, port: u16) {
        let set = match protocol {
            Protocol::Tcp => &mut self.sets.frontend_tcp,
            Protocol::Udp => &mut self.sets.frontend_udp,
        };
        self.written &= !insert(set, port);
    }

    pub(crate) fn add_endpoint(&mut self, protocol: Protocol, port: u16) {
        let set = match protocol {
            Protocol::Tcp => &mut self.sets.endpoint_tcp,
            Protocol::Udp => &mut self.sets.endpoint_udp,
        };
        self.written &= !insert(set, port);
    }

    /// Writes what was added; true: there was something.
    pub(crate) fn write(&mut self, map: &mut Array<MapData, PortSets>) -> Result<bool, MapError> {
        if self.written {
            return Ok(false);
        }
        // Programs may see it half written, which is as good as before or after: bits that stay don't change.
        map.set(0, *self.sets, 0)?;
        self.written = true;
        Ok(true)
    }
}

/// True if it wasn't there.
fn insert(set: &mut PortSet, port: u16) -> bool {
    let (word, bit) = (usize::from(port / 64), 1 << (port % 64));
    let new = set[word] & bit == 0;
    set[word] |= bit;
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_programs_look() {
        let mut ports = Ports::new();
        ports.add_frontend(Protocol::Tcp, 80);
        ports.add_frontend(Protocol::Udp, 65_535);
        ports.add_endpoint(Protocol::Tcp, 0);
        assert_eq!(ports.sets.frontend_tcp[1], 1 << 16);
        assert_eq!(ports.sets.frontend_udp[1023], 1 << 63);
        assert_eq!(ports.sets.endpoint_tcp[0], 1);
        assert_eq!(ports.sets.endpoint_udp, [0; 1024]);
    }
}
