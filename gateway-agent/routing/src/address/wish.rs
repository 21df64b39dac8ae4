//! What a Gateway asks for in spec.addresses.

use gateway_agent_api::gateway::GatewaySpec;
use gateway_agent_api::own::gateway_config::AddressMode;
use gateway_agent_tables::ObjectName;

use super::Address;

/// The addresses that a Gateway asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wishes {
    /// No particular ones: what its settings provide.
    Default,
    /// One for each entry of spec.addresses.
    Entries(Vec<Wish>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    This(Address),
    Any,
    /// Something that nobody can have, with the reason.
    Impossible(String),
}

impl Wishes {
    /// Or why the Gateway can't be accepted: an address of a type that isn't supported.
    pub(crate) fn parse(spec: &GatewaySpec, mode: AddressMode, gateway: &ObjectName) -> Result<Self, String> {
        let entries = spec.addresses.as_deref().unwrap_or_default();
        if entries.is_empty() {
            return Ok(Self::Default);
        }
        let mut wishes = Vec::new();
        for entry in entries {
            let kind = entry.r#type.as_deref().unwrap_or("IPAddress");
            let value = entry.value.as_deref().unwrap_or_default();
            supported(kind, value, mode, gateway)?;
            let wish = if entry.routability.as_deref().is_some_and(|routability| !routability.is_empty()) {
                Wish::Impossible(format!(
                    "address {value:?} of Gateway {gateway} asks for a routability, which is not supported; remove it"
                ))
            } else if value.is_empty() {
                Wish::Any
            } else {
                Address::parse(kind, value).map_or_else(
                    || {
                        Wish::Impossible(format!(
                            "{value:?} of Gateway {gateway} is not an address; correct it"
                        ))
                    },
                    Wish::This,
                )
            };
            if wish == Wish::Any || !wishes.contains(&wish) {
                wishes.push(wish);
            }
        }
        Ok(Self::Entries(wishes))
    }

    pub(crate) fn named(&self) -> impl Iterator<Item = &Address> {
        self.entries().iter().filter_map(|wish| match wish {
            Wish::This(address) => Some(address),
            _ => None,
        })
    }

    /// How many entries leave the choice to us.
    pub(super) fn any(&self) -> usize {
        self.entries().iter().filter(|wish| **wish == Wish::Any).count()
    }

    pub(super) fn entries(&self) -> &[Wish] {
        match self {
            Self::Default => &[],
            Self::Entries(entries) => entries,
        }
    }
}

/// Only load balancers have addresses that are names.
fn supported(kind: &str, value: &str, mode: AddressMode, gateway: &ObjectName) -> Result<(), String> {
    match kind {
        "IPAddress" => Ok(()),
        "Hostname" if mode == AddressMode::LoadBalancer => Ok(()),
        "Hostname" => Err(format!(
            "address {value:?} of Gateway {gateway} has type Hostname, which only mode LoadBalancer supports \
             (addresses.mode of its GatewayConfig); use IPAddress"
        )),
        _ => Err(format!(
            "address {value:?} of Gateway {gateway} has type {kind}, which is not supported; use IPAddress"
        )),
    }
}
