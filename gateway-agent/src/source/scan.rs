//! Which files the sources name, and what of them has changed since the last look.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Problem;
use super::document::{self, Document, MAX_FILE_BYTES};

/// Remembers the files that it has read, so that the next look reads only those that changed.
#[derive(Debug, Default)]
pub struct Scan {
    stamps: BTreeMap<PathBuf, Stamp>,
}

/// What a look at the sources found.
#[derive(Debug, Default)]
pub struct Found {
    /// Files that are new or changed, with their documents or what is wrong with them.
    pub read: BTreeMap<PathBuf, Result<Vec<Document>, Problem>>,
    /// Every file that the sources name now.
    pub files: BTreeSet<PathBuf>,
    /// Sources that don't exist.
    pub missing: Vec<Problem>,
    /// Sources that can't be read. Their files are not gone, but unknown.
    pub unreadable: BTreeMap<PathBuf, Problem>,
}

/// Tells a file's version from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// False: the file changed so shortly before it was read that a later change could have the same times.
    settled: bool,
}

/// Files carry the time of the last clock tick, which comes every 10 ms at least (`CONFIG_HZ=100`).
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// In a directory, files with other extensions are not ours.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

impl Scan {
    /// Looks at files and at the files in directories (not in their subdirectories). Those in `unfinished` are
    /// named, but not read: somebody is writing them.
    pub fn look(&mut self, sources: &[PathBuf], unfinished: &BTreeSet<PathBuf>) -> Found {
        let mut found = Found::default();
        for source in sources {
            match files_of(source) {
                Ok(files) => found.files.extend(files),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    found.missing.push(missing(source));
                }
                Err(error) => {
                    found.unreadable.insert(source.clone(), unreadable(source, &error));
                }
            }
        }
        for file in found.files.difference(unfinished) {
            if let Some(result) = self.read_if_changed(file) {
                found.read.insert(file.clone(), result);
            }
        }
        self.stamps.retain(|file, _| found.files.contains(file));
        found
    }

    /// Makes the next look read this file whatever its times say.
    pub fn forget(&mut self, file: &Path) {
        self.stamps.remove(file);
    }

    /// Makes the next look read every file.
    pub fn forget_all(&mut self) {
        self.stamps.clear();
    }

    /// None: unchanged, or gone between the look at its directory and now, which makes another event.
    fn read_if_changed(&mut self, path: &Path) -> Option<Result<Vec<Document>, Problem>> {
        match read_if_other_than(path, self.stamps.get(path)) {
            Ok(None) => None,
            Ok(Some((stamp, result))) => {
                self.stamps.insert(path.to_owned(), stamp);
                Some(result.and_then(|bytes| document::parse(path, &bytes)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.stamps.remove(path);
                Some(Err(unreadable(path, &error)))
            }
        }
    }
}

/// The files that can be named now.
pub fn all_files(sources: &[PathBuf]) -> BTreeSet<PathBuf> {
    sources.iter().filter_map(|source| files_of(source).ok()).flatten().collect()
}

/// A source's files.
fn files_of(source: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(source)?.is_dir() {
        return Ok(vec![source.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(source)? {
        let path = entry?.path();
        // Of a dangling symbolic link, only its target is missing: nothing to read.
        if is_ours(&path) && fs::metadata(&path).is_ok_and(|m| m.is_file()) {
            files.push(path);
        }
    }
    Ok(files)
}

/// Hidden files are editors' and kubelet's own.
pub fn is_ours(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|e| EXTENSIONS.iter().any(|ours| e == *ours))
}

type Content = Result<Vec<u8>, Problem>;

fn read_if_other_than(path: &Path, known: Option<&Stamp>) -> io::Result<Option<(Stamp, Content)>> {
    if !fs::metadata(path)?.is_file() {
        let problem = Problem::of_file(path, "not a regular file", "give files or directories of files");
        return Ok(Some((Stamp::of(&fs::metadata(path)?), Err(problem))));
    }
    let file = File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    if known.is_some_and(|known| *known == stamp && known.settled) {
        return Ok(None);
    }
    if stamp.bytes > MAX_FILE_BYTES {
        return Ok(Some((stamp, Err(too_large(path, stamp.bytes)))));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    let content = match bytes.len() as u64 {
        read if read > MAX_FILE_BYTES => Err(too_large(path, read)),
        _ => Ok(bytes),
    };
    Ok(Some((stamp, content)))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
        let changed = Duration::new(seconds.max(0).unsigned_abs(), u32::try_from(nanoseconds).unwrap_or(0));
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed).unwrap_or_default();
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (seconds, nanoseconds),
            settled: age > 2 * CLOCK_TICK,
        }
    }
}

fn too_large(path: &Path, bytes: u64) -> Problem {
    const MIB: u64 = 1 << 20;
    Problem::of_file(
        path,
        format!(
            "has {}.{} MiB; a file may have {} MiB",
            bytes / MIB,
            bytes % MIB * 10 / MIB,
            MAX_FILE_BYTES / MIB
        ),
        "split it into several files (a running agent keeps what it said last)",
    )
}

fn missing(path: &Path) -> Problem {
    Problem::of_file(path, "no such file or directory", "create it, or correct the path after -f")
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::of_file(path, format!("can't be read: {error}"), "make it readable for the agent's user")
}
