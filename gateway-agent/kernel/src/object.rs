//! The programs, as `cargo xtask build` compiled them.

/// The ELF object with all programs and map declarations. The folder doesn't depend on `CARGO_TARGET_DIR`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../target/ebpf/bpfel-unknown-none/kernel/gateway"
));
