//! `cargo xtask`: everything that is done with this checkout besides editing it.
//!
//! Depends on no crate that includes the eBPF object, so it runs before there is one.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod chart;
mod checkout;
mod cluster;
mod codegen;
mod conformance;
mod demo;
mod elsewhere;
mod fuzz;
mod image;
mod process;
mod setup;
mod soak;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the gateway-agent checkout.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what building, testing and the demo need and this machine lacks
    Setup,
    /// Build the kernel programs, then the agent (release)
    Build,
    /// Set up, build, and write the container image
    Image(image::Options),
    /// Set up, build, and run the main job on real traffic in network namespaces
    Demo(demo::Options),
    /// Set up, build, and run every test
    Test(test::Options),
    /// Set up, build, and try random packets, files and requests
    Fuzz(fuzz::Options),
    /// Set up, build, and measure the data plane beside its peers
    Bench(bench::Options),
    /// Set up, build, and run the tests that take long
    Soak(soak::Options),
    /// A real Kubernetes cluster on this machine
    Cluster(cluster::Options),
    /// kubectl, for such a cluster
    Kubectl(cluster::Kubectl),
    /// Run the Gateway API's conformance suite against the implementation in a cluster
    Conformance(conformance::Options),
    /// Write the plain manifests that follow from the Helm chart
    Chart,
    /// Write the types, schemas and CRDs that follow from the Gateway API's release
    Codegen(codegen::Options),
}

fn main() -> ExitCode {
    match run(&Cli::parse().task) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Setup => setup::run().map(|_| ExitCode::SUCCESS),
        Task::Build => build::run(&setup::run()?).map(|()| ExitCode::SUCCESS),
        Task::Image(options) => {
            let toolchain = setup::run()?;
            build::kernel_programs(&toolchain)?;
            image::run(options)?;
            if options.check {
                elsewhere::program(&toolchain)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Task::Demo(options) => {
            if !options.no_build {
                build::run(&setup::run()?)?;
            }
            demo::run(options)
        }
        Task::Test(options) => {
            // The agent is built with the tests, in their profile: a release build would double the time.
            let toolchain = setup::run()?;
            build::kernel_programs(&toolchain)?;
            conformance::prepare()?;
            test::run(options, &toolchain)
        }
        Task::Fuzz(options) => {
            build::kernel_programs(&setup::run()?)?;
            fuzz::run(options)
        }
        Task::Bench(options) => {
            build::run(&setup::run()?)?;
            bench::run(options).map(|()| ExitCode::SUCCESS)
        }
        Task::Soak(options) => {
            build::run(&setup::run()?)?;
            soak::run(options).map(|()| ExitCode::SUCCESS)
        }
        Task::Cluster(options) => cluster::run(options),
        Task::Kubectl(options) => cluster::kubectl(options),
        Task::Conformance(options) => conformance::run(options),
        Task::Chart => chart::run().map(|()| ExitCode::SUCCESS),
        Task::Codegen(options) => codegen::run(options),
    }
}
