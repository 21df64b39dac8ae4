//! The gateway's claims on real traffic, each as a story. They need root, and fail without it.

#![forbid(unsafe_code)]

mod forwarding;
