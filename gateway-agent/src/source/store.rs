//! What the files say, taken together: one object of each name, each as last admitted.

use std::collections::{BTreeMap, btree_map};
use std::path::{Path, PathBuf};

use gateway_agent_api::admission::{self, Admitted, Finding, Refusal};
use gateway_agent_api::{Object, ObjectRef};

use super::document::Document;
use super::scan::Found;
use super::{Place, Problem};

/// The objects that count.
#[derive(Debug, Default)]
pub struct Store {
    files: BTreeMap<PathBuf, FileState>,
    /// Of the sources as a whole.
    source_problems: Vec<Problem>,
    objects: BTreeMap<ObjectRef, Counted>,
}

/// An object that counts, and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    pub place: Place,
    pub object: Object,
}

/// What a look at the files changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Put(Object),
    Remove(ObjectRef),
}

#[derive(Debug, Default)]
struct FileState {
    /// As last parsed.
    entries: Vec<Entry>,
    /// Why it doesn't parse now.
    problem: Option<Problem>,
}

/// What a document became.
#[derive(Debug)]
struct Entry {
    place: Place,
    /// None: no name could be read.
    name: Option<ObjectRef>,
    /// None: refused, or none of our business.
    object: Option<Object>,
    problems: Vec<Problem>,
}

impl Store {
    /// Takes over what a look found. A file that can't be read or parsed counts as it last could be; so does an
    /// object that admission refuses.
    pub fn update(&mut self, found: Found) -> Vec<Change> {
        let Found { read, files, missing, unreadable } = found;
        let unknown = |file: &Path| unreadable.keys().any(|source| file.starts_with(source));
        self.files.retain(|file, _| files.contains(file) || unknown(file));
        for (file, result) in read {
            let state = self.files.entry(file).or_default();
            match result {
                Ok(documents) => {
                    state.entries = documents.into_iter().flat_map(judge).collect();
                    state.problem = None;
                }
                Err(problem) => state.problem = Some(problem),
            }
        }
        self.source_problems = unreadable.into_values().chain(missing).collect();
        self.merge()
    }

    /// In the order of objects' kinds, namespaces and names.
    pub fn objects(&self) -> impl Iterator<Item = &Counted> {
        self.objects.values()
    }

    /// Where an object that counts stands.
    pub fn place(&self, object: &ObjectRef) -> Option<&Place> {
        self.objects.get(object).map(|counted| &counted.place)
    }

    /// Everything wrong with the files and the objects in them, in the order of paths.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.source_problems.clone();
        for file in self.files.values() {
            problems.extend(file.problem.clone());
            problems.extend(file.entries.iter().flat_map(|entry| entry.problems.clone()));
        }
        problems.extend(self.duplicates());
        problems.sort();
        problems
    }

    /// The first document of each name decides: what it says if it was admitted, else what counted before.
    fn merge(&mut self) -> Vec<Change> {
        let mut before = std::mem::take(&mut self.objects);
        let mut changes = Vec::new();
        for entry in self.files.values().flat_map(|file| &file.entries) {
            let Some(name) = &entry.name else { continue };
            let btree_map::Entry::Vacant(vacant) = self.objects.entry(name.clone()) else { continue };
            let old = before.remove(name);
            match (&entry.object, old) {
                (Some(object), old) => {
                    if old.is_none_or(|old| old.object != *object) {
                        changes.push(Change::Put(object.clone()));
                    }
                    vacant.insert(Counted { place: entry.place.clone(), object: object.clone() });
                }
                (None, Some(old)) => {
                    vacant.insert(old);
                }
                (None, None) => {}
            }
        }
        changes.extend(before.into_keys().map(Change::Remove));
        changes
    }

    fn duplicates(&self) -> Vec<Problem> {
        let mut first: BTreeMap<&ObjectRef, &Place> = BTreeMap::new();
        let mut problems = Vec::new();
        for entry in self.files.values().flat_map(|file| &file.entries) {
            let Some(name) = &entry.name else { continue };
            match first.entry(name) {
                btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(&entry.place);
                }
                btree_map::Entry::Occupied(occupied) => problems.push(Problem {
                    place: entry.place.clone(),
                    object: Some(name.to_string()),
                    cause: format!("it is in {} too, which counts since it comes first", occupied.get()),
                    fix: format!("delete it here or in {}", occupied.get().file.display()),
                }),
            }
        }
        problems
    }
}

/// Lists come apart here.
fn judge(document: Document) -> Vec<Entry> {
    let place = document.place;
    admission::documents(document.value)
        .into_iter()
        .map(|value| match admission::admit(value) {
            Ok(admitted) => Entry::admitted(place.clone(), admitted),
            Err(refusal) => Entry::refused(place.clone(), &refusal),
        })
        .collect()
}

impl Entry {
    fn admitted(place: Place, Admitted { object, warnings }: Admitted) -> Self {
        let name = object.object_ref();
        let problems = warnings.iter().map(|finding| finding_problem(&place, Some(&name), finding)).collect();
        Self { place, name: Some(name), object: Some(object), problems }
    }

    fn refused(place: Place, refusal: &Refusal) -> Self {
        let name = refusal.object();
        let problems = match refusal {
            Refusal::Malformed(finding) => vec![finding_problem(&place, None, finding)],
            Refusal::Ignored { .. } => Vec::new(),
            Refusal::UnknownVersion { object, version } => vec![Problem {
                place: place.clone(),
                object: Some(object.to_string()),
                cause: format!("version {version} is not read"),
                fix: format!("use {}", object.kind.versions().join(" or ")),
            }],
            Refusal::Invalid { object, findings } => {
                findings.iter().map(|finding| finding_problem(&place, Some(object), finding)).collect()
            }
        };
        Self { place, name: name.cloned(), object: None, problems }
    }
}

fn finding_problem(place: &Place, object: Option<&ObjectRef>, finding: &Finding) -> Problem {
    let path = if finding.path.is_empty() { String::new() } else { format!("{}: ", finding.path) };
    Problem {
        place: place.clone(),
        object: object.map(ToString::to_string),
        cause: format!("{path}{}", finding.cause),
        fix: finding.fix.clone(),
    }
}
