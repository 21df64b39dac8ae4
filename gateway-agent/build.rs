//! How the binary is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_TARGET_ENV").is_some_and(|it| it == "gnu") {
        // Where code and data are moved to is read at each start, 24 bytes for an address: 2.4 MB of an agent's memory.
        // In this form it is a bit for most. glibc 2.36 (2022) can read it; an older one says so.
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
