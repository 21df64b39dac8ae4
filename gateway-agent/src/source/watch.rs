//! Says when files may have changed, and which are just being written.
//!
//! Events only say that a look is due; what is true is what the look finds. So a missed or surplus event does no
//! harm, and a look every now and then finds what file systems without events (NFS) don't report.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask};
use tokio::time::{Instant, timeout};

use super::scan::{Found, Scan, all_files};

/// Follows files and directories.
#[derive(Debug)]
pub struct Watcher {
    sources: Vec<PathBuf>,
    events: EventStream<[u8; EVENT_BYTES]>,
    directories: HashMap<WatchDescriptor, PathBuf>,
    /// Written to, and not yet closed by the writer: directory as watched, and name there.
    open: BTreeMap<(PathBuf, OsString), Instant>,
    scan: Scan,
    /// Something happened since the last look.
    due: bool,
}

/// Room for some 50 events with names of 64 bytes; one needs up to 272 (inotify(7)).
const EVENT_BYTES: usize = 4096;

/// After the last event, time for the rest of a burst (`git pull`, an editor's rename and write) to arrive, so that
/// it becomes one change. What is right doesn't depend on it.
const QUIET: Duration = Duration::from_millis(20);
/// A burst without end is looked at this often.
const LONGEST_BURST: Duration = Duration::from_millis(500);

impl Watcher {
    /// Starts to follow files and directories, which need not exist yet. Fails if inotify has no watch left for us
    /// (sysctls `fs.inotify.max_user_instances` and `max_user_watches`).
    pub fn new(sources: Vec<PathBuf>) -> io::Result<Self> {
        let mut watcher = Self {
            sources,
            events: Inotify::init()?.into_event_stream([0; EVENT_BYTES])?,
            directories: HashMap::new(),
            open: BTreeMap::new(),
            scan: Scan::default(),
            due: true,
        };
        watcher.watch_directories()?;
        Ok(watcher)
    }

    /// Waits for the end of a burst of events; may also come back without a change. Can be cancelled: the next call
    /// knows of what this one has seen.
    pub async fn changed(&mut self) -> io::Result<()> {
        if !self.due {
            self.next_event().await?;
        }
        let begin = Instant::now();
        while begin.elapsed() < LONGEST_BURST {
            match timeout(QUIET, self.next_event()).await {
                Ok(event) => event?,
                Err(_quiet) => break,
            }
        }
        Ok(())
    }

    /// Reads what changed since the last look. A file that is being written is not read before its writer closes
    /// it: half of it may well parse, and the objects in the other half would go away for that time.
    pub fn look(&mut self) -> io::Result<Found> {
        let mut all = Found::default();
        loop {
            self.take_events()?;
            self.due = false;
            let unfinished = self.unfinished();
            let found = self.scan.look(&self.sources, &unfinished);
            all.read.extend(found.read);
            all.files = found.files;
            all.missing = found.missing;
            all.unreadable = found.unreadable;
            // Only what was watched before it was read can be trusted not to have changed since.
            if self.watch_directories()? {
                continue;
            }
            if !self.take_events()? {
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
            .filter(|(_, since)| since.elapsed() > age)
            .map(|((directory, name), _)| directory.join(name))
            .collect()
    }

    async fn next_event(&mut self) -> io::Result<()> {
        match self.events.next().await {
            Some(event) => {
                self.take(event?);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Takes what is there already. True if there was something.
    fn take_events(&mut self) -> io::Result<bool> {
        let mut any = false;
        while let Some(Some(event)) = self.events.next().now_or_never() {
            self.take(event?);
            any = true;
        }
        Ok(any)
    }

    fn take(&mut self, event: EventOwned) {
        self.due = true;
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            self.open.clear();
            self.scan.forget_all();
            return;
        }
        if event.mask.contains(EventMask::IGNORED) {
            self.directories.remove(&event.wd);
            return;
        }
        let (Some(directory), Some(name)) = (self.directories.get(&event.wd).cloned(), event.name) else {
            return;
        };
        let path = directory.join(&name);
        let key = (directory, name);
        if event.mask.contains(EventMask::MODIFY)
            || event.mask.contains(EventMask::CREATE) && begins_empty(&path)
        {
            self.open.entry(key).or_insert_with(Instant::now);
        } else if event.mask.intersects(ENDS_WRITING) {
            self.open.remove(&key);
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

    /// Watches every directory in which something can change what the sources name. True if one is new.
    fn watch_directories(&mut self) -> io::Result<bool> {
        let wanted = directories_of(&self.sources);
        let mut watches = self.events.watches();
        let mut kept = HashMap::new();
        let mut new = false;
        for directory in wanted {
            match watches.add(&directory, WATCHED) {
                Ok(wd) => {
                    new |= !self.directories.contains_key(&wd);
                    kept.insert(wd, directory);
                }
                // It went away in the meantime: its parent reports that.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(error),
            }
        }
        for (wd, _) in self.directories.drain().filter(|(wd, _)| !kept.contains_key(wd)) {
            // Fails if the directory is gone, and the watch with it.
            let _ = watches.remove(wd);
        }
        self.directories = kept;
        Ok(new)
    }
}

const WATCHED: WatchMask = WatchMask::CREATE
    .union(WatchMask::MODIFY)
    .union(WatchMask::ATTRIB)
    .union(WatchMask::CLOSE_WRITE)
    .union(WatchMask::MOVE)
    .union(WatchMask::DELETE)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR);

const ENDS_WRITING: EventMask =
    EventMask::CLOSE_WRITE.union(EventMask::MOVED_TO).union(EventMask::MOVED_FROM).union(EventMask::DELETE);

/// A new and empty regular file is about to be written; another link to one, a symbolic link or a directory is
/// complete. (If it isn't empty any more, writing has made events of its own.)
fn begins_empty(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| m.is_file() && m.nlink() == 1 && m.len() == 0)
}

/// For each source: itself if it is a directory; else, or if it is missing, the nearest directory above it; and for
/// each symbolic link met on the way there or in it, the directory that its target is in.
fn directories_of(sources: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    for source in sources {
        directories.extend(nearest_directory_above(source));
        if source.is_dir() {
            directories.insert(source.clone());
        }
    }
    for file in all_files(sources) {
        directories.extend(directories_of_links(&file));
    }
    for source in sources {
        directories.extend(directories_of_links(source));
    }
    directories
}

fn nearest_directory_above(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().skip(1).find(|ancestor| ancestor.is_dir()).map(Path::to_owned)
}

/// Linux follows at most 40 symbolic links in a path (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

fn directories_of_links(path: &Path) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = path.read_link() else { break };
        let Some(parent) = path.parent() else { break };
        path = parent.join(target);
        directories.extend(nearest_directory_above(&path));
    }
    directories
}
