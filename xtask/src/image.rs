//! `cargo xtask image`: the container image, of the agent alone, static, and without a trace of where it was built. The
//! same sources make the same image in whatever folder, by one compiler in one place.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use cluster::image::{Image, ImageFile};

use crate::checkout;
use crate::process::{output, step, succeed};

/// Where container runtimes look for names that have no registry, and so the name that such an image has on a node
/// (grammar of references of the distribution specification's reference implementation).
const NO_REGISTRY: &str = "docker.io/library";

/// Nodes fetch it over their network, and keep two of them during an upgrade.
const MOST_BYTES: u64 = 30_000_000;

const PROGRAM: &str = "/usr/bin/gateway-agent";

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// The archive [default: target/image/gateway-agent.tar]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Build it once more, in another folder, and compare
    #[arg(long)]
    pub(crate) check: bool,
}

/// What is built already, as an archive that `cargo xtask cluster load-images` takes.
pub(crate) fn run(options: &Options) -> Result<PathBuf> {
    let folder = checkout::target().join("image");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let archive = options.output.clone().unwrap_or_else(|| folder.join("gateway-agent.tar"));
    let name = format!("gateway-agent:{}", env!("CARGO_PKG_VERSION"));
    step(&format!("image {name}"), || {
        let program = build(&checkout::root(), &checkout::target())?;
        let image = Image {
            names: vec![format!("{NO_REGISTRY}/{name}")],
            entrypoint: vec![PROGRAM.to_owned()],
            labels: labels()?,
            files: vec![ImageFile::program(PROGRAM, program)],
            ..Image::default()
        };
        Ok(image.write(&archive)?)
    })?;
    let bytes = fs::metadata(&archive)?.len();
    if bytes > MOST_BYTES {
        bail!("{} has {bytes} bytes, more than the {MOST_BYTES} that it may have", archive.display());
    }
    println!("{} ({:.1} MB)", archive.display(), megabytes(bytes));
    Ok(archive)
}

/// Of a folder with the sources, built into another; neither shows. The target is named, so that programs that Cargo
/// runs meanwhile get none of these flags.
pub(crate) fn build(root: &Path, built: &Path) -> Result<PathBuf> {
    let target = target();
    // Panics of std name its sources where the toolchain has them.
    let sysroot = output(Command::new("rustc").current_dir(root).args(["--print", "sysroot"]))?;
    let places = [
        (root, "/gateway-agent"),
        (built, "/target"),
        (&checkout::cargo_home(), "/cargo"),
        (Path::new(sysroot.trim()), "/rust"),
    ];
    let rust = places.iter().map(|(path, name)| format!("\x1f--remap-path-prefix={}={name}", path.display()));
    let c = places.iter().map(|(path, name)| format!("-ffile-prefix-map={}={name}", path.display()));
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root).env("CARGO_TARGET_DIR", built);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", format!("-Ctarget-feature=+crt-static{}", rust.collect::<String>()));
    cargo.env("CFLAGS", c.collect::<Vec<_>>().join(" "));
    // What C compilers take for the time of day (reproducible-builds.org); the allocator has it in a message. A commit's
    // time would not do: what is built already is not built again for it.
    cargo.env("SOURCE_DATE_EPOCH", "0");
    // Symbols and line tables are most of the file, and nobody would read them there.
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "0").env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    succeed(cargo.args(["build", "--locked", "--release", "-p", "gateway-agent", "--target", &target]))?;
    Ok(program(built))
}

/// What `build` makes.
pub(crate) fn program(built: &Path) -> PathBuf {
    built.join(target()).join("release/gateway-agent")
}

fn target() -> String {
    format!("{}-unknown-linux-gnu", env::consts::ARCH)
}

/// The OCI image specification's keys.
fn labels() -> Result<BTreeMap<String, String>> {
    let labels = [
        ("title", "gateway-agent".to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("revision", revision()?),
        ("licenses", env!("CARGO_PKG_LICENSE").to_owned()),
    ];
    Ok(labels.map(|(key, value)| (format!("org.opencontainers.image.{key}"), value)).into())
}

/// The commit, and whether the files are others.
fn revision() -> Result<String> {
    let git = |words: &[&str]| output(Command::new("git").current_dir(checkout::root()).args(words));
    let commit = git(&["rev-parse", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Ok(format!("{}{}", commit.trim(), if changed.is_empty() { "" } else { "-changed" }))
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
