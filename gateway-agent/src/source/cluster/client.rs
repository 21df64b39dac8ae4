//! The connection to an API server.

use std::path::Path;
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

/// A peer that vanished without a word is noticed after about a minute, since watches wait for events without sending
/// anything: silence for this long, then probes at the interval below.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// An API server that doesn't accept a connection by then counts as away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("kubeconfig {path}: {cause}; give a file that kubectl can use")]
    Kubeconfig { path: String, cause: Box<kube::config::KubeconfigError> },
    #[error(
        "no kubeconfig given and this is no pod ({0}); give --kubeconfig FILE, or files to follow with -f instead of a cluster"
    )]
    NotInCluster(#[from] Box<kube::config::InClusterError>),
    #[error("the client for the API server can't be set up: {0}")]
    Client(#[from] Box<kube::Error>),
}

/// A client by a kubeconfig's current context, or by what a pod is given. It doesn't connect yet.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let config = match kubeconfig {
        Some(path) => read(path).await.map_err(|cause| ConnectError::Kubeconfig {
            path: path.display().to_string(),
            cause: Box::new(cause),
        })?,
        None => Config::incluster().map_err(Box::new)?,
    };
    client(config).map_err(|cause| ConnectError::Client(Box::new(cause)))
}

async fn read(path: &Path) -> Result<Config, kube::config::KubeconfigError> {
    Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &KubeConfigOptions::default()).await
}

/// What `Client::try_from(config)` makes, with a connector that notices dead peers.
fn client(config: Config) -> kube::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    let https = config.rustls_https_connector_with_connector(tcp)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(https));
    Ok(Client::new(service, config.default_namespace))
}
