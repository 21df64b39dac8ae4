//! What is known of the cluster's objects, kind by kind. Pure: news in, changes out.

use std::collections::BTreeMap;
use std::mem;

use gateway_agent_api::{Kind, ObjectRef};
use serde_json::Value;

use super::follow::News;
use super::received::Received;
use crate::source::Change;

/// The objects of every kind that is followed.
#[derive(Debug, Default)]
pub struct Objects {
    kinds: BTreeMap<Kind, Followed>,
}

/// One kind.
#[derive(Debug, Default)]
struct Followed {
    records: BTreeMap<ObjectRef, Record>,
    /// What is wrong with objects now.
    faults: BTreeMap<ObjectRef, Fault>,
    /// It was listed at least once.
    listed: bool,
    /// A list is under way, after which it will be known at once what happened in the meantime.
    listing: bool,
    /// Why nothing new is known of it at the moment.
    lost: Option<String>,
    /// Everything up to here is known.
    resource_version: String,
}

/// One object, without what it says: the Snapshot holds that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub uid: String,
    pub resource_version: String,
    /// As in [`Received::status`].
    pub status: Option<Value>,
    /// It could be decoded at least once, and counts as it was then.
    counts: bool,
    /// What it says now can't be decoded.
    is_unreadable: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Fault {
    Undecodable(String),
    UnknownFields(Vec<String>),
}

impl Objects {
    /// Follows a kind from now on.
    pub fn add(&mut self, kind: Kind) {
        self.kinds.entry(kind).or_default();
    }

    /// No longer follows a kind, whose objects are gone with it.
    pub fn drop_kind(&mut self, kind: Kind) -> Vec<Change> {
        let records = self.kinds.remove(&kind).map(|followed| followed.records).unwrap_or_default();
        records
            .into_iter()
            .filter(|(_, record)| record.counts)
            .map(|(name, _)| Change::Remove(name))
            .collect()
    }

    pub fn take(&mut self, kind: Kind, news: News<Received>) -> Vec<Change> {
        let Some(followed) = self.kinds.get_mut(&kind) else { return Vec::new() };
        followed.take(news)
    }

    /// Every kind was listed.
    pub fn is_complete(&self) -> bool {
        self.kinds.values().all(|followed| followed.listed)
    }

    /// No kind is being listed again, so that all kinds are about equally new.
    pub fn is_settled(&self) -> bool {
        self.kinds.values().all(|followed| !followed.listing)
    }

    pub fn record(&self, name: &ObjectRef) -> Option<&Record> {
        self.kinds.get(&name.kind)?.records.get(name)
    }

    /// Takes over what a write of a status answered, unless something newer has been seen already.
    pub fn note_status(&mut self, name: &ObjectRef, resource_version: &str, status: Option<Value>) {
        let record = self.kinds.get_mut(&name.kind).and_then(|followed| followed.records.get_mut(name));
        if let Some(record) = record.filter(|record| is_newer(resource_version, &record.resource_version)) {
            resource_version.clone_into(&mut record.resource_version);
            record.status = status;
        }
    }

    pub fn records(&self) -> impl Iterator<Item = (&ObjectRef, &Record)> {
        self.kinds.values().flat_map(|followed| &followed.records)
    }

    /// For each kind, up to where everything is known. A bookmark alone doesn't move it: nothing of the kind changed.
    pub fn resource_versions(&self) -> impl Iterator<Item = (Kind, &str)> {
        self.kinds.iter().map(|(kind, followed)| (*kind, followed.resource_version.as_str()))
    }

    /// Every kind's latest list or watch goes on.
    pub fn is_reachable(&self) -> bool {
        self.kinds.values().all(|followed| followed.lost.is_none())
    }

    pub fn problems(&self) -> Vec<String> {
        let faults = self.kinds.values().flat_map(|followed| &followed.faults);
        let counts = |name| self.record(name).is_some_and(|record| record.counts);
        let mut problems: Vec<_> = faults.map(|(name, fault)| fault.describe(name, counts(name))).collect();
        // One line for all kinds that have the same trouble.
        let mut lost: BTreeMap<(&str, bool), Vec<&str>> = BTreeMap::new();
        for (kind, followed) in &self.kinds {
            if let Some(cause) = &followed.lost {
                lost.entry((cause, followed.listed)).or_default().push(kind.name());
            }
        }
        problems
            .extend(lost.into_iter().map(|((cause, listed), kinds)| describe_lost(cause, listed, &kinds)));
        problems
    }
}

fn describe_lost(cause: &str, listed: bool, kinds: &[&str]) -> String {
    let kinds = kinds.join(", ");
    let known = if listed { "what is known of them stays in force" } else { "nothing is known of them yet" };
    format!(
        "the API server tells nothing new of {kinds}: {cause}; {known}, and it is tried again; check the API server, \
         the way to it, and the permissions of this service account"
    )
}

impl Record {
    /// What it says now counts. (Otherwise its last good state does, or nothing.)
    pub fn is_readable(&self) -> bool {
        !self.is_unreadable
    }
}

impl Followed {
    fn take(&mut self, news: News<Received>) -> Vec<Change> {
        match news {
            News::Listing => self.listing = true,
            News::Listed(objects, version) => {
                self.resource_version = version;
                (self.listed, self.listing, self.lost) = (true, false, None);
                return self.replace(objects);
            }
            News::Put(object) => {
                self.resource_version.clone_from(&object.resource_version);
                let before = self.records.remove(&object.name);
                return self.put(object, before).into_iter().collect();
            }
            News::Removed(object) => {
                self.resource_version.clone_from(&object.resource_version);
                self.faults.remove(&object.name);
                let gone = self.records.remove(&object.name).filter(|record| record.counts);
                return gone.map(|_| Change::Remove(object.name)).into_iter().collect();
            }
            News::Connected => self.lost = None,
            News::Lost(cause) => (self.listing, self.lost) = (false, Some(cause)),
        }
        Vec::new()
    }

    fn replace(&mut self, objects: Vec<Received>) -> Vec<Change> {
        let mut before = mem::take(&mut self.records);
        self.faults.clear();
        let mut changes = Vec::new();
        for object in objects {
            let old = before.remove(&object.name);
            changes.extend(self.put(object, old));
        }
        // A tree that was filled in order is half empty, one that is made of a whole is full.
        self.records = mem::take(&mut self.records).into_iter().collect();
        let gone = before.into_iter().filter(|(_, record)| record.counts);
        changes.extend(gone.map(|(name, _)| Change::Remove(name)));
        changes
    }

    /// What can't be decoded leaves its last good state, unless that was of another object with the same name.
    fn put(&mut self, received: Received, before: Option<Record>) -> Option<Change> {
        let Received { name, uid, resource_version, object, unknown, status } = received;
        let counted = before.as_ref().is_some_and(|record| record.counts);
        let is_another = before.as_ref().is_some_and(|record| record.uid != uid);
        let (change, counts, fault) = match object {
            Ok(object) => {
                let fault = (!unknown.is_empty()).then_some(Fault::UnknownFields(unknown));
                (Some(Change::Put(object)), true, fault)
            }
            Err(error) => {
                let change = (counted && is_another).then(|| Change::Remove(name.clone()));
                (change, counted && !is_another, Some(Fault::Undecodable(error.to_string())))
            }
        };
        // Our own write's answer may have come before this event of an earlier change.
        let (resource_version, status) = match before {
            Some(record) if !is_another && is_newer(&record.resource_version, &resource_version) => {
                (record.resource_version, record.status)
            }
            _ => (resource_version, status),
        };
        let is_unreadable = matches!(fault, Some(Fault::Undecodable(_)));
        match fault {
            Some(fault) => drop(self.faults.insert(name.clone(), fault)),
            None => drop(self.faults.remove(&name)),
        }
        self.records.insert(name, Record { uid, resource_version, status, counts, is_unreadable });
        change
    }
}

impl Fault {
    fn describe(&self, name: &ObjectRef, counts: bool) -> String {
        match self {
            Self::Undecodable(cause) => {
                let consequence =
                    if counts { "it counts as it last could be read" } else { "it counts as missing" };
                format!(
                    "{name}: can't be read: {cause}; {consequence}; correct it, or upgrade gateway-agent if its CRD \
                     is newer"
                )
            }
            Self::UnknownFields(fields) => format!(
                "{name}: {} not known to this version of gateway-agent, so without effect; upgrade it or remove them",
                fields.join(", ")
            ),
        }
    }
}

/// resourceVersions are numbers that grow, one sequence for all objects (KEP-5504); should that ever be otherwise,
/// none is newer.
fn is_newer(version: &str, than: &str) -> bool {
    match (version.parse::<u64>(), than.parse::<u64>()) {
        (Ok(version), Ok(than)) => version > than,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use gateway_agent_api::{DecodeError, Object};
    use serde_json::json;

    use super::*;

    fn name(route: &str) -> ObjectRef {
        ObjectRef::new(Kind::TcpRoute, "n", route)
    }

    fn received(route: &str, uid: &str, version: u32, object: Result<(), &str>) -> Received {
        let document = json!({
            "metadata": {"namespace": "n", "name": route, "uid": uid, "generation": version},
            "spec": {"rules": []},
        });
        let decoded = Object::decode(Kind::TcpRoute, document, &mut |_| ()).unwrap();
        let wrong = |cause: &str| DecodeError { path: "spec".into(), cause: cause.into() };
        Received {
            name: name(route),
            uid: uid.into(),
            resource_version: version.to_string(),
            object: object.map(|()| decoded).map_err(wrong),
            unknown: Vec::new(),
            status: Some(json!({ "at": version })),
        }
    }

    fn good(route: &str, version: u32) -> Received {
        received(route, "u", version, Ok(()))
    }

    /// `+name` and `-name`.
    fn take(objects: &mut Objects, news: News<Received>) -> Vec<String> {
        let short = |change: Change| match change {
            Change::Put(object) => format!("+{}", object.object_ref().name),
            Change::Remove(name) => format!("-{}", name.name),
        };
        objects.take(Kind::TcpRoute, news).into_iter().map(short).collect()
    }

    fn with(news: impl IntoIterator<Item = News<Received>>) -> Objects {
        let mut objects = Objects::default();
        objects.add(Kind::TcpRoute);
        news.into_iter().for_each(|news| drop(take(&mut objects, news)));
        objects
    }

    #[test]
    fn a_list_replaces_what_was_known() {
        let mut objects = with([News::Listing]);
        assert!(!objects.is_complete() && !objects.is_settled());
        assert_eq!(
            take(&mut objects, News::Listed(vec![good("a", 1), good("b", 2)], "2".into())),
            ["+a", "+b"]
        );
        assert!(objects.is_complete() && objects.is_settled());
        assert_eq!(take(&mut objects, News::Put(good("c", 3))), ["+c"]);
        assert_eq!(take(&mut objects, News::Removed(good("a", 4))), ["-a"]);
        assert_eq!(take(&mut objects, News::Listing), [""; 0]);
        assert!(objects.is_complete() && !objects.is_settled());
        assert_eq!(take(&mut objects, News::Listed(vec![good("c", 5)], "5".into())), ["+c", "-b"]);
        let changes: Vec<_> = objects.drop_kind(Kind::TcpRoute);
        assert_eq!(changes, [Change::Remove(name("c"))]);
    }

    #[test]
    fn an_unreadable_object_counts_as_it_was() {
        let unreadable = |version| received("a", "u", version, Err("no"));
        let mut objects = with([News::Listed(vec![unreadable(1), good("b", 1)], "1".into())]);
        assert!(
            objects.problems()[0].contains("TCPRoute n/a: can't be read: spec: no; it counts as missing")
        );
        assert_eq!(take(&mut objects, News::Put(good("a", 2))), ["+a"]);
        assert_eq!(objects.problems(), [""; 0]);
        assert_eq!(take(&mut objects, News::Put(unreadable(3))), [""; 0]);
        assert!(objects.problems()[0].contains("it counts as it last could be read"));
        assert_eq!(take(&mut objects, News::Listed(vec![unreadable(3)], "4".into())), ["-b"]);
        // Another object of that name has no earlier state.
        let other = received("a", "v", 5, Err("no"));
        assert_eq!(take(&mut objects, News::Put(other)), ["-a"]);
        assert!(objects.problems()[0].contains("it counts as missing"));
        assert_eq!(take(&mut objects, News::Removed(unreadable(6))), [""; 0]);
        assert_eq!(objects.problems(), [""; 0]);
    }

    #[test]
    fn answers_to_writes_are_not_undone_by_earlier_events() {
        let mut objects = with([News::Listed(vec![good("a", 1)], "1".into())]);
        let status = |objects: &Objects| {
            objects.record(&name("a")).and_then(|it| it.status.clone()).unwrap()["at"].clone()
        };
        objects.note_status(&name("a"), "10", Some(json!({ "at": 10 })));
        assert_eq!(status(&objects), 10);
        take(&mut objects, News::Put(good("a", 9)));
        assert_eq!(
            (status(&objects), objects.record(&name("a")).unwrap().resource_version.as_str()),
            (json!(10), "10")
        );
        take(&mut objects, News::Put(good("a", 11)));
        assert_eq!(status(&objects), 11);
        objects.note_status(&name("a"), "10", Some(json!({ "at": 10 })));
        assert_eq!(status(&objects), 11);
        take(&mut objects, News::Put(received("a", "v", 7, Ok(()))));
        assert_eq!(status(&objects), 7);
    }

    #[test]
    fn trouble_is_one_line_until_it_is_over() {
        let mut objects = with([News::Listed(vec![good("a", 1)], "1".into()), News::Lost("no route".into())]);
        objects.add(Kind::Gateway);
        objects.add(Kind::Service);
        for kind in [Kind::Gateway, Kind::Service] {
            objects.take(kind, News::Lost("no route".into()));
        }
        let problems = objects.problems();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].contains("nothing new of Gateway, Service: no route; nothing is known of them yet")
        );
        assert!(
            problems[1].contains("nothing new of TCPRoute: no route; what is known of them stays in force")
        );
        take(&mut objects, News::Connected);
        assert_eq!(objects.problems().len(), 1);
    }
}
