//! The images that the suite's manifests ask for, under exactly the names that they use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use cluster::image::{Content, Image, ImageFile};

use crate::ConformanceError;

/// Folders with the static programs that become images, each named by a digest of what it was built from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) echo_basic: PathBuf,
    pub(crate) echo_advanced: PathBuf,
    pub(crate) coredns: PathBuf,
}

/// Told apart by the last part of an image's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    EchoBasic,
    EchoAdvanced,
    Coredns,
}

/// Writes an archive per program to `folder` and returns them. An error for a name that none of them can serve.
pub(crate) fn write(
    names: &[String],
    parts: &Parts,
    folder: &Path,
) -> Result<Vec<PathBuf>, ConformanceError> {
    let mut kinds: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
    for name in names {
        let kind = Kind::of(name).ok_or_else(|| ConformanceError::NoSuchImage(name.clone()))?;
        kinds.entry(kind).or_default().push(name.clone());
    }
    let archives = kinds.into_iter().map(|(kind, names)| {
        let source = kind.source(parts).file_name().unwrap_or_default();
        let archive = folder.join(source).with_added_extension("tar");
        if !archive.exists() {
            let partial = archive.with_extension(format!("partial-{}", process::id()));
            Image { names, ..kind.image(parts)? }.write(&partial)?;
            let renamed = fs::rename(&partial, &archive);
            renamed.map_err(ConformanceError::system(format!("rename {}", partial.display())))?;
        }
        Ok(archive)
    });
    archives.collect()
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        let repository = name.rsplit('/').next()?.split(':').next()?;
        match repository {
            "echo-basic" => Some(Self::EchoBasic),
            "echo-advanced" => Some(Self::EchoAdvanced),
            "coredns" => Some(Self::Coredns),
            _ => None,
        }
    }

    fn source(self, parts: &Parts) -> &Path {
        match self {
            Self::EchoBasic => &parts.echo_basic,
            Self::EchoAdvanced => &parts.echo_advanced,
            Self::Coredns => &parts.coredns,
        }
    }

    /// Users are those of the published images.
    fn image(self, parts: &Parts) -> Result<Image, ConformanceError> {
        let source = self.source(parts);
        let program =
            |folder: &str, name: &str| ImageFile::program(Path::new(folder).join(name), source.join(name));
        Ok(match self {
            Self::EchoBasic => Image {
                entrypoint: vec!["/echo-basic".into()],
                user: "65532:65532".into(),
                files: vec![program("/", "echo-basic")],
                ..Image::default()
            },
            Self::Coredns => Image {
                entrypoint: vec!["/coredns".into()],
                files: vec![program("/", "coredns")],
                ..Image::default()
            },
            Self::EchoAdvanced => Image {
                entrypoint: vec!["/usr/local/bin/server".into()],
                user: "1338".into(),
                // Mesh tests call `client` by name.
                files: [
                    vec![program("/usr/local/bin", "server"), program("/usr/local/bin", "client")],
                    certificate()?,
                ]
                .concat(),
                ..Image::default()
            },
        })
    }
}

/// The manifests name its files; nobody looks at what it says.
fn certificate() -> Result<Vec<ImageFile>, ConformanceError> {
    let pair = rcgen::generate_simple_self_signed(["echo".to_owned()]);
    let pair = pair.map_err(|error| ConformanceError::Certificate(error.to_string()))?;
    let file = |path: &str, pem: String| ImageFile {
        path: path.into(),
        // Readable for the image's user.
        mode: 0o644,
        content: Content::Bytes(pem.into_bytes()),
    };
    Ok(vec![file("/cert.crt", pair.cert.pem()), file("/cert.key", pair.signing_key.serialize_pem())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_by_their_last_part() {
        for (name, expected) in [
            ("registry.example/gateway-api/echo-basic:v1.6.0-dev.2", Some(Kind::EchoBasic)),
            ("registry.example:5000/coredns/coredns:v1.12.2", Some(Kind::Coredns)),
            ("echo-advanced", Some(Kind::EchoAdvanced)),
            ("registry.example/gateway-api/echo-huge:v1", None),
        ] {
            assert_eq!(Kind::of(name), expected, "{name}");
        }
    }
}
