//! docs/GETTING-STARTED.md on a cluster: every command does what the page says, and nothing stays on the nodes
//! afterwards. Needs root.
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]
#![allow(unreachable_pub, reason = "in private modules, `pub` means: for the other modules")]

mod page;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use cluster::{Cluster, Lock, Name, Programs, Spec, go};
use install::{Chart, checkout, image};
use lab::wait_until;

const PAGE: &str = "docs/GETTING-STARTED.md";

/// Pins are gone when pods are; busy machines take longer for that.
const PATIENCE: Duration = Duration::from_mins(1);

/// Nodes of the cluster have no server for it: their first processes are in the environment, by their names.
const SSH: &str = "\
#!/bin/sh
eval process=\\$$1
shift
exec nsenter --all --target $process -- \"$@\"
";

#[test]
fn the_page_is_true() {
    let stage = Stage::set("getting-started");
    let page = fs::read_to_string(checkout(PAGE)).unwrap();
    stage.run(&page::commands(&page));
    for node in ["node1", "node2"] {
        let waited = wait_until("an empty BPF file system", PATIENCE, || stage.pinned(node).is_empty());
        assert!(waited.is_ok(), "{node} has {}", stage.pinned(node));
    }
}

struct Stage {
    cluster: Cluster,
    folder: tempfile::TempDir,
    name: Name,
    _lock: Lock,
}

impl Stage {
    fn set(name: &str) -> Self {
        let name: Name = name.parse().unwrap();
        let lock = Lock::take(&name, "test").unwrap();
        Cluster::down(&name).expect("a run that was killed is removed");
        let go = go::find().expect("Go, which `cargo xtask cluster up` installs");
        let programs = Programs::prepare(&go).expect("the programs are built");
        let cluster = Cluster::up(&Spec::new(name.clone()), &programs).expect("a cluster");
        let folder = tempfile::tempdir().unwrap();
        let images: Vec<PathBuf> = vec![
            image::of_agent(folder.path()).unwrap(),
            image::of_coredns(programs.coredns(), folder.path()).unwrap(),
        ];
        cluster.load_images(&images).unwrap();
        let chart = Chart::open().expect("Helm");
        let clients = [("kubectl", programs.kube("kubectl")), ("helm", chart.helm_program().to_owned())];
        for (name, program) in clients {
            std::os::unix::fs::symlink(program, folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("ssh"), SSH).unwrap();
        fs::set_permissions(folder.path().join("ssh"), Permissions::from_mode(0o755)).unwrap();
        Self { cluster, folder, name, _lock: lock }
    }

    /// One shell for all, since they share a variable, as the client outside. What they print is compared.
    fn run(&self, commands: &[page::Shown]) {
        const END: &str = "--- end of a command";
        let lines: Vec<_> = commands.iter().map(|it| format!("{}\necho \"{END} $?\"\n", it.line)).collect();
        let output = self.shell(&lines.concat());
        let said = String::from_utf8_lossy(&output.stdout);
        let mut parts = said.split(END);
        for shown in commands {
            println!("$ {}", shown.line);
            let (printed, rest) =
                (parts.next().unwrap_or_default(), parts.clone().next().unwrap_or_default());
            // The status of this command stands before what the next one printed.
            let status = rest.lines().next().unwrap_or_default().trim();
            let printed: Vec<&str> =
                printed.lines().skip(usize::from(shown.line != commands[0].line)).collect();
            let problem = String::from_utf8_lossy(&output.stderr);
            assert_eq!(status, "0", "`{}` fails: {printed:?} {problem}", shown.line);
            if let Err(difference) = shown.compare(&printed) {
                panic!("`{}`: {difference}; it printed {printed:#?}", shown.line);
            }
        }
    }

    fn shell(&self, script: &str) -> Output {
        let path = format!("{}:{}", self.folder.path().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).current_dir(checkout("")).env("PATH", path);
        command.env("KUBECONFIG", self.cluster.kubectl().kubeconfig());
        command.envs(self.cluster.machines().map(|(machine, process)| (machine, process.to_string())));
        self.cluster.client().run(|| command.output()).unwrap()
    }

    fn pinned(&self, node: &str) -> String {
        let script =
            "ls /sys/fs/bpf | grep -v -e maps.debug -e progs.debug; bpftool net | grep gateway || true";
        self.cluster.run_on_node(node, &["sh", "-c", script]).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let downed = Cluster::down(&self.name);
        if !thread::panicking() {
            downed.expect("the cluster goes down");
        }
    }
}
