//! Images for the cluster, of what this machine has built.

use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::ClusterError;
use cluster::image::{Image, ImageFile};

use crate::{InstallError, run};

/// Where nodes look for images without a registry.
const NO_REGISTRY: &str = "docker.io";

/// The agent under test, with the libraries that it is linked to: tests build it otherwise than `cargo xtask image`.
/// `GATEWAY_AGENT_IMAGE` names an archive to test instead.
pub fn of_agent(folder: &Path) -> Result<PathBuf, InstallError> {
    if let Some(archive) = std::env::var_os("GATEWAY_AGENT_IMAGE") {
        return Ok(archive.into());
    }
    of_program(&lab::agent::binary(), &format!("gateway-agent:{}", env!("CARGO_PKG_VERSION")), folder)
}

/// A program, with the libraries that it is linked to. Its path in the image is that of the image's name.
pub fn of_program(program: &Path, name: &str, folder: &Path) -> Result<PathBuf, InstallError> {
    if !program.is_file() {
        return Err(InstallError::NotBuilt(program.to_owned()));
    }
    let (plain, _) = name.split_once(':').unwrap_or((name, ""));
    let stripped = folder.join(name);
    run(Command::new("strip").args(["--strip-all", "-o"]).arg(&stripped).arg(program))?;
    let libraries = run(Command::new("ldd").arg(program))?;
    // `libc.so.6 => /lib/libc.so.6 (0x...)`, and the loader by its path alone.
    let paths =
        libraries.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let mut files: Vec<_> = paths.map(|path| ImageFile::program(path, path)).collect();
    let path = format!("/usr/bin/{plain}");
    files.push(ImageFile::program(&path, stripped));
    let image = Image {
        names: vec![format!("{NO_REGISTRY}/library/{name}")],
        entrypoint: vec![path],
        files,
        ..Image::default()
    };
    Ok(write(&image, folder.join(format!("{name}.tar")))?)
}

/// The DNS server of the page, under its published name.
pub fn of_coredns(program: PathBuf, folder: &Path) -> Result<PathBuf, InstallError> {
    let image = Image {
        names: vec![format!("{NO_REGISTRY}/coredns/coredns:1.12.2")],
        entrypoint: vec!["/coredns".into()],
        files: vec![ImageFile::program("/coredns", program)],
        ..Image::default()
    };
    Ok(write(&image, folder.join("coredns.tar"))?)
}

fn write(image: &Image, archive: PathBuf) -> Result<PathBuf, ClusterError> {
    image.write(&archive)?;
    Ok(archive)
}
