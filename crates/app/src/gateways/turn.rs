use agentex_domain::ports::{ChatError, GatewayEvent, StoreError};
use agentex_domain::{
    AgentId, Author, EventId, JsonObject, MessageContent, Style, TaskId, TaskStatus, TextFormat, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::engine::{Chat, Engine, Said, bot_headers};
use super::reply::{Awaited, Mark, Waited, text_of};
use crate::{AgentSelector, Caller, Error, RequestContext, RpcOutcome, RpcRequest, TaskSelector};

const FAILED: &str = "Something went wrong handling that. Please retry.";
const POST_YOURSELF: &str = "[Slack instructions] Post your own replies to this thread with your Slack tools; nothing else \
                             that you answer is shown there.";
/// How often a turn is begun that takes its process down.
const ATTEMPTS: u32 = 3;

/// One turn: something said, carried out as the bot.
pub(super) struct Turn<'a> {
    engine: &'a Engine,
    chat: Chat<'a>,
    event: GatewayEvent,
    holder: &'a str,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The agent had its say.
    Answered,
    /// The bot may not do that.
    Denied,
    /// Something did not work, and people were told so.
    Failed,
    /// Another process goes on with it.
    Later,
}

impl Ending {
    pub(super) const fn outcome(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Later => "released",
        }
    }
}

/// What a turn has come to, kept beside its event: whoever takes over goes on from here. The call itself is named for the
/// event, so that making it again says nothing twice; only the agent may be called once more, where a process ends between
/// the call and the note of it.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    agent: AgentId,
    agent_name: String,
    is_sync: bool,
    task_name: String,
    config: Option<String>,
    prompt: String,
    /// The task of an agent that answers later.
    task: Option<TaskId>,
    /// The message after which its answer begins.
    after: Option<Mark>,
    /// That it was told, and when.
    told: Option<(EventId, Timestamp)>,
}

/// What is said back.
enum Answer {
    Text(String),
    /// The agent posts by itself.
    Posted,
    Stopped,
}

/// Why a turn has no answer.
enum Stop {
    Denied(String),
    Failed(Error),
    /// Somebody else holds the event.
    Lost,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl<'a> Turn<'a> {
    pub(super) const fn new(engine: &'a Engine, chat: Chat<'a>, event: GatewayEvent, holder: &'a str) -> Self {
        Self { engine, chat, event, holder }
    }

    /// Carries it out and says back what came of it.
    pub(super) async fn run(self) -> Ending {
        let Ok(said) = serde_json::from_value::<Said>(self.event.payload.clone()) else {
            tracing::error!("a queued chat message cannot be read");
            return Ending::Failed;
        };
        let to = said.conversation();
        let provider = self.chat.provider.as_deref();
        if self.event.attempts > ATTEMPTS {
            tracing::error!(attempts = self.event.attempts, "a turn was begun too often and is given up");
            sent(match provider {
                Some(provider) => provider.fail(&to, FAILED).await,
                None => Ok(()),
            });
            return Ending::Failed;
        }
        if let Some(provider) = provider.filter(|_| self.event.progress.is_none()) {
            sent(provider.begin(&to).await);
        }
        let (ending, text) = match self.answer(&said).await {
            Ok(Answer::Text(text)) => (Ending::Answered, Some(text)),
            Ok(Answer::Posted) => (Ending::Answered, None),
            Ok(Answer::Stopped) | Err(Stop::Lost) => (Ending::Later, None),
            Err(Stop::Denied(agent)) => (Ending::Denied, Some(format!("You're not authorized to run {agent}."))),
            Err(Stop::Failed(error)) => {
                tracing::warn!(%error, "a turn of a chat failed");
                (Ending::Failed, Some(FAILED.to_owned()))
            }
        };
        if let Some((provider, text)) = provider.zip(text) {
            sent(match ending {
                Ending::Failed => provider.fail(&to, &text).await,
                _ => provider.reply(&to, &text).await,
            });
        }
        ending
    }

    async fn answer(&self, said: &Said) -> Result<Answer, Stop> {
        let caller = self.engine.identify(self.chat.settings).await?;
        let known = self.event.progress.clone().and_then(|progress| serde_json::from_value::<Plan>(progress).ok());
        let mut plan = match known {
            Some(plan) => plan,
            None => {
                let plan = self.plan(said).await?;
                self.note(&plan).await?;
                plan
            }
        };
        let posts = self.chat.default_posts && plan.agent_name == self.chat.settings.default_agent;
        let content = content(said, &plan.prompt, posts);
        let text = if plan.is_sync {
            self.ask(&caller, &plan, content).await?
        } else {
            self.tell(&caller, &mut plan, said, content).await?;
            if posts {
                return Ok(Answer::Posted);
            }
            let (Some(task), Some((event, since))) = (&plan.task, &plan.told) else { return Err(Stop::Lost) };
            let awaited =
                Awaited { task, agent: &plan.agent, event: Some(event), after: plan.after.as_ref(), since: *since };
            match self.engine.answer(&awaited).await? {
                Waited::Answer(text) => text,
                Waited::Stopped => return Ok(Answer::Stopped),
            }
        };
        if posts {
            return Ok(Answer::Posted);
        }
        let agent = &plan.agent_name;
        Ok(Answer::Text(match text.is_empty() {
            true => format!("_(no reply from {agent})_"),
            false => format!("{text}\n\n_via {agent}_"),
        }))
    }

    async fn plan(&self, said: &Said) -> Result<Plan, Error> {
        let target = self.engine.target(&self.chat, said).await?;
        Ok(Plan {
            is_sync: target.agent.acp_type.is_sync(),
            agent: target.agent.id,
            agent_name: target.agent.name,
            task_name: target.task_name,
            config: target.config,
            prompt: target.prompt,
            task: None,
            after: None,
            told: None,
        })
    }

    async fn note(&self, plan: &Plan) -> Result<(), Stop> {
        let progress = serde_json::to_value(plan).unwrap_or_default();
        match self.engine.stores().gateways.note(&self.event.id, self.holder, &progress).await? {
            true => Ok(()),
            false => Err(Stop::Lost),
        }
    }

    /// Talks to an agent that answers within the call.
    async fn ask(&self, caller: &Caller, plan: &Plan, content: MessageContent) -> Result<String, Stop> {
        let first = self.engine.stores().tasks.find_by_name(&plan.task_name).await?.is_none();
        let params = if first { self.params(plan) } else { None };
        let request = RpcRequest::SendMessage {
            task: Some(TaskSelector::Name(plan.task_name.clone())),
            content,
            stream: false,
            task_params: params,
        };
        match self.call(caller, plan, request).await? {
            RpcOutcome::Messages(messages) => Ok(text_of(&messages)),
            _ => Err(Stop::Failed(Error::Rpc("the agent answered something else".to_owned()))),
        }
    }

    /// Tells something to an agent that answers later, making the task where there is none that goes on.
    async fn tell(&self, caller: &Caller, plan: &mut Plan, said: &Said, content: MessageContent) -> Result<(), Stop> {
        if plan.told.is_some() {
            return Ok(());
        }
        let task = match &plan.task {
            Some(task) => task.clone(),
            None => {
                let task = self.task(caller, plan, said).await?;
                plan.after = self.engine.mark(&task).await?;
                plan.task = Some(task.clone());
                self.note(plan).await?;
                task
            }
        };
        let request = RpcRequest::SendEvent { task: TaskSelector::Id(task), content: Some(content) };
        let RpcOutcome::Event(event) = self.call(caller, plan, request).await? else {
            return Err(Stop::Failed(Error::Rpc("no event was answered".to_owned())));
        };
        plan.told = Some((event.id, self.engine.now()));
        self.note(plan).await
    }

    async fn task(&self, caller: &Caller, plan: &Plan, said: &Said) -> Result<TaskId, Stop> {
        let known = self.engine.stores().tasks.find_by_name(&plan.task_name).await?;
        if let Some(task) = &known
            && task.status != TaskStatus::Failed
        {
            return Ok(task.id.clone());
        }
        // A task that failed is told of once more, so that people can go on in their thread.
        let params = if known.is_none() { self.params(plan) } else { None };
        let request = RpcRequest::CreateTask {
            name: Some(plan.task_name.clone()),
            params,
            task_metadata: Some(self.metadata(plan, said)),
        };
        match self.call(caller, plan, request).await? {
            RpcOutcome::Task(task) => Ok(task.id),
            _ => Err(Stop::Failed(Error::Rpc("no task was answered".to_owned()))),
        }
    }

    /// Through the one gate of every call, as the bot. Whoever meets somebody who makes the same task tries again.
    async fn call(&self, caller: &Caller, plan: &Plan, request: RpcRequest) -> Result<RpcOutcome, Stop> {
        let rpc = &self.engine.parts().rpc;
        let delivery = format!("gateway:{}", self.event.id);
        let mut inbound = bot_headers(self.chat.settings);
        // Agents that look at it can tell a repeated call.
        inbound.push(("x-idempotency-key".to_owned(), delivery.clone()));
        let context = RequestContext { inbound, request_id: self.event.id.to_string() };
        let mut attempt = 1;
        loop {
            let agent = AgentSelector::Id(plan.agent.clone());
            let outcome = match rpc.authorize(caller, agent, request.clone(), context.clone()).await {
                Ok(call) => rpc.dispatch(call.delivering(delivery.clone())).await,
                Err(error) => Err(error),
            };
            match outcome {
                Err(Error::Forbidden { .. } | Error::NotFound(_)) => return Err(Stop::Denied(plan.agent_name.clone())),
                Err(Error::Store(StoreError::Duplicate { .. })) if attempt < self.chat.settings.create_attempts => {
                    attempt += 1;
                    tokio::time::sleep(self.chat.settings.create_backoff).await;
                }
                outcome => return outcome.map_err(Stop::Failed),
            }
        }
    }

    /// What the agent is told with the first turn.
    fn params(&self, plan: &Plan) -> Option<JsonObject> {
        let mut params = JsonObject::new();
        if let Some(config) = &plan.config {
            params.insert("config_id".to_owned(), json!(config));
        }
        if !self.chat.mcps.is_empty() {
            params.insert("mcps".to_owned(), json!(self.chat.mcps));
        }
        (!params.is_empty()).then_some(params)
    }

    fn metadata(&self, plan: &Plan, said: &Said) -> JsonObject {
        let mut metadata = said.metadata.clone();
        metadata.insert("channel".to_owned(), json!(self.chat.name));
        metadata.insert("sender_id".to_owned(), json!(plan.agent_name));
        if let Some(config) = &plan.config {
            metadata.insert("config_id".to_owned(), json!(config));
        }
        metadata
    }
}

fn content(said: &Said, prompt: &str, posts: bool) -> MessageContent {
    let instruction = if posts { format!("\n{POST_YOURSELF}") } else { String::new() };
    MessageContent::Text {
        author: Author::User,
        style: Style::default(),
        format: TextFormat::Markdown,
        content: format!("{}{instruction}\n\n{prompt}", said.context),
        attachments: None,
    }
}

/// What chat applications do not take is lost; a turn goes on without it.
fn sent(outcome: Result<(), ChatError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "a chat application did not take a message");
    }
}
