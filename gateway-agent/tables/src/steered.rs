//! What the proxy takes connections for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::Tables;
use crate::l4::{FrontendKey, ListenerName};

/// An address and port whose connections the kernel gives to the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steered {
    pub application: Application,
    /// Those that share it, told apart by host names.
    pub listeners: BTreeSet<ListenerName>,
}

/// What clients say first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Application {
    /// A request in the clear.
    Http,
    /// A ClientHello (RFC 8446, 4.1.2), of HTTPS or anything else.
    Tls,
}

impl Tables {
    /// All listeners of protocols HTTP, HTTPS and TLS, by address and port.
    pub fn steered(&self) -> BTreeMap<FrontendKey, Steered> {
        let tls = self.tls.frontends.iter().map(|(key, frontend)| {
            let listeners = frontend.listeners.values().map(|listener| listener.name.clone()).collect();
            (*key, Steered { application: Application::Tls, listeners })
        });
        // Those of protocol HTTPS are in both tables.
        let clear = self.http.frontends.iter().filter(|(key, _)| !self.tls.frontends.contains_key(key));
        let http = clear.map(|(key, frontend)| {
            let listeners = frontend.listeners.values().cloned().collect();
            (*key, Steered { application: Application::Http, listeners })
        });
        tls.chain(http).collect()
    }
}
