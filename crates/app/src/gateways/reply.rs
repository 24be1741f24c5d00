use agentex_authz::Scope;
use agentex_domain::ports::{Delivery, StartAt, StoreError, TaskItemFilter, TrackerOrder};
use agentex_domain::{
    AgentId, Author, Direction, EventId, Message, MessageContent, MessageCursor, MessageFilter, MessageId, PageRequest,
    StreamingStatus, TaskId, TaskStatus, TimeDirection, Timestamp,
};
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant};

use super::engine::Engine;
use crate::Error;

/// Messages read at once, and the most that count.
const PAGE: u32 = 200;
const MOST_PAGES: usize = 10;

/// The message after which an answer begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    id: MessageId,
    created_at: Timestamp,
}

/// What an answer is waited for.
pub(super) struct Awaited<'a> {
    pub(super) task: &'a TaskId,
    pub(super) agent: &'a AgentId,
    /// The event that is answered.
    pub(super) event: Option<&'a EventId>,
    /// Where the answer begins.
    pub(super) after: Option<&'a Mark>,
    /// When the agent was told.
    pub(super) since: Timestamp,
}

/// What there is of an answer.
#[derive(Debug, Default, PartialEq)]
struct Sofar {
    text: String,
    messages: usize,
    /// Whether a message is still being written.
    growing: bool,
}

/// Why waiting ended.
pub(super) enum Waited {
    /// With the answer, or what there was of it.
    Answer(String),
    /// The process stops; another one goes on.
    Stopped,
}

/// What the task's stream said.
enum Heard {
    /// Something that may have ended the turn.
    Step,
    /// The agent is at it.
    Activity,
    /// Nothing, for as long as one waits.
    Silence,
    Stop,
}

impl Engine {
    /// The newest message of the task.
    pub(super) async fn mark(&self, task: &TaskId) -> Result<Option<Mark>, StoreError> {
        let messages = &self.stores().messages;
        let page = messages.page(task, &MessageFilter::default(), None, TimeDirection::Older, 1).await?;
        Ok(page.messages.into_iter().next().map(|Message { id, created_at, .. }| Mark { id, created_at }))
    }

    /// What the agent says, once its turn has ended: the task ended or was interrupted, the agent says that it has processed
    /// the event, or nothing has changed for a while. The task's stream tells when to look; where it says nothing, one looks
    /// now and then.
    pub(super) async fn answer(&self, awaited: &Awaited<'_>) -> Result<Waited, Error> {
        let replies = &self.settings().replies;
        let waited = u64::try_from(self.now().as_micros().saturating_sub(awaited.since.as_micros())).unwrap_or(0);
        let left = replies.deadline.saturating_sub(Duration::from_micros(waited));
        // Whoever takes over late still looks whether there is an answer.
        let deadline = Instant::now() + left.max(replies.quiet + replies.poll);
        let mut deliveries = self.deliveries(awaited.task).await;
        let mut sofar = Sofar::default();
        let mut changed = Instant::now();
        loop {
            let ended = self.has_ended(awaited).await?;
            let now = self.so_far(awaited).await?;
            if now != sofar {
                (sofar, changed) = (now, Instant::now());
            }
            let settled = !sofar.text.is_empty() && !sofar.growing && changed.elapsed() >= replies.quiet;
            if ended || settled || Instant::now() >= deadline {
                return Ok(Waited::Answer(sofar.text));
            }
            let mut look = Instant::now() + replies.poll;
            if !sofar.text.is_empty() && !sofar.growing {
                look = look.min(changed + replies.quiet);
            }
            loop {
                match self.hear(&mut deliveries, look.min(deadline)).await {
                    Heard::Activity => changed = Instant::now(),
                    Heard::Step => {
                        changed = Instant::now();
                        break;
                    }
                    Heard::Silence => break,
                    Heard::Stop => return Ok(Waited::Stopped),
                }
            }
        }
    }

    /// What happens in the task from now on; nothing at all where the stream cannot be had.
    async fn deliveries(&self, task: &TaskId) -> BoxStream<'static, Delivery> {
        match self.parts().streams.subscribe(task, StartAt::Now).await {
            Ok(subscription) => subscription.deliveries.chain(stream::pending()).boxed(),
            Err(error) => {
                tracing::warn!(task.id = %task, %error, "the stream of a task cannot be followed; looking now and then");
                stream::pending().boxed()
            }
        }
    }

    async fn hear(&self, deliveries: &mut BoxStream<'static, Delivery>, until: Instant) -> Heard {
        tokio::select! {
            biased;
            () = self.parts().shutdown.cancelled() => Heard::Stop,
            () = tokio::time::sleep_until(until) => Heard::Silence,
            delivery = deliveries.next() => match delivery {
                Some(Delivery::Entry(entry)) if is_fragment(&entry.data) => Heard::Activity,
                _ => Heard::Step,
            },
        }
    }

    async fn has_ended(&self, awaited: &Awaited<'_>) -> Result<bool, StoreError> {
        let task = self.stores().tasks.find(awaited.task).await?;
        if task.is_none_or(|task| task.status != TaskStatus::Running) {
            return Ok(true);
        }
        let Some(event) = awaited.event else { return Ok(false) };
        let filter = TaskItemFilter {
            scope: Scope::All,
            linked_to: None,
            task_id: Some(awaited.task.clone()),
            agent_id: Some(awaited.agent.clone()),
        };
        let page = PageRequest { limit: 1, page_number: 1 };
        let trackers = &self.stores().trackers;
        let trackers = trackers.list(&filter, TrackerOrder::UpdatedAt, Direction::Descending, page).await?;
        Ok(trackers.iter().any(|tracker| tracker.last_processed_event_id.as_ref() == Some(event)))
    }

    async fn so_far(&self, awaited: &Awaited<'_>) -> Result<Sofar, StoreError> {
        let mut cursor = awaited.after.map(|mark| MessageCursor {
            id: mark.id.clone(),
            created_at: mark.created_at,
            seq: None,
            task_id: Some(awaited.task.clone()),
        });
        let (mut texts, mut sofar) = (Vec::new(), Sofar::default());
        for _ in 0..MOST_PAGES {
            let messages = &self.stores().messages;
            let filter = MessageFilter::default();
            let page = messages.page(awaited.task, &filter, cursor, TimeDirection::Newer, PAGE).await?;
            sofar.messages += page.messages.len();
            sofar.growing |=
                page.messages.iter().any(|message| message.streaming_status == Some(StreamingStatus::InProgress));
            texts.extend(
                page.messages.iter().rev().filter_map(|message| said_by_agent(&message.content)).map(str::to_owned),
            );
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        sofar.text = joined(texts.iter().map(String::as_str));
        Ok(sofar)
    }
}

/// The texts of an agent among messages in their order, with blank lines between.
pub(super) fn text_of(messages: &[Message]) -> String {
    joined(messages.iter().filter_map(|message| said_by_agent(&message.content)))
}

fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join("\n\n")
}

fn said_by_agent(content: &MessageContent) -> Option<&str> {
    match content {
        MessageContent::Text { author: Author::Agent, content, .. } => {
            Some(content.trim()).filter(|text| !text.is_empty())
        }
        _ => None,
    }
}

/// Whether an entry of a stream is a piece of a message that goes on.
fn is_fragment(entry: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow)]
        kind: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Kind<'_>>(entry).is_ok_and(|entry| matches!(&*entry.kind, "start" | "delta"))
}
