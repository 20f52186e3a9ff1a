//! The keys of an identity provider over time (contract §3.3).
//!
//! One worker fetches; requests read what it has, and wait for it only if no key is known or a
//! token names an unknown one. So however many requests ask, and whether their callers hang up or
//! not, one fetch runs at a time and its result reaches everybody.

use std::sync::Arc;
use std::time::Duration;

use coredock_domain::Clock;
use coredock_domain::identity::saved_keys::SavedKeys;
use coredock_domain::timestamp::Timestamp;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::discovery::Discovery;
use crate::fetch::{FETCH_TIMEOUT, FetchError, Fetcher};
use crate::key_set::KeySet;

/// Unknown keys cause at most one fetch in this time (contract §3.3).
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(30);
/// After a failure the worker tries again so soon.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// At the first fetch the saved keys are used if the provider takes longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which provider, and how long its keys are good.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// `OIDC_ISSUER_URL`
    pub issuer: String,
    /// `JWKS_TTL_SECONDS`
    pub keys_ttl: Duration,
}

/// What a [`Provider`] needs.
pub struct ProviderPorts {
    pub saved: Arc<dyn SavedKeys>,
    pub clock: Arc<dyn Clock>,
    /// Called after each fetch, with its trigger and whether it succeeded.
    pub observe: Arc<dyn Fn(RefreshTrigger, bool) + Send + Sync>,
}

/// Why keys are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshTrigger {
    /// No key is known.
    Startup,
    /// The keys are old, or the last fetch failed.
    Ttl,
    /// A token names a key which is not in the set.
    UnknownKey,
}

impl RefreshTrigger {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Ttl => "ttl",
            Self::UnknownKey => "unknown_kid",
        }
    }
}

/// The keys of an identity provider.
pub struct Provider {
    settings: ProviderSettings,
    ports: ProviderPorts,
    fetcher: Fetcher,
    state: watch::Sender<State>,
}

/// A key set with a number that changes whenever the keys change.
#[derive(Debug, Clone)]
pub(crate) struct CurrentKeys {
    pub(crate) set: Arc<KeySet>,
    pub(crate) generation: u64,
}

/// What the worker knows, and what requests want of it.
#[derive(Debug, Clone, Default)]
struct State {
    keys: Option<CurrentKeys>,
    /// The discovery document fetched last.
    discovery: Option<Arc<Discovery>>,
    is_fetching: bool,
    /// A request needs a fetch, which has not begun.
    is_wanted: bool,
    /// When an unknown key was last allowed to cause a fetch.
    asked_for_unknown: Option<Timestamp>,
    /// How many fetches have ended.
    fetches: u64,
    /// Why the last fetch failed; `None` if it succeeded.
    failure: Option<Arc<FetchError>>,
}

/// What is to be done for an unknown key.
struct Asked {
    /// Newer keys.
    found: Option<CurrentKeys>,
    /// A fetch to wait for: the number of those that ended before, and whether it begins later than
    /// this. `None` if none is allowed.
    fetch: Option<(u64, bool)>,
}

impl State {
    /// Whether the worker must be woken for it.
    fn want(&mut self) -> bool {
        !std::mem::replace(&mut self.is_wanted, true)
    }

    /// Whether an unknown key may cause a fetch now; remembers it if so.
    fn may_ask_for_unknown(&mut self, now: Timestamp) -> bool {
        let is_due = self.asked_for_unknown.is_none_or(|last| last.after(UNKNOWN_KEY_PAUSE) <= now);
        if is_due {
            self.asked_for_unknown = Some(now);
        }
        is_due
    }

    /// Whether the set differs from the current one.
    fn install(&mut self, set: KeySet) -> bool {
        let generation = match &self.keys {
            Some(keys) if keys.set.text() == set.text() => return false,
            Some(keys) => keys.generation + 1,
            None => 0,
        };
        self.keys = Some(CurrentKeys { set: Arc::new(set), generation });
        true
    }
}

impl Provider {
    /// Fetches nothing yet. Fails if the system has no usable certificates.
    pub fn new(settings: ProviderSettings, ports: ProviderPorts) -> Result<Self, FetchError> {
        Ok(Self { settings, ports, fetcher: Fetcher::new()?, state: watch::Sender::default() })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.ports.clock
    }

    /// Whether the last fetch succeeded, or none has ended yet.
    pub(crate) fn answers(&self) -> bool {
        self.state.borrow().failure.is_none()
    }

    /// The known keys; waits for the first ones.
    pub(crate) async fn keys(&self) -> Result<CurrentKeys, Arc<FetchError>> {
        self.known(|state| state.keys.clone()).await
    }

    /// The known discovery document; waits for the first one.
    pub(crate) async fn discovery(&self) -> Result<Arc<Discovery>, Arc<FetchError>> {
        self.known(|state| state.discovery.clone()).await
    }

    async fn known<T>(&self, part: impl Fn(&State) -> Option<T>) -> Result<T, Arc<FetchError>> {
        if let Some(known) = part(&self.state.borrow()) {
            return Ok(known);
        }
        let (mut begun, mut failure) = (0, None);
        self.state.send_if_modified(|state| {
            begun = state.fetches;
            if state.is_fetching || part(state).is_some() {
                return false;
            }
            failure.clone_from(&state.failure);
            // After a failure the worker tries again by itself.
            failure.is_none() && state.want()
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        let state = self.wait_for(|state| part(state).is_some() || state.fetches > begun).await;
        let failure = || Arc::new(FetchError::Slow);
        part(&state).ok_or_else(|| state.failure.unwrap_or_else(failure))
    }

    /// The keys after a token named one that is not in generation `seen`: fetched anew, at most once
    /// per [`UNKNOWN_KEY_PAUSE`]. `None` if there are no newer ones.
    pub(crate) async fn keys_after(&self, seen: u64) -> Option<CurrentKeys> {
        let newer = |state: &State| state.keys.clone().filter(|keys| keys.generation != seen);
        // A fetch that runs already may have read the keys before this one was published, so that
        // a second one may be needed.
        for _ in 0..2 {
            let Asked { found, fetch } = self.ask_for_unknown(newer);
            if found.is_some() {
                return found;
            }
            let (begun, is_for_this) = fetch?;
            let found = newer(&self.wait_for(|state| state.fetches > begun).await);
            if found.is_some() || is_for_this {
                return found;
            }
        }
        None
    }

    /// Decides under one lock, so that no request misses a fetch which another has asked for.
    fn ask_for_unknown(&self, newer: impl Fn(&State) -> Option<CurrentKeys>) -> Asked {
        let mut asked = Asked { found: None, fetch: None };
        let now = self.ports.clock.now();
        self.state.send_if_modified(|state| {
            asked.found = newer(state);
            if asked.found.is_some() {
                return false;
            }
            if state.is_fetching {
                asked.fetch = Some((state.fetches, false));
                return false;
            }
            if !state.is_wanted && !state.may_ask_for_unknown(now) {
                return false;
            }
            asked.fetch = Some((state.fetches, true));
            state.want()
        });
        asked
    }

    /// The state once it fulfils `condition`, or after the longest time of a fetch.
    async fn wait_for(&self, condition: impl FnMut(&State) -> bool) -> State {
        let mut changes = self.state.subscribe();
        let fulfilled = timeout(FETCH_TIMEOUT, changes.wait_for(condition)).await;
        match fulfilled {
            Ok(Ok(state)) => state.clone(),
            // The worker has stopped, or is too slow.
            Ok(Err(_)) | Err(_) => self.state.borrow().clone(),
        }
    }

    /// The worker: fetches keys when the first request needs them, when they are old, and when a
    /// token names an unknown one. Never returns.
    pub async fn keep_keys(&self) {
        self.is_wanted().await;
        let mut trigger = RefreshTrigger::Startup;
        let mut is_saved = true;
        loop {
            is_saved &= !self.refresh(trigger).await;
            if !is_saved && self.answers() {
                is_saved = self.save().await;
            }
            trigger = self.next_trigger().await;
        }
    }

    async fn next_trigger(&self) -> RefreshTrigger {
        let pause = if self.answers() { self.settings.keys_ttl } else { RETRY_DELAY };
        tokio::select! {
            () = self.is_wanted() => RefreshTrigger::UnknownKey,
            () = self.ports.clock.sleep(pause) => RefreshTrigger::Ttl,
        }
    }

    /// Returns when a request needs a fetch.
    async fn is_wanted(&self) {
        let mut changes = self.state.subscribe();
        // It fails only if the sender is dropped, which this borrows.
        drop(changes.wait_for(|state| state.is_wanted).await);
    }

    /// Whether the keys are new.
    async fn refresh(&self, trigger: RefreshTrigger) -> bool {
        self.state.send_modify(|state| {
            state.is_fetching = true;
            state.is_wanted = false;
        });
        let fetched = match trigger {
            RefreshTrigger::Startup => self.first_fetch().await,
            RefreshTrigger::Ttl | RefreshTrigger::UnknownKey => self.fetch().await,
        };
        (self.ports.observe)(trigger, fetched.is_ok());
        let (set, failure) = match fetched {
            Ok(set) => (Some(set), None),
            Err(error) => {
                if self.state.borrow().keys.is_none() {
                    self.use_saved_keys().await;
                }
                self.report(&error);
                (None, Some(Arc::new(error)))
            }
        };
        self.end_fetch(set, failure)
    }

    /// Uses a fetched set from now on, and returns whether it differs from that before. A request
    /// that sees the keys also sees that the fetch is over: for a key which is still unknown it may
    /// ask for another one.
    fn end_fetch(&self, set: Option<KeySet>, failure: Option<Arc<FetchError>>) -> bool {
        let mut is_new = false;
        self.state.send_modify(|state| {
            is_new = set.is_some_and(|set| state.install(set));
            state.is_fetching = false;
            state.fetches += 1;
            state.failure = failure;
        });
        is_new
    }

    /// Uses the saved keys meanwhile if the provider takes long to answer.
    async fn first_fetch(&self) -> Result<KeySet, FetchError> {
        let mut fetching = std::pin::pin!(self.fetch());
        if let Ok(fetched) = timeout(PATIENCE, &mut fetching).await {
            return fetched;
        }
        tokio::select! {
            fetched = &mut fetching => return fetched,
            () = self.use_saved_keys() => {}
        }
        fetching.await
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let fetching = async {
            let text = self.fetcher.get(&Discovery::url(&self.settings.issuer)).await?;
            let discovery = Arc::new(Discovery::read(&text, &self.settings.issuer)?);
            self.state.send_modify(|state| state.discovery = Some(discovery.clone()));
            KeySet::read(self.fetcher.get(&discovery.jwks_uri).await?)
        };
        timeout(FETCH_TIMEOUT, fetching).await.unwrap_or(Err(FetchError::Slow))
    }

    /// Saves the keys for the next start, and returns whether that succeeded.
    async fn save(&self) -> bool {
        let Some(keys) = self.state.borrow().keys.clone() else { return true };
        let (issuer, now) = (&self.settings.issuer, self.ports.clock.now());
        let saved = self.ports.saved.save(issuer, keys.set.text(), now).await;
        if let Err(error) = &saved {
            let error = error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "the keys of the identity provider could not be saved: until they are, a restart \
                 while the provider is away would accept no token"
            );
        }
        saved.is_ok()
    }

    async fn use_saved_keys(&self) {
        let saved = match self.ports.saved.load(&self.settings.issuer).await {
            Ok(saved) => saved.and_then(|text| KeySet::read(text).ok()),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the saved keys of the identity provider cannot be read");
                None
            }
        };
        if let Some(set) = saved {
            self.state.send_if_modified(|state| state.install(set));
            tracing::warn!(
                "the identity provider does not answer; the keys saved last are used meanwhile"
            );
        }
    }

    fn report(&self, error: &FetchError) {
        let error = error as &dyn std::error::Error;
        let issuer = &self.settings.issuer;
        if self.state.borrow().keys.is_some() {
            tracing::warn!(
                error,
                "the keys of the identity provider {issuer} could not be fetched; the last good \
                 ones stay in use"
            );
        } else {
            tracing::error!(
                error,
                "the keys of the identity provider {issuer} could not be fetched, and none are \
                 known: every token is answered with 503"
            );
        }
    }
}
