//! `cargo xtask demo`: the main job on real traffic, before one's eyes.

mod files;
mod report;
mod scenes;
mod stage;

use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use rustix::process::geteuid;

use report::{Report, say, title};
use stage::Stage;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave the lab up afterwards, until Ctrl-C, and say how to play with it
    #[arg(long)]
    keep: bool,
    /// Take what was built before instead of building
    #[arg(long)]
    pub(crate) no_build: bool,
}

/// What Ctrl-C makes of the exit status: 128 + SIGINT, unless the demo is over and only kept.
static INTERRUPTED: AtomicI32 = AtomicI32::new(130);

/// Runs the demo with the agent that was built before.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !geteuid().is_root() {
        bail!("the demo makes network namespaces and loads programs, so it needs root: run it with sudo");
    }
    ctrlc::set_handler(|| {
        eprintln!("\ntaking the lab down");
        lab::remove_all_of_this_process();
        process::exit(INTERRUPTED.load(Ordering::Relaxed));
    })
    .context("taking care of Ctrl-C")?;

    let begun = Instant::now();
    let mut report = Report::default();
    title("A lab of namespaces: two clients, two gateway nodes, four pods, an agent per node");
    let mut stage = Stage::set()?;
    say(stage.picture());
    for scene in scenes::ALL {
        title(scene.title);
        if let Err(error) = (scene.play)(&mut stage, &mut report) {
            report.claim(scene.title, false, format!("{error:#}"));
        }
    }
    report.table(begun.elapsed());
    if options.keep {
        INTERRUPTED.store(i32::from(!report.all_held()), Ordering::Relaxed);
        say(stage.directions());
        loop {
            // Ends by the handler above, which also removes the lab.
            thread::park();
        }
    }
    Ok(if report.all_held() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
