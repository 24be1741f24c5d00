use std::sync::Arc;
use std::time::Duration;

use agentex_authz::CredentialHeaders;
use agentex_domain::ports::{
    ChatProvider, ChatWorkspace, Conversation, GatewayAccepted, GatewayClaim, GatewayEvent, NewGatewayEvent, Stores,
};
use agentex_domain::{GatewayEventId, JsonObject, Timestamp};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::target::Configs;
use super::turn::{Ending, Turn};
use super::{ChatSettings, GatewaySettings, LINEAR, Parts, SLACK};
use crate::guard::Guard;
use crate::{Caller, Error, Keyring};

/// Turns that one process carries out at the same time.
const AT_ONCE: usize = 64;
/// How long a holder that says nothing is taken to be alive, and how often it says something.
const LEASE: Duration = Duration::from_secs(60);
const RENEWAL: Duration = Duration::from_secs(20);
/// Pause between looks for what other processes accepted or left.
const PAUSE: Duration = Duration::from_secs(1);
/// Looks between two drops of expired names, and the most that one drops.
const LOOKS_PER_PURGE: u64 = 60;
const PURGED_AT_ONCE: u32 = 1000;
/// Longest text in a session's name: it names a task.
const LONGEST_NAME: usize = 250;

/// What all gateways share: the queue, and what carries it out.
pub(super) struct Engine {
    parts: Parts,
    configs: Configs,
    /// Something was accepted here, or a conversation is free for its next turn.
    wake: Notify,
    free: Arc<Semaphore>,
}

/// What is stored of something said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Said {
    /// The conversation, which is the name of its task.
    pub(super) session: String,
    /// Where answers go.
    pub(super) place: String,
    pub(super) thread: Option<String>,
    /// What was said.
    pub(super) text: String,
    /// One line that tells the agent where.
    pub(super) context: String,
    /// For the task.
    pub(super) metadata: JsonObject,
}

impl Said {
    pub(super) fn conversation(&self) -> Conversation {
        Conversation { place: self.place.clone(), thread: self.thread.clone() }
    }
}

/// Something said, with how it is known again.
pub(super) struct Spoken {
    pub(super) provider: &'static str,
    pub(super) keys: Vec<String>,
    pub(super) ttl: Duration,
    pub(super) said: Said,
}

/// One chat application as turns see it.
pub(super) struct Chat<'a> {
    pub(super) name: &'static str,
    /// None where nobody gave a way out: then nothing is sent.
    pub(super) provider: Option<Arc<dyn ChatProvider>>,
    pub(super) settings: &'a ChatSettings,
    /// Told to agents with the first turn.
    pub(super) mcps: &'a [String],
    /// Whether the default agent posts its answers by itself.
    pub(super) default_posts: bool,
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts, configs: Configs::default(), wake: Notify::new(), free: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    pub(super) const fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(super) const fn configs(&self) -> &Configs {
        &self.configs
    }

    pub(super) const fn settings(&self) -> &GatewaySettings {
        &self.parts.settings
    }

    pub(super) const fn guard(&self) -> &Guard {
        &self.parts.guard
    }

    pub(super) const fn stores(&self) -> &Stores {
        &self.parts.stores
    }

    pub(super) fn workspace(&self) -> Option<&Arc<dyn ChatWorkspace>> {
        self.parts.chat.slack.as_ref()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    pub(super) fn count(&self, provider: &'static str, outcome: &'static str) {
        metrics::counter!("gateway.events", "provider" => provider, "outcome" => outcome).increment(1);
    }

    /// The chat application of this name, where it is on.
    pub(super) fn chat(&self, name: &str) -> Option<Chat<'_>> {
        let GatewaySettings { slack, linear, .. } = &self.parts.settings;
        match name {
            SLACK => slack.as_ref().map(|settings| Chat {
                name: SLACK,
                provider: self.parts.chat.slack.clone().map(|slack| slack as Arc<dyn ChatProvider>),
                settings: &settings.chat,
                mcps: &settings.mcps,
                default_posts: true,
            }),
            LINEAR => linear.as_ref().map(|settings| Chat {
                name: LINEAR,
                provider: self.parts.chat.linear.clone(),
                settings: &settings.chat,
                mcps: &[],
                default_posts: false,
            }),
            _ => None,
        }
    }

    fn providers(&self) -> Vec<String> {
        [SLACK, LINEAR].into_iter().filter(|name| self.chat(name).is_some()).map(str::to_owned).collect()
    }

    /// Who all turns of a chat run as: whoever the bot's credential belongs to; nobody where it has none, but only if
    /// nobody authenticates at all.
    pub(super) async fn identify(&self, settings: &ChatSettings) -> Result<Caller, Error> {
        let headers = CredentialHeaders::new(bot_headers(settings));
        let principal = self.parts.authentication.principal(&headers).await?;
        match (principal, &settings.api_key) {
            (Some(principal), Some(_)) => Ok(Caller::Principal(principal)),
            (Some(_), None) => Err(Error::Unauthenticated),
            (None, _) => Ok(Caller::Anonymous),
        }
    }

    /// Whether somebody talked to the bot in this conversation before.
    pub(super) async fn knows(&self, session: &str) -> Result<bool, Error> {
        let session = storable(session);
        let stores = &self.parts.stores;
        Ok(stores.tasks.find_by_name(&session).await?.is_some() || stores.gateways.is_busy(&session).await?)
    }

    /// Stores what was said, unless it came before, and sees to it that it is carried out.
    pub(super) async fn accept(&self, spoken: Spoken) -> Result<(), Error> {
        let Spoken { provider, keys, ttl, mut said } = spoken;
        said.session = storable(&said.session);
        let now = self.now();
        let mut payload = serde_json::to_value(&said).unwrap_or_default();
        without_nul(&mut payload);
        let event = NewGatewayEvent {
            id: GatewayEventId::generate(),
            provider: provider.to_owned(),
            keys: keys.iter().map(|key| storable(key)).collect(),
            lane: said.session,
            payload,
            at: now,
            keys_expire_at: after(now, ttl),
        };
        match self.parts.stores.gateways.accept(&event).await? {
            GatewayAccepted::New => {
                self.count(provider, "accepted");
                self.wake.notify_one();
            }
            GatewayAccepted::Seen => self.count(provider, "seen"),
        }
        Ok(())
    }

    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        if self.providers().is_empty() {
            return;
        }
        let mut pauses = tokio::time::interval(PAUSE);
        pauses.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks: u64 = 0;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                _ = pauses.tick() => {}
            }
            if looks.is_multiple_of(LOOKS_PER_PURGE)
                && let Err(error) = self.parts.stores.gateways.purge(self.now(), PURGED_AT_ONCE).await
            {
                tracing::warn!(%error, "names of chat messages could not be forgotten");
            }
            looks += 1;
            if let Err(error) = self.start_due().await {
                tracing::warn!(%error, "chat messages could not be read");
            }
        }
    }

    /// Starts as many turns as there is room for.
    async fn start_due(self: &Arc<Self>) -> Result<(), Error> {
        while let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            let Some((event, holder)) = self.claim(1).await?.pop() else { return Ok(()) };
            let engine = Arc::clone(self);
            self.parts.background.spawn(async move {
                engine.drive(event, &holder).await;
                drop(permit);
                engine.wake.notify_one();
            });
        }
        Ok(())
    }

    pub(super) async fn run_due(&self) -> Result<usize, Error> {
        let mut turns = 0;
        loop {
            let claimed = self.claim(u32::try_from(AT_ONCE).expect("it is a small number")).await?;
            if claimed.is_empty() {
                return Ok(turns);
            }
            turns += claimed.len();
            futures::stream::iter(claimed)
                .for_each_concurrent(AT_ONCE, |(event, holder)| async move { self.drive(event, &holder).await })
                .await;
        }
    }

    async fn claim(&self, limit: u32) -> Result<Vec<(GatewayEvent, String)>, Error> {
        let (holder, now) = (Keyring::mint(), self.now());
        let claim = GatewayClaim {
            holder: holder.clone(),
            providers: self.providers(),
            now,
            lease_until: after(now, LEASE),
            limit,
        };
        let claimed = self.parts.stores.gateways.claim(&claim).await?;
        Ok(claimed.into_iter().map(|event| (event, holder.clone())).collect())
    }

    /// Carries one event out, as long as it is held.
    #[tracing::instrument(name = "gateways.turn", skip_all, fields(event = %event.id, provider = event.provider))]
    async fn drive(&self, event: GatewayEvent, holder: &str) {
        let started = std::time::Instant::now();
        let Some(chat) = self.chat(&event.provider) else { return };
        let (name, id) = (chat.name, event.id.clone());
        let ending = tokio::select! {
            ending = Turn::new(self, chat, event, holder).run() => ending,
            () = self.lose(&id, holder) => {
                tracing::warn!("another process has taken over a turn");
                return;
            }
        };
        self.count(name, ending.outcome());
        let (gateways, now) = (&self.parts.stores.gateways, self.now());
        let settled = match ending {
            Ending::Later => gateways.release(&id, holder, now).await,
            _ => {
                metrics::histogram!("gateway.turn.duration", "provider" => name)
                    .record(started.elapsed().as_secs_f64());
                gateways.finish(&id, holder).await
            }
        };
        if let Err(error) = settled {
            tracing::warn!(%error, "a turn that is over could not be taken off the queue");
        }
    }

    /// Says now and then that the holder is alive; returns when somebody else holds the event.
    async fn lose(&self, id: &GatewayEventId, holder: &str) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            match self.parts.stores.gateways.renew(id, holder, after(self.now(), LEASE)).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(%error, "the lease of a turn could not be renewed"),
            }
        }
    }
}

/// The bot's credential as requests carry it.
pub(super) fn bot_headers(settings: &ChatSettings) -> Vec<(String, String)> {
    let Some(api_key) = &settings.api_key else { return Vec::new() };
    let account = settings.account.iter().map(|account| ("x-selected-account-id".to_owned(), account.clone()));
    std::iter::once(("x-api-key".to_owned(), api_key.clone())).chain(account).collect()
}

/// Text that every store takes as a name.
fn storable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(LONGEST_NAME).collect()
}

/// PostgreSQL keeps no U+0000.
fn without_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', ""),
        Value::Array(items) => items.iter_mut().for_each(without_nul),
        Value::Object(members) => members.values_mut().for_each(without_nul),
        _ => {}
    }
}

fn after(now: Timestamp, duration: Duration) -> Timestamp {
    const CENTURY: i64 = 100 * 365 * 24 * 3600 * 1000;
    now.plus_millis(i64::try_from(duration.as_millis()).unwrap_or(CENTURY).min(CENTURY))
}
