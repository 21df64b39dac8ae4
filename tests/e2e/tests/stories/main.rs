//! The gateway's claims on real traffic, each as a story. They need root, and fail without it.

#![forbid(unsafe_code)]

mod agent_life;
mod bad_files;
mod bulk;
mod endpoints;
mod forwarding;
mod full_tables;
mod hand_over;
mod http;
mod pool;
mod weights;
