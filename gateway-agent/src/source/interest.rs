//! Where a change can change what the sources hold: which names in which directories.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::scan::{all_files, is_ours};

/// What of a directory matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// It is a source: all files that may hold objects.
    pub files: bool,
    /// These entries, in any case.
    pub names: BTreeSet<OsString>,
    /// Not only which entries there are, but also what is written to them.
    pub writes: bool,
}

impl Interest {
    pub fn matters(&self, name: &OsStr) -> bool {
        self.names.contains(name) || self.files && is_ours(Path::new(name))
    }
}

/// By directory, without symbolic links in its path.
pub fn interests(sources: &[PathBuf]) -> BTreeMap<PathBuf, Interest> {
    let mut interests: BTreeMap<PathBuf, Interest> = BTreeMap::new();
    let files = all_files(sources);
    let links = files.iter().filter(|file| file.is_symlink());
    for path in sources.iter().chain(links) {
        for (directory, name) in steps(path) {
            let interest = interests.entry(directory.clone()).or_default();
            interest.writes |= directory.join(&name).is_file();
            interest.names.insert(name);
        }
    }
    for source in sources.iter().filter(|source| source.is_dir()) {
        if let Ok(directory) = source.canonicalize() {
            let interest = interests.entry(directory).or_default();
            interest.files = true;
            interest.writes = true;
        }
    }
    interests
}

/// Linux follows at most 40 symbolic links in a path (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// The directory entries that the kernel looks at on its way to a path, up to the first that is missing.
fn steps(path: &Path) -> Vec<(PathBuf, OsString)> {
    let Ok(path) = std::path::absolute(path) else { return Vec::new() };
    let mut ahead: VecDeque<OsString> = names(&path).collect();
    let mut here = PathBuf::from("/");
    let mut steps = Vec::new();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let entry = here.join(&name);
        steps.push((here.clone(), name));
        if let Ok(target) = entry.read_link() {
            links += 1;
            if links > MAX_LINKS {
                break;
            }
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            names(&target).rev().for_each(|name| ahead.push_front(name));
        } else if entry.exists() {
            here = entry;
        } else {
            break;
        }
    }
    steps
}

fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| component.as_os_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_step_of_the_way_matters() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("data/v1")).unwrap();
        fs::write(root.join("data/v1/x"), "").unwrap();
        symlink("v1", root.join("data/current")).unwrap();
        symlink("../data/current/x", root.join("data/x.yaml")).unwrap();

        let told = |path: &str| -> Vec<String> {
            steps(&root.join(path))
                .into_iter()
                .filter_map(|(directory, name)| {
                    Some(format!("{}:{}", directory.strip_prefix(&root).ok()?.display(), name.display()))
                })
                .collect()
        };
        assert_eq!(
            told("data/x.yaml"),
            [":data", "data:x.yaml", ":data", "data:current", "data:v1", "data/v1:x"]
        );
        assert_eq!(told("data/none/below"), [":data", "data:none"]);

        let all = interests(&[root.join("data")]);
        let source = &all[&root.join("data")];
        assert!(source.matters("new.yaml".as_ref()) && source.matters("current".as_ref()));
        assert!(!source.matters("notes.txt".as_ref()) && !source.matters(".x.yaml.swp".as_ref()));
        let above = &all[&root];
        assert!(above.matters("data".as_ref()) && !above.matters("new.yaml".as_ref()) && !above.writes);
    }
}
