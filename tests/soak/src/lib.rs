//! What befalls gateway-agent as it is installed on a real cluster, and what clients notice of it.
//!
//! A [`Stage`] is a cluster with gateway-agent, a server on each node, and Gateways before them. Stories happen there,
//! one after the other; [`Story::ALL`] names them, `cargo xtask soak cluster` runs them, and the short ones are tests.
#![forbid(unsafe_code)]

mod load;
pub mod matrix;
mod observe;
mod stage;
mod stories;
mod story;

use anyhow::Result;
use cluster::Spec;

pub use stage::Stage;
pub use story::Story;

/// The version of `gateway-agent-next`.
pub const NEXT: &str = "0.1.1";

/// Lets stories happen one after the other, each on what the one before it has left.
pub fn run(stories: &[Story], ipv6: bool, keep: bool) -> Result<()> {
    let spec = Spec { nodes: "3".parse()?, dual_stack: true, ..Spec::new("soak".parse()?) };
    let mut stage = Stage::set(&spec)?;
    stage.keep_pace();
    if ipv6 {
        stage.prefer_v6();
    }
    for story in stories {
        if let Err(error) = stage.until_well().and_then(|()| story.happen(&mut stage)) {
            if keep {
                println!("it stays: cargo xtask kubectl --name {}", stage.leave());
            }
            return Err(error);
        }
    }
    stage.until_well()?;
    println!("{} stories, each as it should be", stories.len());
    Ok(())
}
