//! The images that the suite's manifests ask for, under exactly the names that they use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use cluster::image::{Content, Image, ImageFile};

use crate::ConformanceError;

/// Static programs that become images.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) echo_basic: PathBuf,
    /// The folder of `server` and `client`.
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
        let archive = folder.join(format!("{kind:?}.tar"));
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

    /// Users are those of the published images.
    fn image(self, parts: &Parts) -> Result<Image, ConformanceError> {
        Ok(match self {
            Self::EchoBasic => Image {
                entrypoint: vec!["/echo-basic".into()],
                user: "65532:65532".into(),
                files: vec![ImageFile::program("/echo-basic", &parts.echo_basic)],
                ..Image::default()
            },
            Self::Coredns => Image {
                entrypoint: vec!["/coredns".into()],
                files: vec![ImageFile::program("/coredns", &parts.coredns)],
                ..Image::default()
            },
            Self::EchoAdvanced => Image {
                entrypoint: vec!["/usr/local/bin/server".into()],
                user: "1338".into(),
                files: [echo_advanced(parts), certificate()?].concat(),
                ..Image::default()
            },
        })
    }
}

/// Mesh tests call `client` by name.
fn echo_advanced(parts: &Parts) -> Vec<ImageFile> {
    let program =
        |name| ImageFile::program(Path::new("/usr/local/bin").join(name), parts.echo_advanced.join(name));
    vec![program("server"), program("client")]
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
