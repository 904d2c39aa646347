//! How everything that runs learns that it is time to stop, and how the end waits for it.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handle that says when to stop, and remembers who still works. Clones share one state.
///
/// Two phases: [`Shutdown::drain`] (finish what was begun, take nothing new) is what roles wait for. Work that must outlive its
/// client, such as a command, is spawned with [`Shutdown::spawn`], and [`Shutdown::finished`] waits for it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    work: TaskTracker,
}

impl Shutdown {
    /// A new, running one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the end. Idempotent.
    pub fn drain(&self) {
        self.token.cancel();
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns when the end begins.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn draining(&self) {
        self.token.cancelled().await;
    }

    /// Runs something that the end waits for.
    pub fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.work.spawn(work)
    }

    /// Returns when the end has begun and everything spawned is done.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn finished(&self) {
        self.draining().await;
        self.work.close();
        self.work.wait().await;
    }
}
