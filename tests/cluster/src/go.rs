//! Programs of Go modules, built once for everybody on this machine.
//!
//! What a module's programs are is decided by its files and by Go's version, so a digest of both names the folder
//! that they are kept in.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::ClusterError;
use crate::digest::sha256;
use crate::image::architecture;
use crate::lock::Lock;

/// Hexadecimal digits of the digest in a folder's name: enough that no two ever meet.
const DIGITS: usize = 16;

/// The first Go 1 that fetches the version that a go.mod asks for.
const CHOOSES_TOOLCHAIN: u32 = 21;

/// What an older one is told to fetch; the system's name follows.
const TOOLCHAIN: &str = "golang.org/toolchain@v0.0.1-go1.26.8";

/// A module with a go.mod and a go.sum that name every version.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Below tests/go.
    pub folder: &'static str,
    pub programs: &'static [Program],
}

#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The file that it becomes.
    pub name: &'static str,
    /// An import path, or a folder of the module such as `./pause`.
    pub package: &'static str,
    pub kind: Kind,
    /// Variables that the linker sets, as `-X` takes them.
    pub variables: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A package main.
    Main,
    /// A package's tests as a program of their own.
    Test,
}

impl Module {
    /// The folder with the module's programs, built by `go` if it isn't there yet.
    pub fn build(&self, go: &Path) -> Result<PathBuf, ClusterError> {
        let ready = self.built(go)?;
        if ready.is_dir() {
            return Ok(ready);
        }
        let _lock = Lock::of_build(self.folder)?;
        if ready.is_dir() {
            return Ok(ready);
        }
        // Made aside and renamed when whole, so that an interrupted build does no harm.
        let partial = ready.with_extension("partial");
        fs::create_dir_all(&partial)
            .map_err(ClusterError::system(format!("create {}", partial.display())))?;
        for program in self.programs {
            eprintln!("    go build {} ({})", program.name, program.package);
            self.build_program(go, program, &partial.join(program.name))?;
        }
        fs::rename(&partial, &ready)
            .map_err(ClusterError::system(format!("rename {}", partial.display())))?;
        Ok(ready)
    }

    /// Where [`Module::build`] puts the programs; they may not be there yet.
    pub fn built(&self, go: &Path) -> Result<PathBuf, ClusterError> {
        let version = run(self.command(go).args(["env", "GOVERSION", "GOARCH"]))?;
        let mut parts = vec![version.into_bytes(), format!("{self:?}").into_bytes()];
        let source = self.source();
        for file in files(&source)? {
            let failed = ClusterError::system(format!("read {}", file.display()));
            parts.push(file.strip_prefix(&source).unwrap_or(&file).display().to_string().into_bytes());
            parts.push(fs::read(&file).map_err(failed)?);
        }
        let digest = sha256(parts);
        Ok(cache().join("go").join(format!("{}-{}", self.folder, &digest[..DIGITS])))
    }

    fn build_program(&self, go: &Path, program: &Program, output: &Path) -> Result<(), ClusterError> {
        let mut linker = "-s -w".to_owned();
        for variable in program.variables {
            linker.push_str(" -X ");
            linker.push_str(variable);
        }
        let mut command = self.command(go);
        match program.kind {
            Kind::Main => command.arg("build"),
            Kind::Test => command.args(["test", "-c"]),
        };
        // The go.mod and go.sum that were committed say which code this is, and nothing else does.
        command.args(["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", &linker, "-o"]);
        run(command.arg(output).arg(program.package)).map(drop)
    }

    fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("go").join(self.folder)
    }

    /// `go` in the module's folder.
    fn command(&self, go: &Path) -> Command {
        let mut command = Command::new(go);
        command.current_dir(self.source()).env("GOWORK", "off");
        // Static: the programs run in images that hold nothing else.
        command.env("CGO_ENABLED", "0");
        // An older Go fetches the one that go.mod asks for.
        command.env("GOTOOLCHAIN", "auto");
        command
    }
}

/// The folder of a module's source in Go's module cache, downloaded if need be: `path@version`.
pub fn download(go: &Path, module: &str) -> Result<PathBuf, ClusterError> {
    let mut command = Command::new(go);
    // In no module: the version is named whole, and the checksum database vouches for it.
    command.current_dir("/").env("GOTOOLCHAIN", "auto").args(["mod", "download", "-json", module]);
    let text = run(&mut command)?;
    let invalid = || ClusterError::Invalid(format!("`go mod download {module}` printed no folder: {text}"));
    let answer: serde_json::Value = serde_json::from_str(&text).map_err(|_| invalid())?;
    answer["Dir"].as_str().map(PathBuf::from).ok_or_else(invalid)
}

/// Where this project keeps what it built or fetched, for all checkouts of this user.
pub fn cache() -> PathBuf {
    let home = || env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from).join(".cache");
    env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("gateway-agent")
}

/// A go command that can build everything here; None without any Go. One that is too old (Debian 12's) fetches one that
/// is not.
pub fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Where Go's own archive and Debian's packages put it.
    let usual = ["/usr/local/go/bin", "/usr/lib/go/bin"].map(PathBuf::from);
    let candidates = env::split_paths(&path).chain(usual).map(|folder| folder.join("go"));
    let found: Vec<PathBuf> = candidates.filter(|go| go.is_file()).collect();
    let fits = |go: &&PathBuf| minor_version(go).is_some_and(|minor| minor >= CHOOSES_TOOLCHAIN);
    found.iter().find(fits).cloned().or_else(|| {
        let fetched = fetch(found.first()?);
        fetched.inspect_err(|error| eprintln!("    fetching Go failed: {error}")).ok()
    })
}

/// Go as a module, downloaded by an older one that doesn't know yet that it could choose it by itself.
fn fetch(old: &Path) -> Result<PathBuf, ClusterError> {
    let root = download(old, &format!("{TOOLCHAIN}.linux-{}", architecture()))?;
    let tools = root.join("pkg/tool").join(format!("linux_{}", architecture()));
    // Modules hold no executable files: whoever uses this one makes them so.
    for folder in [root.join("bin"), tools] {
        for file in files(&folder)? {
            fs::set_permissions(&file, Permissions::from_mode(0o755))
                .map_err(ClusterError::system(format!("make {} executable", file.display())))?;
        }
    }
    Ok(root.join("bin/go"))
}

/// The 26 of go1.26.8.
fn minor_version(go: &Path) -> Option<u32> {
    let version = run(Command::new(go).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local")).ok()?;
    let digits = version.trim().strip_prefix("go1.")?;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn run(command: &mut Command) -> Result<String, ClusterError> {
    let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
    let line = words.join(OsStr::new(" ")).to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(ClusterError::system(format!("run {line}")))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ClusterError::Command { command: line, status: output.status.to_string(), stderr });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// All files below a folder, in an order that does not depend on the file system.
fn files(folder: &Path) -> Result<Vec<PathBuf>, ClusterError> {
    let failed = |error| ClusterError::system(format!("list {}", folder.display()))(error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}
