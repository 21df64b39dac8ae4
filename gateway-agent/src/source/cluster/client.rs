//! The connection to an API server.

use std::path::Path;
use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

/// A peer that vanished without a word is noticed after about a minute, since watches wait for events without sending
/// anything: silence for this long, then probes at the interval below.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// The same within HTTP/2, which a proxy on the way may end.
const PING_TIMEOUT: Duration = Duration::from_secs(30);

/// HTTP/2 gives each answer, and all of them together, so much room for bytes that were not read yet: enough for a
/// megabyte in a millisecond, and what the lists of all kinds may take of our memory at once.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

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

/// What `Client::try_from(config)` makes, with a connector that notices dead peers, and one HTTP/2 connection for all
/// watches and writes where the server speaks it: each further one costs memory on both sides, and 1,000 nodes would
/// hold 20,000 of them.
fn client(config: Config) -> kube::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    let mut http = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
    http.timer(TokioTimer::new());
    http.http2_keep_alive_interval(KEEPALIVE).http2_keep_alive_timeout(PING_TIMEOUT);
    http.http2_initial_stream_window_size(STREAM_WINDOW);
    http.http2_initial_connection_window_size(CONNECTION_WINDOW);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http.build(connector(&config, tcp)?));
    Ok(Client::new(service, config.default_namespace))
}

/// As kube's own, which offers HTTP/1.1 alone.
fn connector(config: &Config, tcp: HttpConnector) -> kube::Result<HttpsConnector<HttpConnector>> {
    let tls = config.rustls_client_config()?;
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into().map_err(|cause| kube::Error::Service(Box::new(cause)))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_all_versions().wrap_connector(tcp))
}
