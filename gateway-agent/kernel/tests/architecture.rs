//! The table of memory in docs/ARCHITECTURE.md is what the code says. `UPDATE_DOCS=1 cargo test -p
//! gateway-agent-kernel --test architecture` writes it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use gateway_agent_kernel::Sizes;

const BEGIN: &str = "<!-- memory -->\n";
const END: &str = "<!-- end -->";

#[test]
fn the_table_of_memory_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ARCHITECTURE.md");
    let written = fs::read_to_string(&path).unwrap();
    let (before, rest) = written.split_once(BEGIN).expect("a memory table");
    let (_, after) = rest.split_once(END).expect("the table has an end");
    let text = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(
        text == written,
        "docs/ARCHITECTURE.md is out of date: run UPDATE_DOCS=1 cargo test -p gateway-agent-kernel --test architecture"
    );
}

/// The field of a size.
type Field = fn(&mut Sizes) -> &mut u32;

fn table() -> String {
    let largest = Sizes::for_memory(u64::MAX);
    let mut table = "| of | by default | bytes each | and on each CPU |\n|---|---|---|---|\n".to_owned();
    let sizes: [(&str, u32, Field); 6] = [
        ("flows", largest.flows, |sizes| &mut sizes.flows),
        ("frontends", largest.frontends, |sizes| &mut sizes.frontends),
        ("backends", largest.backends, |sizes| &mut sizes.backends),
        ("services", largest.services, |sizes| &mut sizes.services),
        ("endpoints", largest.endpoints, |sizes| &mut sizes.endpoints),
        ("ring-places", largest.ring_places, |sizes| &mut sizes.ring_places),
    ];
    for (name, default, size) in sizes {
        let [bytes, per_cpu] = each(size);
        writeln!(table, "| `{name}` | {default} | {bytes} | {per_cpu} |").unwrap();
    }
    let (all, per_cpu) = (largest.memory(0), largest.memory(1) - largest.memory(0));
    writeln!(table, "| all maps | | {all} | {per_cpu} |").unwrap();
    table
}

/// What one more of something takes, apart from CPUs and on each of them.
fn each(size: Field) -> [u64; 2] {
    /// So many that rounding to whole buckets is lost in them.
    const MANY: u32 = 1 << 20;
    let memory = |number, cpus| {
        let mut sizes = Sizes::default();
        *size(&mut sizes) = number;
        sizes.memory(cpus)
    };
    let one = |cpus| (memory(2 * MANY, cpus) - memory(MANY, cpus) + u64::from(MANY) / 2) / u64::from(MANY);
    [one(0), one(1) - one(0)]
}
