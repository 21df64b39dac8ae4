//! Keys and certificates of a cluster, and the kubeconfigs that name them.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::ClusterError;
use crate::spec::{API_SERVICE, NodeSpec, Spec};

/// Members may do everything: RBAC's bootstrap binds it to cluster-admin.
const ADMINISTRATORS: &str = "system:masters";

/// The folder with a cluster's keys.
#[derive(Clone, Debug)]
pub(crate) struct Pki {
    folder: PathBuf,
    server: String,
}

/// Who a certificate is for: a user of Kubernetes, or a server, or both.
struct Subject<'a> {
    file: &'a str,
    user: &'a str,
    group: Option<&'a str>,
    names: Vec<SanType>,
}

impl Pki {
    pub(crate) fn at(folder: &Path, spec: &Spec) -> Self {
        Self { folder: folder.to_owned(), server: format!("https://{}:6443", spec.control().v4) }
    }

    /// Makes everything anew.
    pub(crate) fn create(&self, spec: &Spec) -> Result<(), ClusterError> {
        let authority = self.authority().map_err(failed)?;
        self.service_account_key().map_err(failed)?;
        let user = |file, user| Subject { file, user, group: None, names: Vec::new() };
        let administrator =
            |file, user| Subject { file, user, group: Some(ADMINISTRATORS), names: Vec::new() };
        let mut subjects = vec![
            Subject { names: server_names(spec), ..user("apiserver", "kube-apiserver") },
            administrator("apiserver-kubelet", "kube-apiserver-kubelet"),
            user("front-proxy", "front-proxy"),
            administrator("admin", "admin"),
            user("controllers", "system:kube-controller-manager"),
            user("scheduler", "system:kube-scheduler"),
            user("kube-proxy", "system:kube-proxy"),
        ];
        let nodes: Vec<NodeSpec> = spec.nodes().collect();
        let users: Vec<String> = nodes.iter().map(|node| format!("system:node:{}", node.name)).collect();
        for (node, user) in nodes.iter().zip(&users) {
            // The kubelet serves with it too.
            let names = addresses(node.address.all());
            subjects.push(Subject { file: &node.name, user, group: Some("system:nodes"), names });
        }
        for subject in &subjects {
            self.issue(&authority, subject).map_err(failed)?;
            self.kubeconfig_of(subject.file).map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.crt"))
    }

    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.key"))
    }

    pub(crate) fn kubeconfig(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.kubeconfig"))
    }

    fn authority(&self) -> Result<Issuer<'static, KeyPair>, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "cluster");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        self.write("ca", &params.self_signed(&key)?.pem(), &key)?;
        Ok(Issuer::new(params, key))
    }

    /// Signs service accounts' tokens; the API server checks them by the public half.
    fn service_account_key(&self) -> Result<(), Failure> {
        let key = KeyPair::generate()?;
        self.write("service-accounts", &key.public_key_pem(), &key)
    }

    fn issue(&self, authority: &Issuer<'_, KeyPair>, subject: &Subject<'_>) -> Result<(), Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, subject.user);
        if let Some(group) = subject.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.subject_alt_names.clone_from(&subject.names);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        self.write(subject.file, &params.signed_by(&key, authority)?.pem(), &key)
    }

    fn kubeconfig_of(&self, name: &str) -> Result<(), Failure> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "cluster", "cluster": {
                "server": self.server, "certificate-authority": self.certificate("ca") } }],
            "users": [{ "name": name, "user": {
                "client-certificate": self.certificate(name), "client-key": self.key(name) } }],
            "contexts": [{ "name": "cluster", "context": { "cluster": "cluster", "user": name } }],
            "current-context": "cluster",
        });
        Ok(fs::write(self.kubeconfig(name), config.to_string())?)
    }

    fn write(&self, name: &str, public: &str, key: &KeyPair) -> Result<(), Failure> {
        fs::create_dir_all(&self.folder)?;
        fs::write(self.certificate(name), public)?;
        Ok(fs::write(self.key(name), key.serialize_pem())?)
    }
}

/// What clients in pods, on nodes and outside call the API server.
fn server_names(spec: &Spec) -> Vec<SanType> {
    let service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned);
    let whole = "kubernetes.default.svc.cluster.local".to_owned();
    let dns = service.into_iter().chain([whole, "localhost".to_owned()]);
    let dns = dns.filter_map(|name| Some(SanType::DnsName(name.try_into().ok()?)));
    dns.chain(addresses(spec.control().all().chain(API_SERVICE))).collect()
}

fn addresses(addresses: impl Iterator<Item = IpAddr>) -> Vec<SanType> {
    addresses.map(SanType::IpAddress).collect()
}

type Failure = Box<dyn std::error::Error>;

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: Failure) -> ClusterError {
    ClusterError::Invalid(format!("making the cluster's certificates: {error}"))
}
