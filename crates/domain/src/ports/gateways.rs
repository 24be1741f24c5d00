use std::fmt;

use async_trait::async_trait;
use serde_json::Value;

use crate::ports::StoreError;
use crate::{GatewayEventId, Timestamp};

/// Something said in a chat, about to be queued.
#[derive(Clone, PartialEq)]
pub struct NewGatewayEvent {
    /// Names it.
    pub id: GatewayEventId,
    /// The chat application.
    pub provider: String,
    /// Names of the delivery: an event of which one name is known is a repetition.
    pub keys: Vec<String>,
    /// The conversation. Its events are carried out one after the other.
    pub lane: String,
    /// What is to be done.
    pub payload: Value,
    /// When it came.
    pub at: Timestamp,
    /// From when on its names are unknown again.
    pub keys_expire_at: Timestamp,
}

/// What was said is nobody's business.
impl fmt::Debug for NewGatewayEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewGatewayEvent")
            .field("id", &self.id)
            .field("provider", &self.provider)
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

/// A queued event in the hands of who claimed it.
#[derive(Clone, PartialEq)]
pub struct GatewayEvent {
    /// Names it.
    pub id: GatewayEventId,
    /// The chat application.
    pub provider: String,
    /// The conversation.
    pub lane: String,
    /// What is to be done.
    pub payload: Value,
    /// What has been done of it, as [`GatewayRepository::note`] was told last.
    pub progress: Option<Value>,
    /// How often it was claimed, this time included.
    pub attempts: u32,
    /// When it came.
    pub at: Timestamp,
}

impl fmt::Debug for GatewayEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayEvent")
            .field("id", &self.id)
            .field("provider", &self.provider)
            .field("lane", &self.lane)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// What became of [`GatewayRepository::accept`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum GatewayAccepted {
    /// It is stored and waits to be claimed.
    New,
    /// It came before; nothing was changed.
    Seen,
}

/// Wishes to work on events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayClaim {
    /// Who wishes: a text nobody else uses, also not for another claim.
    pub holder: String,
    /// Only events of these chat applications.
    pub providers: Vec<String>,
    /// When.
    pub now: Timestamp,
    /// Until when the holder is taken to be alive without another word of it.
    pub lease_until: Timestamp,
    /// The most events.
    pub limit: u32,
}

/// Keeps what was said in chats until it is carried out. Every method is atomic by itself; an event has at most one holder
/// at a time.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait GatewayRepository: Send + Sync {
    /// Stores an event unless one of its names is known at `event.at`. Of concurrent calls that share a name exactly one
    /// stores its event. Without names it is always new.
    async fn accept(&self, event: &NewGatewayEvent) -> Result<GatewayAccepted, StoreError>;

    /// Whether events of this conversation wait or are being carried out.
    async fn is_busy(&self, lane: &str) -> Result<bool, StoreError>;

    /// Takes events that wait, or whose holder's lease has ended, longest first. Of each conversation that is the oldest
    /// event only, and none while another of its events is held. Counts as an attempt.
    async fn claim(&self, claim: &GatewayClaim) -> Result<Vec<GatewayEvent>, StoreError>;

    /// Moves the end of the holder's lease. `false`, and nothing changed, when it does not hold the event any more.
    async fn renew(&self, id: &GatewayEventId, holder: &str, lease_until: Timestamp) -> Result<bool, StoreError>;

    /// Keeps how far the holder has got. `false`, and nothing changed, when it does not hold the event any more.
    async fn note(&self, id: &GatewayEventId, holder: &str, progress: &Value) -> Result<bool, StoreError>;

    /// Gives the event back, to be claimed from `at` on. `false`, and nothing changed, when the holder does not hold it any
    /// more.
    async fn release(&self, id: &GatewayEventId, holder: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// Forgets the event; its names stay known until they expire. `false`, and nothing changed, when the holder does not
    /// hold it any more.
    async fn finish(&self, id: &GatewayEventId, holder: &str) -> Result<bool, StoreError>;

    /// Forgets names that have expired at `now`, at most `limit`, and says how many that were.
    async fn purge(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
