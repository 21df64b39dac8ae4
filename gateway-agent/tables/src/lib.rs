//! What the data planes consume: tables that `routing` compiles and `kernel` applies.
//!
//! They are plain values that are the same on every node, but for the frontends' addresses, so that they can be
//! compared, printed and tested without a kernel.

mod delta;
mod host;
pub mod http;
mod l4;
pub mod persistent;
mod steered;
mod tls;

pub use delta::{Delta, HttpDelta, L4Delta, TlsDelta};
pub use host::{HostPattern, InvalidHostPattern};
pub use l4::{
    Backend, Endpoint, EndpointSet, Family, Frontend, FrontendKey, L4Tables, ListenerName, ObjectName,
    Protocol, Refusal, RouteKind, RouteName, ServicePort, Split, SplitError, Target,
};
pub use steered::{Application, Steered};
pub use tls::{
    BackendTls, Certificate, ClientValidation, Der, KeyForm, PrivateKey, Roots, SniRoutes, SubjectName,
    Termination, TlsFrontend, TlsListener, TlsService, TlsTables,
};

/// The tables of all data planes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// TCP and UDP forwarding in the kernel.
    pub l4: L4Tables,
    /// TLS: passed through by the kernel, or ended by the proxy.
    pub tls: TlsTables,
    /// HTTP and gRPC forwarding in the proxy.
    pub http: http::HttpTables,
}
