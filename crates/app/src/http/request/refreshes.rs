//! Refreshes of sessions in this process. What a stranger sends as a refresh token costs the database
//! and the provider something, so only a few refreshes run at once.

use std::sync::Arc;
use std::time::Duration;

use coredock_domain::digest::Sha256Digest;
use coredock_domain::identity::sessions::{SessionError, Sessions};
use coredock_domain::identity::sign_in::SessionTokens;
use moka::future::Cache;
use tokio::sync::Semaphore;

use super::detached::DetachedTasks;
use super::error::{ApiError, ApiResult};

/// Refreshes that run at once, each with another token.
const MAX_RUNNING: usize = 8;
/// Calls that wait for a refresh; more are answered with 503.
const MAX_WAITING: usize = 512;
/// How long a result is shared, as between replicas (contract §3.7).
const SHARED_FOR: Duration = Duration::from_mins(1);
const MAX_SHARED: u64 = 1_000;

/// Refreshes of sessions: calls with one token wait for one refresh.
#[derive(Clone)]
pub struct Refreshes {
    sessions: Sessions,
    /// By the SHA-256 of the refresh token; outages are not shared.
    results: Cache<Sha256Digest, Refreshed>,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    tasks: DetachedTasks,
}

/// The outcome of a refresh.
type Refreshed = Result<SessionTokens, Arc<SessionError>>;

impl Refreshes {
    pub fn new(sessions: Sessions, tasks: DetachedTasks) -> Self {
        Self {
            sessions,
            results: Cache::builder().max_capacity(MAX_SHARED).time_to_live(SHARED_FOR).build(),
            running: Arc::new(Semaphore::new(MAX_RUNNING)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            tasks,
        }
    }

    /// New tokens for a refresh token. A refresh goes on when its browser hangs up: the provider
    /// has used the token up by then, and the other calls need the result.
    pub(super) async fn refresh(&self, token: String) -> ApiResult<Refreshed> {
        let full = |_| ApiError::outage("too many calls wait for refreshes of sessions");
        let waiting = self.waiting.clone().try_acquire_owned().map_err(full)?;
        let this = self.clone();
        self.tasks
            .run(async move {
                let _waiting = waiting;
                let key = Sha256Digest::of(token.as_bytes());
                let refreshing = Box::pin(this.refresh_alone(&token));
                this.results.try_get_with(key, refreshing).await.unwrap_or_else(Err)
            })
            .await
    }

    /// The outer error is an outage.
    async fn refresh_alone(&self, token: &str) -> Result<Refreshed, SessionError> {
        let _running = self.running.acquire().await;
        match self.sessions.refresh(token).await {
            Ok(tokens) => Ok(Ok(tokens)),
            Err(error @ SessionError::Refused { .. }) => Ok(Err(Arc::new(error))),
            Err(error) => Err(error),
        }
    }
}
