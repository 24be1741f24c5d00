use std::collections::BTreeMap;

use agentex_authz::{Operation, ResourceKind, ResourceRef};
use agentex_domain::ports::ChatError;
use agentex_domain::ports::{AgentFilter, AgentOrder};
use agentex_domain::{Agent, AgentStatus, Direction, JsonObject, PageRequest};
use serde_json::{Value, json};

use super::engine::{Engine, Said, Spoken};
use super::signature::is_signed;
use super::{SLACK, SlackSettings};
use crate::Error;

/// How far Slack's clock and ours may be apart, in seconds.
const MAX_SKEW: u64 = 300;
/// The most agents that are shown, which is what a dialogue can hold.
const MOST_AGENTS: usize = 100;
/// The most pages of agents that are looked through for them.
const MOST_PAGES: u64 = 50;

/// What Slack sends, believed and carried out.
pub struct SlackGateway<'a> {
    pub(super) engine: &'a Engine,
    pub(super) settings: &'a SlackSettings,
}

/// Something said in Slack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlackMessage {
    /// Names the delivery.
    pub event_id: Option<String>,
    /// The workspace.
    pub team: String,
    /// The channel.
    pub channel: String,
    /// When, which names the message in its channel.
    pub ts: String,
    /// The message whose thread it is in.
    pub thread_ts: Option<String>,
    /// What is said, without the mention of the bot.
    pub text: String,
    /// Whether it is said to the bot for sure. Otherwise it counts only in a thread in which the bot is talked to already.
    pub addressed: bool,
}

/// An agent one can talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentChoice {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
}

impl SlackGateway<'_> {
    /// Whether a request comes from Slack: its signature fits and is no older or newer than five minutes.
    #[must_use]
    pub fn is_genuine(&self, timestamp: Option<&[u8]>, signature: Option<&[u8]>, body: &[u8]) -> bool {
        if self.settings.skip_verification {
            return true;
        }
        let (Some(timestamp), Some(signature)) = (timestamp, signature) else { return false };
        let seconds = std::str::from_utf8(timestamp).ok().and_then(|text| text.trim().parse::<i64>().ok());
        let now = self.engine.now().as_micros().div_euclid(1_000_000);
        if seconds.is_none_or(|seconds| now.abs_diff(seconds) > MAX_SKEW) {
            return false;
        }
        is_signed(&self.settings.signing_secret, &[b"v0:", timestamp, b":", body], "v0=", signature)
    }

    /// Queues a message for its agent, unless it came before or is not said to the bot. It is stored when this returns.
    ///
    /// # Errors
    /// The store failed, and nothing is stored.
    #[tracing::instrument(name = "gateways.slack.heard", skip_all)]
    pub async fn heard(&self, message: SlackMessage) -> Result<(), Error> {
        let SlackMessage { event_id, team, channel, ts, thread_ts, text, addressed } = message;
        let in_thread = thread_ts.is_some();
        let thread = thread_ts.unwrap_or_else(|| ts.clone());
        let session = format!("slack:{team}:{channel}:{thread}");
        let is_for_an_agent = addressed || (in_thread && self.engine.knows(&session).await?);
        if !is_for_an_agent {
            self.engine.count(SLACK, "ignored");
            return Ok(());
        }
        let mut keys: Vec<String> = event_id.iter().map(|id| format!("slack:event:{id}")).collect();
        if !ts.is_empty() {
            // One message comes as a mention and as a message, under two names of events.
            keys.push(format!("slack:message:{team}:{channel}:{ts}"));
        }
        let mut metadata = JsonObject::new();
        metadata.insert("thread_ts".to_owned(), json!(thread));
        metadata.insert("channel_id".to_owned(), json!(channel));
        let context = format!("[Slack context] channel_id={channel} thread_ts={thread}");
        let said = Said { session, place: channel, thread: Some(thread), text, context, metadata };
        self.engine.accept(Spoken { provider: SLACK, keys, ttl: self.settings.chat.dedup_ttl, said }).await
    }

    /// The agents that the bot may run and that are ready, by name, at most a hundred. None where it cannot be told.
    #[tracing::instrument(name = "gateways.slack.agents", skip_all)]
    pub async fn agents(&self) -> Vec<AgentChoice> {
        match self.ready_agents().await {
            Ok(agents) => agents.into_iter().map(|(name, description)| AgentChoice { name, description }).collect(),
            Err(error) => {
                tracing::warn!(%error, "agents could not be listed for Slack");
                Vec::new()
            }
        }
    }

    async fn ready_agents(&self) -> Result<BTreeMap<String, String>, Error> {
        let caller = self.engine.identify(&self.settings.chat).await?;
        let guard = self.engine.guard();
        let scope = guard.visible(&caller, ResourceKind::Agent).await?.scope;
        let mut found = BTreeMap::new();
        if scope.is_empty() {
            return Ok(found);
        }
        let filter = AgentFilter { scope, task_id: None, card_metadata: None };
        for page_number in 1..=MOST_PAGES {
            let page = PageRequest { limit: 100, page_number };
            let agents = self.engine.stores().agents.list(&filter, AgentOrder::UpdatedAt, Direction::Descending, page);
            let agents = agents.await?;
            let last = agents.len() < 100;
            let ready: Vec<Agent> = agents.into_iter().filter(|agent| agent.status == AgentStatus::Ready).collect();
            let resources: Vec<ResourceRef> = ready.iter().map(|agent| ResourceRef::agent(agent.id.as_str())).collect();
            let allowed = guard.may_each(&caller, Operation::Execute, &resources).await?;
            for (agent, _) in ready.into_iter().zip(allowed).filter(|(_, allowed)| *allowed) {
                if found.len() < MOST_AGENTS {
                    found.insert(agent.name.to_string(), agent.description);
                }
            }
            if last || found.len() >= MOST_AGENTS {
                break;
            }
        }
        Ok(found)
    }

    /// The agent for whoever names none.
    #[must_use]
    pub fn default_agent(&self) -> &str {
        &self.settings.chat.default_agent
    }

    /// Opens a dialogue; answers whether that worked.
    pub async fn open_view(&self, trigger: &str, view: &Value) -> bool {
        let Some(workspace) = self.engine.workspace() else { return false };
        logged(workspace.open_view(trigger, view).await).is_some()
    }

    /// Posts into a channel, and answers what names the message there. `None` where that did not work.
    pub async fn announce(&self, channel: &str, text: &str, blocks: &Value) -> Option<String> {
        logged(self.engine.workspace()?.announce(channel, text, blocks).await)
    }
}

fn logged<T>(outcome: Result<T, ChatError>) -> Option<T> {
    outcome.inspect_err(|error| tracing::warn!(%error, "Slack did not do what it was asked")).ok()
}
