//! The programs and images that every cluster needs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process;

use serde::{Deserialize, Serialize};

use crate::ClusterError;
use crate::go::{self, Kind, Module, Program};
use crate::image::{Image, ImageFile};
use crate::spec::Crds;

/// Kubernetes' own, from tests/go/kube/go.mod. What its programs say they are; without it they claim v0.0.0.
const KUBERNETES: &[&str] = &[
    "k8s.io/component-base/version.gitVersion=v1.35.4",
    "k8s.io/component-base/version.gitMajor=1",
    "k8s.io/component-base/version.gitMinor=35",
];

/// Names by which the one binary is all of Kubernetes.
const KUBE_NAMES: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"];

const KUBE: Module = Module {
    folder: "kube",
    programs: &[
        Program { name: "kube", package: ".", kind: Kind::Main, variables: KUBERNETES },
        Program { name: "etcd", package: "go.etcd.io/etcd/server/v3", kind: Kind::Main, variables: &[] },
        Program { name: "pause", package: "./pause", kind: Kind::Main, variables: &[] },
    ],
};

const COREDNS: Module = Module {
    folder: "coredns",
    programs: &[Program { name: "coredns", package: ".", kind: Kind::Main, variables: &[] }],
};

const PROBE: Module = Module {
    folder: "probe",
    programs: &[Program { name: "probe", package: ".", kind: Kind::Main, variables: &[] }],
};

/// What containerd runs first in each pod.
pub(crate) const PAUSE_IMAGE: &str = "rig.local/pause:1";

/// In dns.yaml too.
const COREDNS_IMAGE: &str = "rig.local/coredns:1";

/// tests/go/probe, for pods of tests.
pub const PROBE_IMAGE: &str = "rig.local/probe:1";

/// Of the Gateway API: its CRDs are in the module's source.
const GATEWAY_API: &str = "sigs.k8s.io/gateway-api@v1.6.3";

/// What a cluster is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Programs {
    kube: PathBuf,
    coredns: PathBuf,
    probe: PathBuf,
    gateway_api: PathBuf,
}

impl Programs {
    /// Builds and fetches whatever is not there yet: minutes the first time, no time later.
    pub fn prepare(go: &Path) -> Result<Self, ClusterError> {
        let programs = Self {
            kube: KUBE.build(go)?,
            coredns: COREDNS.build(go)?,
            probe: PROBE.build(go)?,
            gateway_api: go::download(go, GATEWAY_API)?,
        };
        for name in KUBE_NAMES {
            let link = programs.kube(name);
            if !link.exists()
                && let Err(error) = symlink("kube", &link)
                && !link.exists()
            {
                return Err(ClusterError::system(format!("link {}", link.display()))(error));
            }
        }
        programs.write_images()?;
        Ok(programs)
    }

    /// One of Kubernetes' programs.
    pub fn kube(&self, name: &str) -> PathBuf {
        self.kube.join(name)
    }

    /// `CoreDNS`, which other servers of names are made of too.
    pub fn coredns(&self) -> PathBuf {
        self.coredns.join("coredns")
    }

    pub(crate) fn etcd(&self) -> PathBuf {
        self.kube.join("etcd")
    }

    /// The first process of pods, and of machines.
    pub(crate) fn pause(&self) -> PathBuf {
        self.kube.join("pause")
    }

    /// Archives that every node needs.
    pub(crate) fn images(&self) -> [PathBuf; 3] {
        [self.kube.join("pause.tar"), self.coredns.join("coredns.tar"), self.probe.join("probe.tar")]
    }

    /// The kustomization of a channel.
    pub(crate) fn crds(&self, channel: Crds) -> Option<PathBuf> {
        match channel {
            Crds::Experimental => Some(self.gateway_api.join("config/crd/experimental")),
            Crds::Standard => Some(self.gateway_api.join("config/crd")),
            Crds::None => None,
        }
    }

    fn write_images(&self) -> Result<(), ClusterError> {
        let [pause, coredns, probe] = self.images();
        let image = |name: &str, program: PathBuf, user: &str| {
            let path = Path::new("/").join(program.file_name().unwrap_or_default());
            Image {
                names: vec![name.to_owned()],
                entrypoint: vec![path.display().to_string()],
                user: user.to_owned(),
                files: vec![ImageFile::program(path, program)],
                ..Image::default()
            }
        };
        write_once(&image(PAUSE_IMAGE, self.pause(), "65535:65535"), &pause)?;
        write_once(&image(COREDNS_IMAGE, self.coredns(), ""), &coredns)?;
        write_once(&image(PROBE_IMAGE, self.probe.join("probe"), "65532:65532"), &probe)
    }
}

fn write_once(image: &Image, archive: &Path) -> Result<(), ClusterError> {
    if archive.exists() {
        return Ok(());
    }
    let partial = archive.with_extension(format!("partial-{}", process::id()));
    image.write(&partial)?;
    fs::rename(&partial, archive).map_err(ClusterError::system(format!("rename {}", partial.display())))
}
