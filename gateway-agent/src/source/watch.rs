//! Says when files may have changed, and which are just being written.
//!
//! Events only say that a look is due; what is true is what the look finds. So a missed or surplus event does no
//! harm, and a look every now and then finds what file systems without events (NFS) don't report.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask};
use tokio::time::{Instant, timeout_at};

use crate::burst::Burst;

use super::interest::{Interest, interests};
use super::scan::{Found, Scan, all_files};

/// Follows files and directories.
#[derive(Debug)]
pub struct Watcher {
    sources: Vec<PathBuf>,
    events: EventStream<[u8; EVENT_BYTES]>,
    directories: HashMap<WatchDescriptor, (PathBuf, Interest)>,
    /// Written to, and not yet closed by the writer: directory and name there.
    open: BTreeMap<(PathBuf, OsString), Writing>,
    /// Longest pause of a writer; [`WRITER_PAUSE`] but in tests.
    pub(super) writer_pause: Duration,
    scan: Scan,
    /// Something happened since the last look.
    due: bool,
    burst: Burst,
}

/// A file that somebody writes.
#[derive(Clone, Copy, Debug)]
struct Writing {
    since: Instant,
    /// The latest event.
    latest: Instant,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "files can't be followed: inotify: {0}; raise the sysctls fs.inotify.max_user_instances and max_user_watches"
)]
pub struct WatchError(#[from] io::Error);

/// Room for some 50 events with names of 64 bytes; one needs up to 272 (inotify(7)).
const EVENT_BYTES: usize = 4096;

/// A file to which nothing was written for so long counts as it is, although no event told that its writer closed it:
/// truncate(2) needs no open file, and some writers keep theirs open. Far longer than writers take between two writes.
pub const WRITER_PAUSE: Duration = Duration::from_secs(30);

/// Looks in a row while files keep changing; what is still changing then waits for the next burst.
const MAX_LOOKS: usize = 4;

impl Watcher {
    /// Starts to follow files and directories, which need not exist yet. Fails if inotify has no instance or watch
    /// left for us.
    pub fn new(sources: Vec<PathBuf>) -> Result<Self, WatchError> {
        let mut watcher = Self {
            sources,
            events: Inotify::init()?.into_event_stream([0; EVENT_BYTES])?,
            directories: HashMap::new(),
            open: BTreeMap::new(),
            writer_pause: WRITER_PAUSE,
            scan: Scan::default(),
            due: true,
            burst: Burst::default(),
        };
        watcher.watch_directories()?;
        Ok(watcher)
    }

    /// Waits for the end of a burst of events; may also come back without a change. Can be cancelled: the next call
    /// knows of what this one has seen.
    pub async fn changed(&mut self) -> Result<(), WatchError> {
        if !self.due {
            match self.next_pause() {
                Some(end) => timeout_at(end, self.next_event()).await.unwrap_or(Ok(()))?,
                None => self.next_event().await?,
            }
        }
        while let Some(end) = self.burst.end()
            && let Ok(event) = timeout_at(end, self.next_event()).await
        {
            event?;
        }
        Ok(())
    }

    /// Reads what changed since the last look. A file that is being written is not read before its writer closes
    /// it: half of it may well parse, and the objects in the other half would go away for that time.
    pub fn look(&mut self) -> Result<Found, WatchError> {
        // What was read before the failure is lost, so that it must be read again.
        self.look_repeatedly().inspect_err(|_| self.scan.forget_all()).map_err(WatchError)
    }

    fn look_repeatedly(&mut self) -> io::Result<Found> {
        let mut all = Found::default();
        for _ in 0..MAX_LOOKS {
            self.take_events()?;
            self.end_pauses();
            self.due = false;
            self.burst.clear();
            let unfinished = self.unfinished();
            let found = self.scan.look(&self.sources, &unfinished);
            all.read.extend(found.read);
            all.files = found.files;
            all.missing = found.missing;
            all.unreadable = found.unreadable;
            // Only what was watched before it was read can be trusted not to have changed since.
            self.due |= self.watch_directories()?;
            self.take_events()?;
            if !self.due {
                break;
            }
            for file in self.unfinished() {
                all.read.remove(&file);
                self.scan.forget(&file);
            }
        }
        all.read.retain(|file, _| all.files.contains(file));
        Ok(all)
    }

    /// Files that somebody began to write longer ago than this and has not closed.
    pub fn open_longer_than(&self, age: Duration) -> Vec<PathBuf> {
        self.open
            .iter()
            .filter(|(_, writing)| writing.since.elapsed() > age)
            .map(|((directory, name), _)| directory.join(name))
            .collect()
    }

    /// When the first of the open files will count as closed, if no further event comes.
    fn next_pause(&self) -> Option<Instant> {
        self.open.values().map(|writing| writing.latest + self.writer_pause).min()
    }

    fn end_pauses(&mut self) {
        self.open.retain(|_, writing| writing.latest.elapsed() < self.writer_pause);
    }

    async fn next_event(&mut self) -> io::Result<()> {
        match self.events.next().await {
            Some(event) => {
                self.take(event?);
                self.burst.event();
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Takes what is there already.
    fn take_events(&mut self) -> io::Result<()> {
        while let Some(Some(event)) = self.events.next().now_or_never() {
            self.take(event?);
        }
        Ok(())
    }

    fn take(&mut self, event: EventOwned) {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            self.due = true;
            self.open.clear();
            self.scan.forget_all();
            return;
        }
        // No longer watched: what was left in the queue.
        let Some((directory, interest)) = self.directories.get(&event.wd) else { return };
        match event.name {
            Some(name) if interest.matters(&name) => {
                self.due = true;
                let key = (directory.clone(), name);
                if event.mask.intersects(ENDS_WRITING) {
                    self.open.remove(&key);
                } else if begins_writing(event.mask, &key.0.join(&key.1)) {
                    let now = Instant::now();
                    self.open.entry(key).or_insert(Writing { since: now, latest: now }).latest = now;
                }
            }
            Some(_) => {}
            None => self.due = true,
        }
    }

    /// As the sources name them, through symbolic links.
    fn unfinished(&self) -> BTreeSet<PathBuf> {
        if self.open.is_empty() {
            return BTreeSet::new();
        }
        let open: BTreeSet<PathBuf> = self
            .open
            .keys()
            .filter_map(|(directory, name)| directory.join(name).canonicalize().ok())
            .collect();
        let named = all_files(&self.sources);
        named.into_iter().filter(|file| file.canonicalize().is_ok_and(|real| open.contains(&real))).collect()
    }

    /// Watches every directory in which something can change what the sources hold. True if one is new.
    fn watch_directories(&mut self) -> io::Result<bool> {
        let mut watches = self.events.watches();
        let mut kept = HashMap::new();
        let mut new = false;
        for (directory, interest) in interests(&self.sources) {
            let mask = if interest.writes { ENTRIES.union(WRITES) } else { ENTRIES };
            match watches.add(&directory, mask) {
                Ok(wd) => {
                    new |= self.directories.get(&wd).is_none_or(|(_, before)| *before != interest);
                    kept.insert(wd, (directory, interest));
                }
                // Gone in the meantime, which its parent reports; or we may pass through it, but not list it.
                Err(error) if is_bearable(&error) => {}
                Err(error) => return Err(error),
            }
        }
        for (wd, _) in self.directories.drain().filter(|(wd, _)| !kept.contains_key(wd)) {
            // Fails if the directory is gone, and the watch with it.
            let _ = watches.remove(wd);
        }
        self.directories = kept;
        // Of what was moved away while being written, no event will tell the end.
        self.open.retain(|(directory, name), _| directory.join(name).exists());
        Ok(new)
    }
}

fn is_bearable(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

/// Which entries a directory has, and whether it is still there itself.
const ENTRIES: WatchMask = WatchMask::CREATE
    .union(WatchMask::MOVE)
    .union(WatchMask::DELETE)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR);

const WRITES: WatchMask = WatchMask::MODIFY.union(WatchMask::ATTRIB).union(WatchMask::CLOSE_WRITE);

const ENDS_WRITING: EventMask =
    EventMask::CLOSE_WRITE.union(EventMask::MOVED_TO).union(EventMask::MOVED_FROM).union(EventMask::DELETE);

/// Somebody wrote to it; or it is new and empty, and about to be written. Another link to a file, a symbolic link or
/// a directory is complete when it is made.
fn begins_writing(event: EventMask, path: &Path) -> bool {
    let is_empty = |m: Metadata| m.is_file() && m.nlink() == 1 && m.len() == 0;
    event.contains(EventMask::MODIFY)
        || event.contains(EventMask::CREATE) && path.symlink_metadata().is_ok_and(is_empty)
}
