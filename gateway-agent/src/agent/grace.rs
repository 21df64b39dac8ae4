//! What the kernel has no more use for, until no program can still read it. Nobody waits for that.

use gateway_agent_kernel::{Kernel, wait_for_programs};
use tokio::task::{JoinHandle, spawn_blocking};

/// The wait that is under way, if any.
#[derive(Debug, Default)]
pub(super) struct Grace(Option<JoinHandle<()>>);

impl Grace {
    /// Begins to wait if there is a reason to and no wait is under way: after that, another one is begun.
    pub(super) fn begin(&mut self, kernel: &mut Kernel) {
        if self.0.is_none() && kernel.begin_release() {
            self.0 = Some(spawn_blocking(wait_for_programs));
        }
    }

    /// The end of the wait: [`Kernel::release`] is due. Can be cancelled.
    pub(super) async fn over(&mut self) {
        match &mut self.0 {
            // It doesn't panic, and nobody cancels it.
            Some(wait) => drop(wait.await),
            None => std::future::pending().await,
        }
        self.0 = None;
    }
}
