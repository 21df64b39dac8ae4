//! Container images without a container engine: one layer and no base, written as an archive of an OCI image layout
//! (OCI image specification 1.1). The same input makes the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::ClusterError;
use crate::digest::sha256;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Under this annotation containerd looks for the name that an imported manifest gets.
const NAME: &str = "io.containerd.image.name";

/// Some programs look their user up; 65532 is what images without root use by convention.
const PASSWD: &str = "root:x:0:0:root:/:/none\nnonroot:x:65532:65532:nonroot:/:/none\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

/// What becomes of some static programs.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Complete references, such as `rig.local/pause:1`. With a fixed tag the kubelet never asks a registry.
    pub names: Vec<String>,
    pub entrypoint: Vec<String>,
    /// `UID[:GID]`; empty means root.
    pub user: String,
    /// Such as those of the OCI image specification's annotations.
    pub labels: BTreeMap<String, String>,
    pub files: Vec<ImageFile>,
}

#[derive(Clone, Debug)]
pub struct ImageFile {
    /// Where it is in the image.
    pub path: PathBuf,
    pub mode: u32,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub enum Content {
    /// A file of this machine.
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl ImageFile {
    /// An executable of this machine at `path`.
    pub fn program(path: impl Into<PathBuf>, source: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), mode: 0o755, content: Content::File(source.into()) }
    }
}

impl Image {
    /// Writes the archive. Errors name the file that can't be read or written.
    pub fn write(&self, archive: &Path) -> Result<(), ClusterError> {
        let layer = self.layer()?;
        let compressed = compress(&layer).map_err(ClusterError::system("compress a layer"))?;
        let config = self.config(&layer).to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, &compressed)],
        });
        let manifest = manifest.to_string().into_bytes();
        let index =
            json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": self.references(&manifest) });
        let files = [
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), index.to_string().into_bytes()),
            (blob(&manifest), manifest),
            (blob(&config), config),
            (blob(&compressed), compressed),
        ];
        write_archive(archive, &files).map_err(ClusterError::system(format!("write {}", archive.display())))
    }

    fn layer(&self) -> Result<Vec<u8>, ClusterError> {
        let mut layer = Layer { archive: Builder::new(Vec::new()), folders: BTreeSet::new() };
        layer.folder(Path::new("tmp"), 0o1777);
        layer.file(Path::new("etc/passwd"), 0o644, PASSWD.as_bytes());
        layer.file(Path::new("etc/group"), 0o644, GROUP.as_bytes());
        for file in &self.files {
            let path = file.path.strip_prefix("/").unwrap_or(&file.path);
            match &file.content {
                Content::Bytes(bytes) => layer.file(path, file.mode, bytes),
                Content::File(source) => {
                    let bytes = fs::read(source)
                        .map_err(ClusterError::system(format!("read {}", source.display())))?;
                    layer.file(path, file.mode, &bytes);
                }
            }
        }
        layer.archive.into_inner().map_err(ClusterError::system("write a layer"))
    }

    fn config(&self, layer: &[u8]) -> Value {
        json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "User": self.user,
                "Entrypoint": self.entrypoint,
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/"],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            // Of what is in the blob.
            "rootfs": { "type": "layers", "diff_ids": [digest(layer)] },
        })
    }

    fn references(&self, manifest: &[u8]) -> Vec<Value> {
        let named = |name: &String| {
            let mut reference = descriptor(MANIFEST, manifest);
            reference["platform"] = json!({ "architecture": architecture(), "os": "linux" });
            reference["annotations"] = json!({ NAME: name });
            reference
        };
        self.names.iter().map(named).collect()
    }
}

/// The tar of a layer, with every parent folder before what is in it.
struct Layer {
    archive: Builder<Vec<u8>>,
    folders: BTreeSet<PathBuf>,
}

impl Layer {
    fn folder(&mut self, path: &Path, mode: u32) {
        if path.as_os_str().is_empty() || !self.folders.insert(path.to_owned()) {
            return;
        }
        self.parent(path);
        append(&mut self.archive, path, EntryType::Directory, mode, &[]).expect("memory takes every write");
    }

    fn file(&mut self, path: &Path, mode: u32, bytes: &[u8]) {
        self.parent(path);
        append(&mut self.archive, path, EntryType::Regular, mode, bytes).expect("memory takes every write");
    }

    fn parent(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            self.folder(parent, 0o755);
        }
    }
}

/// Without a time or a name in it.
fn compress(layer: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressed = GzBuilder::new().write(Vec::new(), Compression::default());
    compressed.write_all(layer)?;
    compressed.finish()
}

fn write_archive(path: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let mut archive = Builder::new(File::create(path)?);
    for (name, bytes) in files {
        append(&mut archive, Path::new(name), EntryType::Regular, 0o644, bytes)?;
    }
    archive.into_inner()?.flush()
}

/// Owned by root, at the epoch: nothing of this machine gets in.
fn append(
    archive: &mut Builder<impl Write>,
    path: &Path,
    kind: EntryType,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    archive.append_data(&mut header, path, bytes)
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/{}", digest(bytes).replace(':', "/"))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256([bytes]))
}

/// This machine's, as Go and the OCI specification name it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, UNIX_EPOCH};

    fn entries(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(bytes);
        let read = |mut entry: tar::Entry<'_, &[u8]>| {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("an entry has its bytes");
            let path = entry.path().expect("a path").display().to_string();
            (path, entry.header().mode().expect("a mode"), content)
        };
        archive.entries().expect("a tar").map(|entry| read(entry.expect("an entry"))).collect()
    }

    #[test]
    fn an_image_holds_its_files_under_all_its_names() {
        let image = Image {
            names: vec!["rig.local/a:1".into(), "rig.local/b:2".into()],
            entrypoint: vec!["/usr/local/bin/hello".into()],
            user: "65532:65532".into(),
            labels: BTreeMap::from([("version".into(), "1".into())]),
            files: vec![ImageFile {
                path: "/usr/local/bin/hello".into(),
                mode: 0o755,
                content: Content::Bytes(b"hello".to_vec()),
            }],
        };
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str| {
            let path = folder.path().join(name);
            image.write(&path).expect("the image is written");
            fs::read(path).expect("the image is there")
        };
        let archive = write("one.tar");
        assert_eq!(archive, write("two.tar"), "the same input makes the same bytes");

        let files = entries(&archive);
        let content = |path: &str| &files.iter().find(|file| file.0 == path).expect(path).2;
        let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().expect("a digest").replace(':', "/");
            content(&format!("blobs/{digest}"))
        };
        let index = parse(content("index.json"));
        let names: Vec<_> = [0, 1].map(|n| index["manifests"][n]["annotations"][NAME].clone()).into();
        assert_eq!(names, ["rig.local/a:1", "rig.local/b:2"]);
        let manifest = parse(blob(&index["manifests"][1]));
        let config = parse(blob(&manifest["config"]));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Labels"]["version"], "1");
        let mut layer = Vec::new();
        let mut compressed = flate2::read::GzDecoder::new(&blob(&manifest["layers"][0])[..]);
        compressed.read_to_end(&mut layer).expect("a compressed layer");
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
        let layer = entries(&layer);
        let listed: Vec<_> = layer.iter().map(|(path, mode, _)| (path.as_str(), *mode)).collect();
        assert_eq!(
            listed,
            [
                ("tmp", 0o1777),
                ("etc", 0o755),
                ("etc/passwd", 0o644),
                ("etc/group", 0o644),
                ("usr", 0o755),
                ("usr/local", 0o755),
                ("usr/local/bin", 0o755),
                ("usr/local/bin/hello", 0o755),
            ]
        );
    }

    #[test]
    fn an_image_has_no_trace_of_where_its_files_were() {
        let folder = tempfile::tempdir().expect("a folder");
        let pack = |place: &str, seconds: u64, mode: u32| {
            let place = folder.path().join(place);
            fs::create_dir_all(&place).expect("a folder");
            let program = place.join("hello");
            fs::write(&program, b"hello").expect("a program");
            let file = File::options().write(true).open(&program).expect("it is there");
            file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).expect("a time");
            file.set_permissions(Permissions::from_mode(mode)).expect("a mode");
            let image = Image {
                names: vec!["rig.local/a:1".into()],
                files: vec![ImageFile::program("/usr/bin/hello", &program)],
                ..Image::default()
            };
            let archive = place.join("image.tar");
            image.write(&archive).expect("the image is written");
            digest(&fs::read(archive).expect("the image is there"))
        };
        let once = pack("here", 1, 0o700);
        assert_eq!(once, pack("somewhere/else", 1_000_000_000, 0o755));
    }
}
