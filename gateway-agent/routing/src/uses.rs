//! The Service ports that tables need, by how often they do.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use gateway_agent_tables::http::HttpService;
use gateway_agent_tables::{Family, ObjectName, Protocol, ServicePort};

#[derive(Debug)]
pub(crate) struct Uses<K> {
    used: BTreeMap<K, Used>,
    touched: BTreeSet<K>,
}

#[derive(Debug, Default)]
struct Used {
    times: usize,
    /// As slices name the port; empty for an unnamed one.
    port_name: String,
}

/// A key of Service ports, ordered by Service first.
pub(crate) trait OfService: Ord + Clone {
    fn first_of(service: &ObjectName) -> Self;
    fn service(&self) -> &ObjectName;
}

impl<K: OfService> Uses<K> {
    /// Add what is needed from now on before what isn't any more is removed.
    pub(crate) fn add(&mut self, key: &K, port_name: &str) {
        if !self.used.contains_key(key) {
            self.used.insert(key.clone(), Used::default());
            self.touched.insert(key.clone());
        }
        let Some(used) = self.used.get_mut(key) else { return };
        used.times += 1;
        if used.port_name != port_name {
            // All who use a port learn its name from the same Service.
            port_name.clone_into(&mut used.port_name);
            self.touched.insert(key.clone());
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        let Some(used) = self.used.get_mut(key) else { return };
        used.times -= 1;
        if used.times == 0 {
            self.used.remove(key);
            self.touched.insert(key.clone());
        }
    }

    /// The endpoints of these Services are others than before.
    pub(crate) fn touch<'s>(&mut self, services: impl IntoIterator<Item = &'s ObjectName>) {
        for service in services {
            let keys = self.used.range(K::first_of(service)..).map(|(key, _)| key);
            self.touched.extend(keys.take_while(|key| key.service() == service).cloned());
        }
    }

    /// The ports that are needed now or no longer, or have other endpoints or another name.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<K> {
        std::mem::take(&mut self.touched)
    }

    /// None: nobody needs it.
    pub(crate) fn port_name(&self, key: &K) -> Option<&str> {
        self.used.get(key).map(|used| used.port_name.as_str())
    }
}

impl<K> Default for Uses<K> {
    fn default() -> Self {
        Self { used: BTreeMap::new(), touched: BTreeSet::new() }
    }
}

impl OfService for ServicePort {
    fn first_of(service: &ObjectName) -> Self {
        let (port, protocol, family) = (NonZeroU16::MIN, Protocol::Tcp, Family::V4);
        Self { service: service.clone(), port, protocol, family }
    }

    fn service(&self) -> &ObjectName {
        &self.service
    }
}

impl OfService for HttpService {
    fn first_of(service: &ObjectName) -> Self {
        Self { service: service.clone(), port: NonZeroU16::MIN }
    }

    fn service(&self) -> &ObjectName {
        &self.service
    }
}
