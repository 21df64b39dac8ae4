//! The toy of the judge's own test, for a look by hand: `cargo run -p conformance --example toy -- CLUSTER`, and in
//! another terminal `cargo xtask conformance --name CLUSTER --class toy --run HTTPRouteSimpleSameNamespace`.

#[path = "../tests/judge/forwarder.rs"]
mod forwarder;
#[path = "../tests/judge/toy.rs"]
mod toy;

use std::error::Error;
use std::{env, io};

use cluster::{Cluster, Programs, go};
use conformance::Addresses;

use crate::toy::{Backends, Toy};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let name = env::args().nth(1).ok_or("name a cluster that runs")?.parse()?;
    let cluster = Cluster::find(&name).ok_or("no such cluster runs: `cargo xtask cluster up` starts one")?;
    let programs = Programs::prepare(&go::find().ok_or("no Go")?)?;
    let toy = Toy::start(&cluster, &programs, Addresses::of(cluster.spec()).pool)?;
    for (backends, says) in [(Backends::OfTheRoute, "right"), (Backends::Wrong, "wrong")] {
        toy.use_backends(backends);
        println!("answers are {says}; Enter goes on");
        io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}
