//! Certificates, trust anchors, and who uses which.

mod certificate;
mod key;
mod listener;
mod trust;

pub(crate) use certificate::{CHAIN, Certificates, KEY};
pub(crate) use listener::{ListenerTls, Resolver, is_insecure};
pub(crate) use trust::{Bundles, KEY as BUNDLE};

/// Why a reference to a certificate or trust anchor can't be used: a condition's reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}
