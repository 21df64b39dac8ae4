//! Real files, real events: what people and programs do to files, and what counts afterwards.
//!
//! Tests wait for events and never for time; what can only be shown by nothing happening is followed by something
//! that must happen.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::truncate;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{Store, Watcher};

/// Far longer than any event takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with sources, followed as an agent does.
struct Followed {
    folder: TempDir,
    watcher: Watcher,
    store: Store,
}

/// Names of the Namespaces that count, with the value of their label `v`.
type Namespaces = BTreeMap<String, String>;

fn namespaces(expected: &[(&str, &str)]) -> Namespaces {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn namespace(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels: {{v: '{value}'}}\n")
}

impl Followed {
    /// Follows `sources` in a folder that `prepare` fills first.
    fn new(sources: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let sources = sources.iter().map(|source| folder.path().join(source)).collect();
        let mut followed = Self { folder, watcher: Watcher::new(sources).unwrap(), store: Store::default() };
        followed.look();
        followed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// As careful programs do it.
    fn replace(&self, name: &str, text: &str) {
        let new = self.path(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    fn look(&mut self) {
        let found = self.watcher.look().unwrap();
        self.store.update(found);
    }

    fn namespaces(&self) -> Namespaces {
        self.store
            .objects()
            .map(|counted| {
                let metadata = counted.object.metadata();
                let label = metadata.labels.as_ref().and_then(|labels| labels.get("v")).cloned();
                (metadata.name.clone().unwrap(), label.unwrap_or_default())
            })
            .collect()
    }

    /// With the folder's name left out.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        self.store.problems().iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }

    /// Waits for events until these are the objects that count.
    async fn until(&mut self, expected: &[(&str, &str)]) {
        let expected = namespaces(expected);
        self.until_true(|followed| followed.namespaces() == expected).await;
    }

    async fn until_true(&mut self, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                self.watcher.changed().await.unwrap();
                self.look();
            }
        };
        let result = timeout(PATIENCE, wait).await;
        assert!(result.is_ok(), "waited in vain: {:?}, {:?}", self.namespaces(), self.problems());
    }
}

#[tokio::test]
async fn yaml_and_json_files_of_a_folder_count() {
    let mut followed = Followed::new(&["."], |folder| {
        fs::write(folder.join("a.yaml"), format!("{}---\n{}", namespace("a", "1"), namespace("b", "1")))
            .unwrap();
        fs::write(folder.join("c.yml"), namespace("c", "1")).unwrap();
        fs::write(folder.join("notes.txt"), namespace("d", "1")).unwrap();
        fs::write(folder.join(".hidden.yaml"), namespace("e", "1")).unwrap();
        fs::create_dir(folder.join("below.yaml")).unwrap();
        fs::write(folder.join("below.yaml/f.yaml"), namespace("f", "1")).unwrap();
    });
    assert_eq!(followed.namespaces(), namespaces(&[("a", "1"), ("b", "1"), ("c", "1")]));
    followed.write(
        "list.json",
        r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "g", "labels": {"v": "1"}}}]}"#,
    );
    followed.until(&[("a", "1"), ("b", "1"), ("c", "1"), ("g", "1")]).await;
    assert_eq!(followed.problems(), [""; 0]);
}

#[tokio::test]
async fn changes_count_however_they_are_made() {
    let mut followed =
        Followed::new(&["."], |folder| fs::write(folder.join("a.yaml"), namespace("a", "1")).unwrap());
    followed.replace("a.yaml", &namespace("a", "2"));
    followed.until(&[("a", "2")]).await;
    followed.write("a.yaml", &namespace("a", "3"));
    followed.until(&[("a", "3")]).await;
    fs::rename(followed.path("a.yaml"), followed.path("z.yaml")).unwrap();
    followed.write("b.yaml", &namespace("b", "1"));
    followed.until(&[("a", "3"), ("b", "1")]).await;
    fs::hard_link(followed.path("b.yaml"), followed.path("linked.yaml")).unwrap();
    fs::remove_file(followed.path("b.yaml")).unwrap();
    fs::remove_file(followed.path("z.yaml")).unwrap();
    followed.until(&[("b", "1")]).await;
    fs::remove_file(followed.path("linked.yaml")).unwrap();
    followed.until(&[]).await;
    assert_eq!(followed.problems(), [""; 0]);
}

#[tokio::test]
async fn waiting_may_be_interrupted_however_often() {
    /// Shorter than a burst's quiet end.
    const INTERVAL: Duration = Duration::from_millis(1);
    let mut followed = Followed::new(&["."], |_| {});
    // What preparing the folder has told.
    while timeout(PATIENCE / 100, followed.watcher.changed()).await.is_ok() {
        followed.look();
    }
    followed.write("a.yaml", &namespace("a", "1"));
    let begin = Instant::now();
    while timeout(INTERVAL, followed.watcher.changed()).await.is_err() {
        assert!(begin.elapsed() < PATIENCE, "each interruption begins the wait anew");
    }
}

#[tokio::test]
async fn a_file_is_not_read_before_its_writer_closes_it() {
    let both = |value| format!("{}---\n{}", namespace("a", value), namespace("b", value));
    let mut followed = Followed::new(&["."], |folder| fs::write(folder.join("a.yaml"), both("1")).unwrap());
    assert_eq!(followed.namespaces(), namespaces(&[("a", "1"), ("b", "1")]));

    // Half of it is valid YAML, without b. What happens to another file makes the agent look.
    let text = both("2");
    let (first, rest) = text.split_at(text.find("---").unwrap());
    let mut writer = File::create(followed.path("a.yaml")).unwrap();
    writer.write_all(first.as_bytes()).unwrap();
    followed.write("c.yaml", &namespace("c", "1"));
    followed.until(&[("a", "1"), ("b", "1"), ("c", "1")]).await;
    assert_eq!(
        followed.watcher.open_longer_than(Duration::ZERO),
        [followed.path("a.yaml").canonicalize().unwrap()]
    );

    writer.write_all(rest.as_bytes()).unwrap();
    drop(writer);
    followed.until(&[("a", "2"), ("b", "2"), ("c", "1")]).await;

    let mut writer = File::create(followed.path("new.yaml")).unwrap();
    writer.write_all(namespace("d", "1").as_bytes()).unwrap();
    followed.write("c.yaml", &namespace("c", "2"));
    followed.until(&[("a", "2"), ("b", "2"), ("c", "2")]).await;
    drop(writer);
    followed.until(&[("a", "2"), ("b", "2"), ("c", "2"), ("d", "1")]).await;
    assert_eq!(followed.watcher.open_longer_than(Duration::ZERO), [""; 0].map(PathBuf::from));
}

#[tokio::test]
async fn a_file_that_nobody_closes_counts_after_a_pause() {
    let text = format!("{}---\n{}", namespace("a", "1"), namespace("b", "1"));
    let mut followed = Followed::new(&["."], |folder| fs::write(folder.join("a.yaml"), &text).unwrap());
    followed.watcher.writer_pause = Duration::from_millis(200);

    // By path: nobody opens it, so nobody closes it.
    truncate(&followed.path("a.yaml"), text.find("---").unwrap().try_into().unwrap()).unwrap();
    followed.until(&[("a", "1")]).await;
    assert_eq!(followed.watcher.open_longer_than(Duration::ZERO), [""; 0].map(PathBuf::from));

    let mut writer = File::create(followed.path("c.yaml")).unwrap();
    writer.write_all(namespace("c", "1").as_bytes()).unwrap();
    followed.until(&[("a", "1"), ("c", "1")]).await;
    // What it writes later counts as well.
    writer.write_all(format!("---\n{}", namespace("d", "1")).as_bytes()).unwrap();
    followed.until(&[("a", "1"), ("c", "1"), ("d", "1")]).await;
}

#[tokio::test]
async fn what_does_not_parse_changes_nothing_but_is_reported() {
    let mut followed = Followed::new(&["."], |folder| {
        fs::write(folder.join("a.yaml"), namespace("a", "1")).unwrap();
    });
    followed.write("a.yaml", "apiVersion: v1\nkind: [Namespace\n");
    followed.until_true(|followed| !followed.problems().is_empty()).await;
    assert_eq!(followed.namespaces(), namespaces(&[("a", "1")]));
    let [problem] = &followed.problems()[..] else { panic!("{:?}", followed.problems()) };
    assert!(problem.starts_with("./a.yaml:") && problem.contains("correct it"), "{problem}");

    followed.write("b.yaml", &namespace("b", "1"));
    followed.until(&[("a", "1"), ("b", "1")]).await;
    followed.write("a.yaml", &namespace("a", "2"));
    followed.until(&[("a", "2"), ("b", "1")]).await;
    assert_eq!(followed.problems(), [""; 0]);
}

#[tokio::test]
async fn what_admission_refuses_counts_as_never_written() {
    let mut followed = Followed::new(&["."], |folder| {
        fs::write(folder.join("a.yaml"), namespace("a", "1")).unwrap();
    });
    let refused = namespace("a", "2").replace("labels: {v: '2'}", "labels: [v]");
    followed.write("a.yaml", &format!("{refused}---\n{}", namespace("b", "1")));
    followed.until(&[("a", "1"), ("b", "1")]).await;
    let [problem] = &followed.problems()[..] else { panic!("{:?}", followed.problems()) };
    assert!(problem.starts_with("./a.yaml:1: Namespace a: metadata.labels"), "{problem}");
    followed.write("a.yaml", &namespace("b", "1"));
    followed.until(&[("b", "1")]).await;
    assert_eq!(followed.problems(), [""; 0]);
}

#[tokio::test]
async fn the_first_of_two_files_counts() {
    let mut followed = Followed::new(&["."], |folder| {
        fs::write(folder.join("1.yaml"), namespace("a", "first")).unwrap();
        fs::write(folder.join("2.yaml"), namespace("a", "second")).unwrap();
    });
    assert_eq!(followed.namespaces(), namespaces(&[("a", "first")]));
    assert_eq!(
        followed.problems(),
        ["./2.yaml:1: Namespace a: it is in ./1.yaml:1 too, which counts since it comes first; \
          delete it here or in ./1.yaml"]
    );
    fs::remove_file(followed.path("1.yaml")).unwrap();
    followed.until(&[("a", "second")]).await;
    assert_eq!(followed.problems(), [""; 0]);
}

/// What the kubelet makes of a ConfigMap, and how it changes it (`atomic_writer.go`).
fn mount(folder: &Path, version: &str, value: &str) {
    fs::create_dir(folder.join(version)).unwrap();
    fs::write(folder.join(version).join("a.yaml"), namespace("a", value)).unwrap();
    symlink(version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn config_map_mounts_are_followed() {
    for source in [".", "a.yaml"] {
        let mut followed = Followed::new(&[source], |folder| {
            mount(folder, "..2026_1", "1");
            symlink("..data/a.yaml", folder.join("a.yaml")).unwrap();
        });
        assert_eq!(followed.namespaces(), namespaces(&[("a", "1")]), "{source}");
        mount(followed.folder.path(), "..2026_2", "2");
        fs::remove_dir_all(followed.path("..2026_1")).unwrap();
        followed.until(&[("a", "2")]).await;
        mount(followed.folder.path(), "..2026_3", "3");
        fs::remove_dir_all(followed.path("..2026_2")).unwrap();
        followed.until(&[("a", "3")]).await;
        assert_eq!(followed.problems(), [""; 0]);
    }
}

#[tokio::test]
async fn targets_of_links_are_followed() {
    let mut followed = Followed::new(&["linked", "a.yaml"], |folder| {
        for version in ["v1", "v2", "elsewhere"] {
            fs::create_dir(folder.join(version)).unwrap();
        }
        fs::write(folder.join("v1/b.yaml"), namespace("b", "1")).unwrap();
        fs::write(folder.join("v2/b.yaml"), namespace("b", "2")).unwrap();
        symlink("v1", folder.join("linked")).unwrap();
        fs::write(folder.join("elsewhere/x"), namespace("a", "1")).unwrap();
        symlink("elsewhere/x", folder.join("a.yaml")).unwrap();
    });
    assert_eq!(followed.namespaces(), namespaces(&[("a", "1"), ("b", "1")]));
    followed.write("elsewhere/x", &namespace("a", "2"));
    followed.until(&[("a", "2"), ("b", "1")]).await;
    symlink("v2", followed.path("linked.new")).unwrap();
    fs::rename(followed.path("linked.new"), followed.path("linked")).unwrap();
    followed.until(&[("a", "2"), ("b", "2")]).await;
    followed.write("v2/b.yaml", &namespace("b", "3"));
    followed.until(&[("a", "2"), ("b", "3")]).await;
}

#[tokio::test]
async fn a_source_may_come_and_go() {
    let mut followed = Followed::new(&["deep/down"], |_| {});
    let missing = ["deep/down: no such file or directory; create it, or correct the path after -f"];
    assert_eq!(followed.problems(), missing);
    fs::create_dir_all(followed.path("deep/down")).unwrap();
    followed.write("deep/down/a.yaml", &namespace("a", "1"));
    followed.until(&[("a", "1")]).await;
    assert_eq!(followed.problems(), [""; 0]);
    fs::remove_dir_all(followed.path("deep")).unwrap();
    followed.until(&[]).await;
    assert_eq!(followed.problems(), missing);
    fs::create_dir_all(followed.path("deep/down")).unwrap();
    followed.write("deep/down/a.yaml", &namespace("a", "2"));
    followed.until(&[("a", "2")]).await;
}

#[tokio::test]
async fn a_huge_file_is_refused_unread() {
    let mut followed = Followed::new(&["."], |folder| {
        fs::write(folder.join("a.yaml"), namespace("a", "1")).unwrap();
    });
    // 50 MiB without a block on disk.
    File::create(followed.path("a.yaml")).unwrap().set_len(50 << 20).unwrap();
    followed.until_true(|followed| !followed.problems().is_empty()).await;
    assert_eq!(
        followed.problems(),
        ["./a.yaml: has 50.0 MiB; a file may have 8 MiB; split it into several files \
          (a running agent keeps what it said last)"]
    );
    assert_eq!(followed.namespaces(), namespaces(&[("a", "1")]));
}
