use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::DecodingKey;
use tracing::Instrument;

use crate::algorithm::SigningAlgorithm;
use crate::issuer::{Fault, Issuer};
use crate::keys::KeySet;
use crate::settings::OidcSettings;

/// What the age of keys is told by.
pub trait KeyClock: Send + Sync {
    /// Time since some moment before the first call; never goes back.
    fn now(&self) -> Duration;
}

/// The monotonic clock of the machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }
}

impl KeyClock for SystemClock {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The issuer's keys, fetched when they are needed and not more often than allowed.
pub(crate) struct RotatingKeys(Arc<Shared>);

struct Shared {
    issuer: Issuer,
    clock: Arc<dyn KeyClock>,
    fresh_for: Duration,
    usable_for: Duration,
    min_interval: Duration,
    state: Mutex<State>,
    /// Held while the keys are fetched.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    /// When the last attempt ended, well or badly.
    attempted_at: Option<Duration>,
    /// Why the last attempt failed; `None` after one that did not.
    failure: Option<Arc<Fault>>,
}

struct Known {
    set: Arc<KeySet>,
    /// When the issuer was asked for it.
    as_of: Duration,
}

/// Keys that may be used.
struct Usable {
    set: Arc<KeySet>,
    is_fresh: bool,
}

/// Why there is no key for a token.
#[derive(Debug)]
pub(crate) enum NoKey {
    /// The issuer has none such.
    Unknown,
    /// The issuer might have one, but could not be asked.
    Unavailable(KeysUnavailable),
}

/// The issuer's keys are not known.
#[derive(Debug, thiserror::Error)]
#[error("the keys of the token issuer are not available")]
pub(crate) struct KeysUnavailable(#[source] Option<Arc<Fault>>);

impl RotatingKeys {
    pub(crate) fn new(issuer: Issuer, settings: &OidcSettings, clock: Arc<dyn KeyClock>) -> Self {
        Self(Arc::new(Shared {
            issuer,
            clock,
            fresh_for: settings.keys_fresh_for,
            usable_for: settings.keys_usable_for,
            min_interval: settings.min_refresh_interval,
            state: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
        }))
    }

    /// The key for a token with this `kid` and algorithm. Asks the issuer when there are no fresh keys, and when none
    /// of them fits, because the issuer may have begun to use a new one.
    pub(crate) async fn find(&self, id: Option<&str>, algorithm: SigningAlgorithm) -> Result<Arc<DecodingKey>, NoKey> {
        let usable = self.current().await.map_err(NoKey::Unavailable)?;
        if let Some(key) = usable.set.find(id, algorithm) {
            return Ok(key);
        }
        self.refresh().await;
        let usable = self.0.usable().ok_or_else(|| NoKey::Unavailable(self.0.unavailable()))?;
        usable.set.find(id, algorithm).ok_or_else(|| match self.0.unavailable() {
            KeysUnavailable(None) => NoKey::Unknown,
            failed => NoKey::Unavailable(failed),
        })
    }

    /// Makes sure that there are usable keys, fresh ones when the issuer can be asked.
    pub(crate) async fn warm(&self) -> Result<(), KeysUnavailable> {
        self.current().await.map(drop)
    }

    async fn current(&self) -> Result<Usable, KeysUnavailable> {
        match self.0.usable() {
            Some(usable) if usable.is_fresh => Ok(usable),
            // Somebody is asking already; who has usable keys need not wait for a slow issuer as well.
            Some(usable) if self.0.flight.try_lock().is_err() => Ok(usable),
            _ => {
                self.refresh().await;
                self.0.usable().ok_or_else(|| self.0.unavailable())
            }
        }
    }

    /// Fetches the keys, or waits for whoever does, or does nothing when that was done a moment ago.
    async fn refresh(&self) {
        let shared = Arc::clone(&self.0);
        // A task of its own ends even when the caller goes away: callers who hang up early must not use up the
        // attempts.
        let flight = tokio::spawn(async move { shared.fetch().await }.in_current_span());
        if flight.await.is_err() {
            tracing::error!("fetching the token issuer's keys was broken off");
        }
    }
}

impl Shared {
    async fn fetch(&self) {
        let _flight = self.flight.lock().await;
        if self.attempted_just_now() {
            return;
        }
        let as_of = self.clock.now();
        let fetched = self.issuer.keys().await;
        let mut state = self.state();
        state.attempted_at = Some(self.clock.now());
        match fetched {
            Ok(set) => {
                tracing::debug!(keys.used = set.len(), "fetched the token issuer's keys");
                state.known = Some(Known { set: Arc::new(set), as_of });
                state.failure = None;
            }
            Err(fault) => {
                tracing::warn!(
                    error.kind = fault.kind(),
                    error = &fault as &(dyn std::error::Error + 'static),
                    "the token issuer's keys could not be fetched"
                );
                state.failure = Some(Arc::new(fault));
            }
        }
    }

    fn attempted_just_now(&self) -> bool {
        let attempted_at = self.state().attempted_at;
        attempted_at.is_some_and(|at| self.clock.now().saturating_sub(at) < self.min_interval)
    }

    /// The known keys, unless they are too old to be used at all.
    fn usable(&self) -> Option<Usable> {
        let now = self.clock.now();
        let state = self.state();
        let known = state.known.as_ref()?;
        let age = now.saturating_sub(known.as_of);
        (age < self.usable_for).then(|| Usable { set: Arc::clone(&known.set), is_fresh: age < self.fresh_for })
    }

    fn unavailable(&self) -> KeysUnavailable {
        KeysUnavailable(self.state().failure.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
