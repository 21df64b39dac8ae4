//! gRPC's own tests of implementations against each other, between its client and its server in Go
//! (grpc/doc/interop-test-descriptions.md): nothing that they see may differ for the proxy between them.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use cluster::go::{self, Kind, Module, Program};
use gateway_agent_tables::http::BackendProtocol;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

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

/// What the server logs before its address.
const LISTENS: &str = "interop server listening on ";

/// gRPC's server, until this is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    async fn start(programs: &Path) -> Self {
        let mut server = Command::new(programs.join("server"));
        server.arg("--port=0").env("GRPC_GO_LOG_SEVERITY_LEVEL", "info");
        server.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = server.spawn().expect("the server runs");
        let log = BufReader::new(process.stderr.take().expect("it is piped"));
        let (sender, port) = oneshot::channel();
        thread::spawn(move || {
            let mut lines = log.lines().map_while(Result::ok);
            let port = |line: String| line.split_once(LISTENS)?.1.rsplit_once(':')?.1.parse::<u16>().ok();
            if let Some(port) = lines.find_map(port) {
                let _ = sender.send(port);
            }
            // What nobody reads would stop the server.
            lines.for_each(drop);
        });
        let port = port.await.expect("the server says where it listens");
        Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error: it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
