//! Work that continues when its caller hangs up.

use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::error::ApiResult;

/// Runs writes that must not be left half-way: they continue when their caller hangs up, and
/// shutdown waits for them.
#[derive(Debug, Clone, Default)]
pub struct DetachedTasks(pub TaskTracker);

impl DetachedTasks {
    /// Waits for `work`, which does not end with the caller.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> ApiResult<T> {
        Ok(self.0.spawn(work.in_current_span()).await?)
    }
}
