//! gRPC's own tests of implementations against each other, between its client and its server in Go
//! (grpc/doc/interop-test-descriptions.md): nothing that they see may differ for the proxy between them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cluster::go::{self, Kind, Module, Program};
use gateway_agent_tables::http::BackendProtocol;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{spawn_blocking, yield_now};

use crate::http2::speaking;
use crate::rig::{Proxy, run_within};

const GRPC: Module = Module {
    folder: "grpc",
    programs: &[
        program("client", "google.golang.org/grpc/interop/client"),
        program("server", "google.golang.org/grpc/interop/server"),
    ],
};

const fn program(name: &'static str, package: &'static str) -> Program {
    Program { name, package, kind: Kind::Main, variables: &[] }
}

/// Those that need neither TLS nor credentials nor a balancer.
const CASES: [&str; 15] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
];

/// Of calls in a row; and time enough for slow machines.
const SOAK: [&str; 3] = [
    "--soak_iterations=100",
    "--soak_overall_timeout_seconds=60",
    "--soak_per_iteration_max_acceptable_latency_ms=60000",
];

#[test]
fn every_case_of_grpc_passes() {
    let programs = GRPC.build(&go::find().expect("Go, which `cargo xtask cluster up` installs"));
    let programs = programs.expect("gRPC's client and server");
    run_within(Duration::from_mins(5), async move {
        let server = Server::start(&programs).await;
        let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[server.address]).await;
        for case in CASES {
            let mut client = Command::new(programs.join("client"));
            client.args(["--use_tls=false", "--server_host=127.0.0.1"]);
            client.arg(format!("--server_port={}", proxy.address.port()));
            client.arg(format!("--test_case={case}")).args(SOAK);
            let output = spawn_blocking(move || client.output()).await.expect("no panic");
            let output = output.expect("the client runs");
            assert!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(proxy.server.counters.aborted(), 0);
    });
}

/// gRPC's server, until this is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    async fn start(programs: &Path) -> Self {
        // A port that was free a moment ago.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let mut server = Command::new(programs.join("server"));
        server.arg(format!("--port={}", address.port())).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = server.spawn().expect("the server runs");
        while TcpStream::connect(address).await.is_err() {
            assert!(process.try_wait().expect("a child").is_none(), "the server has ended");
            yield_now().await;
        }
        Self { process, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error: it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
