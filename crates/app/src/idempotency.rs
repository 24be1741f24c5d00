use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agentex_authz::Principal;
use agentex_domain::Timestamp;
use agentex_domain::ports::{Claimed, Clock, IdempotencyClaim, IdempotencyRepository, StoredAnswer};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::task::TaskTracker;

use crate::secrets::hex;
use crate::{Caller, Error, Keyring};

/// How long a key is remembered.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a holder that says nothing is taken to be alive.
const LEASE: Duration = Duration::from_secs(30);
/// Claims between two looks for expired keys, and the most that one look drops: more than are made meanwhile.
const CLAIMS_PER_PURGE: u32 = 256;
const PURGED_AT_ONCE: u32 = 1024;

/// A request that is to be recognized when it comes again.
#[derive(Debug, Clone, Copy)]
pub struct RepeatableRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The path without the query.
    pub path: &'a str,
    /// The query; empty without one.
    pub query: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// Remembers the outcome of requests by the key that callers give them.
///
/// A key belongs to one caller, method and path, and lasts for 24 hours. What is remembered is in the store, so that every
/// replica knows it; answers are sealed where secrets are.
#[derive(Clone)]
pub struct Idempotency {
    keys: Arc<dyn IdempotencyRepository>,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
    background: TaskTracker,
    claims: Arc<AtomicU32>,
}

/// What became of a request with a key.
#[derive(Debug)]
#[must_use]
pub enum KeyedOutcome {
    /// It is new: the caller carries it out and says how it went.
    Run(KeyHold),
    /// The same request is being carried out.
    Running,
    /// It has been carried out, with this answer.
    Answered(RecordedAnswer),
    /// It has been carried out, but the answer was not kept.
    NotKept,
    /// The key was used for another request.
    Other,
}

/// An answer to give once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that belong to the body; none of them holds a secret.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Idempotency {
    pub(crate) fn new(
        keys: Arc<dyn IdempotencyRepository>,
        keyring: Keyring,
        clock: Arc<dyn Clock>,
        background: TaskTracker,
    ) -> Self {
        Self { keys, keyring, clock, background, claims: Arc::default() }
    }

    /// Whether a request with `key` is to be carried out now, and if not, why.
    ///
    /// # Errors
    /// [`Error::Store`]: whether the request has been carried out is unknown, and it must not be.
    pub async fn claim(
        &self,
        caller: &Caller,
        key: &str,
        request: RepeatableRequest<'_>,
    ) -> Result<KeyedOutcome, Error> {
        let RepeatableRequest { method, path, query, body } = request;
        let now = self.clock.now();
        let claim = IdempotencyClaim {
            digest: hex(&hash([scope(caller).as_bytes(), method.as_bytes(), path.as_bytes(), key.as_bytes()])),
            request: hex(&hash([query.as_bytes(), body])),
            holder: Keyring::mint(),
            at: now,
            lease_until: after(now, LEASE),
            expires_at: after(now, KEPT),
        };
        let claimed = self.keys.claim(&claim).await?;
        if self.claims.fetch_add(1, Ordering::Relaxed).is_multiple_of(CLAIMS_PER_PURGE) {
            self.purge(now);
        }
        Ok(match claimed {
            Claimed::Granted => KeyedOutcome::Run(KeyHold {
                keys: Arc::clone(&self.keys),
                keyring: self.keyring.clone(),
                clock: Arc::clone(&self.clock),
                digest: claim.digest,
                holder: claim.holder,
            }),
            Claimed::Running => KeyedOutcome::Running,
            Claimed::Other => KeyedOutcome::Other,
            Claimed::Answered(StoredAnswer { body: None, .. }) => KeyedOutcome::NotKept,
            Claimed::Answered(StoredAnswer { status, headers, body: Some(body) }) => match self.keyring.open(&body) {
                Ok(body) => KeyedOutcome::Answered(RecordedAnswer { status, headers, body: body.into() }),
                // Sealed with a key that is not used any more: it was carried out, and what it answered is lost.
                Err(_) => KeyedOutcome::NotKept,
            },
        })
    }

    /// What the same caller's same request always yields, and no other does.
    #[must_use]
    pub fn fingerprint<'a>(
        caller: &Caller,
        request: RepeatableRequest<'_>,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> [u8; 32] {
        let RepeatableRequest { method, path, query, body } = request;
        let scope = scope(caller);
        let parts = [scope.as_bytes(), method.as_bytes(), path.as_bytes(), query.as_bytes(), body];
        hash(parts.into_iter().chain(headers.into_iter().flat_map(|(name, value)| [name.as_bytes(), value])))
    }

    fn purge(&self, now: Timestamp) {
        let keys = Arc::clone(&self.keys);
        self.background.spawn(async move {
            if let Err(error) = keys.purge(now, PURGED_AT_ONCE).await {
                tracing::warn!(%error, "expired idempotency keys were not dropped");
            }
        });
    }
}

impl std::fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idempotency").finish_non_exhaustive()
    }
}

/// The right to carry out the request of one key. Dropped without a word, it lasts until its lease ends.
pub struct KeyHold {
    keys: Arc<dyn IdempotencyRepository>,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
    digest: String,
    holder: String,
}

impl KeyHold {
    /// How often [`Self::renew`] must be called.
    pub const RENEWAL: Duration = Duration::from_secs(10);

    /// Says that the request is still being carried out.
    pub async fn renew(&self) {
        let until = after(self.clock.now(), LEASE);
        match self.keys.renew(&self.digest, &self.holder, until).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("an idempotency key was lost while its request was carried out"),
            Err(error) => tracing::warn!(%error, "the lease of an idempotency key was not renewed"),
        }
    }

    /// The request was carried out. `None` is an answer that cannot be kept. An answer with a secret is kept only sealed.
    pub async fn finish(self, status: u16, answer: Option<RecordedAnswer>, secret: bool) {
        let (headers, body) = match answer {
            Some(RecordedAnswer { headers, body, .. }) => (headers, self.stored(&body, secret)),
            None => (Vec::new(), None),
        };
        let stored = self.keys.finish(&self.digest, &self.holder, &StoredAnswer { status, headers, body }).await;
        match stored {
            Ok(true) => {}
            Ok(false) => tracing::warn!("an idempotency key was lost before its answer was recorded"),
            Err(error) => tracing::error!(%error, "the answer of an idempotency key was not recorded"),
        }
    }

    /// The request was not carried out; the next with its key is.
    pub async fn release(self) {
        if let Err(error) = self.keys.release(&self.digest, &self.holder).await {
            tracing::warn!(%error, "an idempotency key was not released");
        }
    }

    fn stored(&self, body: &Bytes, secret: bool) -> Option<String> {
        let text = std::str::from_utf8(body).ok()?;
        (!secret || self.keyring.seals()).then(|| self.keyring.seal(text))
    }
}

impl std::fmt::Debug for KeyHold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyHold").finish_non_exhaustive()
    }
}

/// Who calls, as text: equal for equal callers, whatever credential they used.
fn scope(caller: &Caller) -> String {
    let who = |principal: &Principal| -> Value {
        // A principal that names nobody is known by all that its provider said.
        if principal.is_resolvable_creator() { principal.identity() } else { principal.clone() }.as_json().clone()
    };
    match caller {
        Caller::Anonymous => json!(["anonymous"]),
        Caller::Principal(principal) => json!(["principal", who(principal)]),
        Caller::Agent { id, acting } => json!(["agent", id, acting.as_ref().map(who)]),
    }
    .to_string()
}

/// A hash over parts of any length, each told from its neighbours.
fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn after(moment: Timestamp, time: Duration) -> Timestamp {
    moment.plus_millis(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use agentex_domain::ports::{MockIdempotencyRepository, StoreError, SystemClock};

    use super::*;
    use crate::SecretsKey;

    const REQUEST: RepeatableRequest<'static> =
        RepeatableRequest { method: "POST", path: "/x", query: "a=1", body: b"{}" };

    fn idempotency(keys: MockIdempotencyRepository, keyring: Keyring) -> Idempotency {
        Idempotency::new(Arc::new(keys), keyring, Arc::new(SystemClock), TaskTracker::new())
    }

    fn willing() -> MockIdempotencyRepository {
        let mut keys = MockIdempotencyRepository::new();
        keys.expect_purge().returning(|_, _| Ok(0));
        keys
    }

    fn user(id: &str, key: &str) -> Caller {
        Caller::Principal(Principal::from_json(json!({"user_id": id, "account_id": "acme", "api_key": key})))
    }

    fn print(caller: &Caller, request: RepeatableRequest<'_>, headers: &[(&str, &[u8])]) -> [u8; 32] {
        Idempotency::fingerprint(caller, request, headers.iter().copied())
    }

    #[test]
    fn a_fingerprint_is_that_of_one_callers_one_request() {
        let alice = user("alice", "k1");
        let of_alice = print(&alice, REQUEST, &[]);
        let agent = |acting: Option<&str>| {
            let acting = acting.map(|user| Principal::from_json(json!({"user_id": user})));
            Caller::Agent { id: "a".into(), acting }
        };

        assert_eq!(print(&user("alice", "k2"), REQUEST, &[]), of_alice, "another credential of the same user");
        let others = [
            print(&user("bob", "k1"), REQUEST, &[]),
            print(&Caller::Anonymous, REQUEST, &[]),
            print(&agent(None), REQUEST, &[]),
            print(&agent(Some("alice")), REQUEST, &[]),
            print(&alice, RepeatableRequest { method: "PUT", ..REQUEST }, &[]),
            print(&alice, RepeatableRequest { path: "/xa", query: "=1", ..REQUEST }, &[]),
            print(&alice, RepeatableRequest { query: "", ..REQUEST }, &[]),
            print(&alice, RepeatableRequest { body: b"{} ", ..REQUEST }, &[]),
            print(&alice, REQUEST, &[("x", b"")]),
            print(&alice, REQUEST, &[("x", b"1")]),
        ];
        let different: std::collections::HashSet<_> = others.iter().chain([&of_alice]).collect();
        assert_eq!(different.len(), others.len() + 1);
    }

    #[test]
    fn principals_without_a_name_are_told_apart_by_all_they_are() {
        let unnamed = |text: &str| Caller::Principal(Principal::from_json(json!({"subject": text})));

        assert_ne!(scope(&unnamed("a")), scope(&unnamed("b")));
    }

    #[tokio::test]
    async fn a_secret_answer_is_kept_sealed_or_not_at_all() {
        let answer = || RecordedAnswer { status: 200, headers: Vec::new(), body: Bytes::from_static(b"s3cret") };
        let key = SecretsKey::generate();
        for (keyring, secret, kept) in [
            (Keyring::new(None, ""), true, None),
            (Keyring::new(None, ""), false, Some("s3cret")),
            (Keyring::new(Some(&key), ""), true, Some("s3cret")),
        ] {
            let mut keys = willing();
            keys.expect_claim().returning(|_| Ok(Claimed::Granted));
            let reads = keyring.clone();
            let sealed = keyring.seals();
            keys.expect_finish().once().returning(move |_, _, stored| {
                let body = stored.body.as_ref();
                assert_eq!(body.map(|body| reads.open(body).unwrap()).as_deref(), kept);
                assert!(!sealed || body.is_none_or(|body| !body.contains("s3cret")));
                Ok(true)
            });
            let idempotency = idempotency(keys, keyring);

            let KeyedOutcome::Run(hold) = idempotency.claim(&Caller::Anonymous, "k", REQUEST).await.unwrap() else {
                panic!("not granted")
            };
            hold.finish(200, Some(answer()), secret).await;
        }
    }

    #[tokio::test]
    async fn an_answer_sealed_with_a_lost_key_was_not_kept_and_a_failing_store_is_no_permission() {
        let sealed = Keyring::new(Some(&SecretsKey::generate()), "").seal("{}");
        let mut keys = willing();
        keys.expect_claim().once().returning(move |_| {
            Ok(Claimed::Answered(StoredAnswer { status: 200, headers: Vec::new(), body: Some(sealed.clone()) }))
        });
        keys.expect_claim().returning(|_| Err(StoreError::Unavailable("down".into())));
        let idempotency = idempotency(keys, Keyring::new(Some(&SecretsKey::generate()), ""));

        let first = idempotency.claim(&Caller::Anonymous, "k", REQUEST).await;
        let second = idempotency.claim(&Caller::Anonymous, "k", REQUEST).await;

        assert!(matches!(first, Ok(KeyedOutcome::NotKept)));
        assert!(matches!(second, Err(Error::Store(StoreError::Unavailable(_)))));
    }
}
