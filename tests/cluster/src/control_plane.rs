//! etcd, the API server, its controllers and the scheduler, on a machine of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ClusterError;
use crate::kubectl::Kubectl;
use crate::machine::Machine;
use crate::state::Plan;

/// The API server takes 3 s on an idle machine; on a busy one ten times as much.
const READY: Duration = Duration::from_secs(90);

#[derive(Debug)]
pub(crate) struct ControlPlane<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) plan: &'a Plan,
    /// etcd's folder.
    pub(crate) data: PathBuf,
}

impl ControlPlane<'_> {
    /// Starts etcd and the API server.
    pub(crate) fn start_server(&self) -> Result<(), ClusterError> {
        self.start("etcd", &self.plan.programs.etcd(), &self.etcd())?;
        self.start_api_server()
    }

    /// etcd must be there.
    pub(crate) fn start_api_server(&self) -> Result<(), ClusterError> {
        self.start("kube-apiserver", &self.plan.programs.kube("kube-apiserver"), &self.apiserver())
    }

    /// Waits for the API server, then starts what needs it.
    pub(crate) fn start_controllers(&self, kubectl: &Kubectl) -> Result<(), ClusterError> {
        // Started before RBAC's bootstrap is done, both are told "forbidden", and end for good.
        lab::wait_until("readiness of the API server", READY, || {
            kubectl.run(&["get", "--raw", "/readyz"]).is_ok()
        })?;
        self.start(
            "kube-controller-manager",
            &self.plan.programs.kube("kube-controller-manager"),
            &self.controllers(),
        )?;
        self.start("kube-scheduler", &self.plan.programs.kube("kube-scheduler"), &self.scheduler())
    }

    fn start(&self, name: &str, program: &Path, flags: &[String]) -> Result<(), ClusterError> {
        let words: Vec<String> =
            [program.display().to_string()].into_iter().chain(flags.to_owned()).collect();
        self.machine.start_daemon(&words, &self.plan.logs().join(format!("{name}.log")))
    }

    fn etcd(&self) -> Vec<String> {
        let client = "http://127.0.0.1:2379";
        vec![
            format!("--data-dir={}", self.data.display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            "--listen-peer-urls=http://127.0.0.1:2380".into(),
            // Nothing here is to outlive a crash of the machine.
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ]
    }

    fn apiserver(&self) -> Vec<String> {
        let pki = self.plan.pki();
        let file = |flag: &str, path: PathBuf| format!("--{flag}={}", path.display());
        let mut flags = vec![
            "--etcd-servers=http://127.0.0.1:2379".into(),
            format!("--advertise-address={}", self.plan.spec.control().v4),
            "--secure-port=6443".into(),
            file("tls-cert-file", pki.certificate("apiserver")),
            file("tls-private-key-file", pki.key("apiserver")),
            file("client-ca-file", pki.certificate("ca")),
            file("kubelet-client-certificate", pki.certificate("apiserver-kubelet")),
            file("kubelet-client-key", pki.key("apiserver-kubelet")),
            file("kubelet-certificate-authority", pki.certificate("ca")),
            "--kubelet-preferred-address-types=InternalIP".into(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
            file("service-account-key-file", pki.certificate("service-accounts")),
            file("service-account-signing-key-file", pki.key("service-accounts")),
            format!("--service-cluster-ip-range={}", self.plan.spec.service_ranges()),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--allow-privileged=true".into(),
            // For servers that extend the API, by which requests reach them.
            file("requestheader-client-ca-file", pki.certificate("ca")),
            "--requestheader-allowed-names=front-proxy".into(),
            "--requestheader-username-headers=X-Remote-User".into(),
            "--requestheader-group-headers=X-Remote-Group".into(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
            file("proxy-client-cert-file", pki.certificate("front-proxy")),
            file("proxy-client-key-file", pki.key("front-proxy")),
        ];
        flags.extend(self.plan.spec.api_server.iter().cloned());
        flags
    }

    fn controllers(&self) -> Vec<String> {
        let mut flags = self.client("controllers");
        flags.extend([
            format!(
                "--service-account-private-key-file={}",
                self.plan.pki().key("service-accounts").display()
            ),
            format!("--root-ca-file={}", self.plan.pki().certificate("ca").display()),
            "--use-service-account-credentials=true".into(),
            // Each node's object comes with its own: known addresses, known routes.
            "--allocate-node-cidrs=false".into(),
        ]);
        flags
    }

    fn scheduler(&self) -> Vec<String> {
        self.client("scheduler")
    }

    /// What both need to know to ask the API server, and to be asked.
    fn client(&self, name: &str) -> Vec<String> {
        let kubeconfig = self.plan.pki().kubeconfig(name);
        let flags = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"];
        let flags = flags.map(|flag| format!("--{flag}={}", kubeconfig.display()));
        // There is one of each.
        flags.into_iter().chain(["--bind-address=127.0.0.1".into(), "--leader-elect=false".into()]).collect()
    }
}
