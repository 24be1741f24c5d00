use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use agentex_domain::ports::{AgentRequest, StoreError, UpdateStream};
use agentex_domain::{
    Accumulator, Delta, Message, MessageContent, MessageId, MessageUpdate, StreamingStatus, Task, Timestamp,
};
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Inner;
use super::dispatch::Job;
use super::update::{Parent, TurnUpdate};
use crate::Error;

/// Lines of a streamed reply that may wait for a slow caller; beyond that the agent waits.
const BUFFERED_LINES: usize = 32;

/// One turn of an agent that answers within the call: the input message is stored, the agent's updates are folded into
/// messages, and whatever happens what was received is kept.
pub(super) struct Turn<'a> {
    inner: &'a Inner,
    task: Task,
    slots: BTreeMap<Option<i64>, Slot>,
}

/// One message of the reply.
#[derive(Default)]
struct Slot {
    folded: Accumulator,
    /// The stored message, once there is one.
    parent: Option<Arc<Parent>>,
    /// The final content, once it is known.
    finished: Option<MessageContent>,
    /// Fragments that the stored message lacks.
    dirty: bool,
    stored_at: Option<Instant>,
}

impl<'a> Turn<'a> {
    /// Stores the input message, with an `id` unless it is stored already, and calls the agent. If either fails the task is marked failed.
    pub(super) async fn begin(
        inner: &'a Inner,
        job: &Job,
        task: Task,
        content: MessageContent,
        id: Option<MessageId>,
    ) -> Result<(Turn<'a>, UpdateStream), Error> {
        let repeatable = id.is_some();
        let mut input = Message::new(task.id.clone(), content.clone(), Some(StreamingStatus::Done), inner.clock.now());
        if let Some(id) = id {
            input.id = id;
        }
        match store_new(inner, &task, &[input]).await {
            Ok(()) => {}
            Err(Error::Store(StoreError::Duplicate { .. })) if repeatable => {}
            Err(error) => return Err(inner.fail_task(&task.id, error).await),
        }
        match inner.agent_client.stream(job.call(&task, AgentRequest::SendMessage { content })).await {
            Ok(updates) => Ok((Self { inner, task, slots: BTreeMap::new() }, updates)),
            Err(error) => Err(inner.fail_task(&task.id, error.into()).await),
        }
    }

    /// Reads the whole reply and stores its messages together, in the order of their indexes.
    pub(super) async fn collect(mut self, mut updates: UpdateStream) -> Result<Vec<Message>, Error> {
        let mut failure = None;
        while let Some(update) = updates.next().await {
            if let Err(error) = update.map_err(Error::from).and_then(|update| self.fold(update)) {
                failure = Some(error);
                break;
            }
        }
        let mut contents = Vec::with_capacity(self.slots.len());
        for slot in self.slots.values() {
            match slot.result() {
                Ok(content) => contents.extend(content),
                Err(error) => {
                    contents.extend(slot.folded.salvage());
                    failure.get_or_insert(error);
                }
            }
        }
        let now = self.inner.clock.now();
        let messages: Vec<Message> = contents
            .into_iter()
            .zip(0_i64..)
            .map(|(content, offset)| self.message(content, StreamingStatus::Done, now.plus_millis(offset)))
            .collect();
        if let Err(error) = store_new(self.inner, &self.task, &messages).await {
            failure.get_or_insert(error);
        }
        match failure {
            None => Ok(messages),
            Some(error) => Err(self.inner.fail_task(&self.task.id, error).await),
        }
    }

    /// Folds one update without storing anything.
    fn fold(&mut self, update: MessageUpdate) -> Result<(), Error> {
        let index = update.index().ok_or_else(|| Error::Rpc("Task message index is required".to_owned()))?;
        let slot = self.slots.entry(Some(index)).or_default();
        if slot.finished.is_some() {
            return Ok(());
        }
        match update {
            MessageUpdate::Start { content, .. } => slot.folded.start(content),
            MessageUpdate::Delta { delta: Some(delta), .. } => slot.folded.add(&delta)?,
            MessageUpdate::Delta { delta: None, .. } => {}
            MessageUpdate::Full { content, .. } => slot.finished = Some(content),
            MessageUpdate::Done { .. } => slot.finished = slot.folded.content()?,
        }
        Ok(())
    }

    /// Passes the reply on as it comes, storing each message when it begins, now and then while it grows, and when it
    /// ends. A caller that goes away ends the turn: what came so far is stored, the task goes on.
    pub(super) async fn relay(mut self, mut updates: UpdateStream, sink: &Sink) -> Result<(), Error> {
        let end = loop {
            let update = tokio::select! {
                biased;
                () = sink.lines.closed() => break End::CallerGone,
                update = updates.next() => update,
            };
            match update {
                None => break End::AgentDone,
                Some(Err(error)) => break End::Failed(error.into()),
                Some(Ok(update)) => match self.relay_one(update, sink).await {
                    Ok(()) => {}
                    Err(Stop::CallerGone) => break End::CallerGone,
                    Err(Stop::Failed(error)) => break End::Failed(error),
                },
            }
        };
        // Closes the agent's connection before anything else is waited for.
        drop(updates);
        let emit_to = matches!(end, End::AgentDone).then_some(sink);
        let flushed = self.flush(emit_to).await;
        match (end, flushed) {
            (End::CallerGone, flushed) => {
                if let Err(error) = flushed {
                    tracing::error!(task.id = %self.task.id, %error, "reply of an abandoned turn could not be stored");
                }
                Ok(())
            }
            (End::AgentDone, Ok(())) => Ok(()),
            (End::AgentDone, Err(error)) => Err(self.inner.fail_task(&self.task.id, error).await),
            (End::Failed(error), flushed) => {
                if let Err(error) = flushed {
                    tracing::error!(task.id = %self.task.id, %error, "reply of a failed turn could not be stored");
                }
                Err(self.inner.fail_task(&self.task.id, error).await)
            }
        }
    }

    async fn relay_one(&mut self, update: MessageUpdate, sink: &Sink) -> Result<(), Stop> {
        let key = update.index();
        let mut slot = self.slots.remove(&key).unwrap_or_default();
        let outcome = self.relay_into(&mut slot, update, sink).await;
        self.slots.insert(key, slot);
        outcome
    }

    async fn relay_into(&mut self, slot: &mut Slot, update: MessageUpdate, sink: &Sink) -> Result<(), Stop> {
        if slot.finished.is_some() {
            return Ok(());
        }
        match &update {
            MessageUpdate::Start { content, .. } => {
                if slot.parent.is_none() {
                    slot.folded.start(content.clone());
                    self.insert(slot, content.clone(), StreamingStatus::InProgress).await?;
                }
            }
            MessageUpdate::Delta { index, delta: Some(delta), .. } => {
                slot.folded.add(delta).map_err(Error::from)?;
                if slot.parent.is_none() {
                    let index = *index;
                    self.begin_with(slot, index, delta, sink).await?;
                } else {
                    slot.dirty = true;
                    self.checkpoint(slot).await?;
                }
            }
            MessageUpdate::Delta { delta: None, .. } => {}
            MessageUpdate::Full { content, .. } => {
                slot.finished = Some(content.clone());
                self.store_final(slot, content.clone()).await?;
            }
            MessageUpdate::Done { .. } => {
                if let Some(content) = slot.folded.content().map_err(Error::from)? {
                    slot.finished = Some(content.clone());
                    self.store_final(slot, content).await?;
                }
            }
        }
        sink.send(TurnUpdate { update, parent: slot.parent.clone() }).await
    }

    /// Begins a message whose agent sent no `start`: one is made up, so that every message a caller sees has one.
    async fn begin_with(
        &mut self,
        slot: &mut Slot,
        index: Option<i64>,
        delta: &Delta,
        sink: &Sink,
    ) -> Result<(), Stop> {
        let content = Accumulator::initial_content(delta);
        self.insert(slot, content.clone(), StreamingStatus::InProgress).await?;
        let update = MessageUpdate::Start { index, parent_task_message: None, content };
        sink.send(TurnUpdate { update, parent: slot.parent.clone() }).await
    }

    async fn insert(&self, slot: &mut Slot, content: MessageContent, status: StreamingStatus) -> Result<(), Error> {
        let message = self.message(content, status, self.inner.clock.now());
        store_new(self.inner, &self.task, std::slice::from_ref(&message)).await?;
        slot.parent = Some(Parent::new(message));
        slot.stored_at = Some(Instant::now());
        Ok(())
    }

    /// Stores the text so far if that was not done for a while, so that a crash loses little of a long reply.
    async fn checkpoint(&self, slot: &mut Slot) -> Result<(), Error> {
        let due = slot.stored_at.is_none_or(|at| at.elapsed() >= self.inner.settings.turn_checkpoint);
        let Some(parent) = slot.parent.as_ref().filter(|_| due) else { return Ok(()) };
        // Half a JSON document is no content; such a message keeps what it began with until it is done.
        if let Ok(Some(content)) = slot.folded.content() {
            self.update(parent, &content, None).await?;
            slot.dirty = false;
        }
        slot.stored_at = Some(Instant::now());
        Ok(())
    }

    async fn store_final(&self, slot: &mut Slot, content: MessageContent) -> Result<(), Error> {
        slot.dirty = false;
        match &slot.parent {
            Some(parent) => {
                let message = self.update(parent, &content, Some(StreamingStatus::Done)).await?;
                slot.parent = Some(Parent::new(message));
                Ok(())
            }
            None => self.insert(slot, content, StreamingStatus::Done).await,
        }
    }

    async fn update(
        &self,
        parent: &Parent,
        content: &MessageContent,
        status: Option<StreamingStatus>,
    ) -> Result<Message, Error> {
        let Message { task_id, id, .. } = &parent.message;
        let updated = self.inner.stores.messages.update(task_id, id, content, status, self.inner.clock.now()).await?;
        updated.ok_or_else(|| Error::Rpc(format!("Task {task_id} not found")))
    }

    /// Stores every message that has not ended as it is, done. With a sink the ends are told, too.
    async fn flush(&mut self, sink: Option<&Sink>) -> Result<(), Error> {
        let mut failure = None;
        for (index, slot) in std::mem::take(&mut self.slots) {
            if slot.finished.is_some() {
                continue;
            }
            let mut slot = slot;
            let content = match slot.result() {
                Ok(content) => content,
                Err(error) => {
                    failure.get_or_insert(error);
                    slot.folded.salvage()
                }
            };
            let Some(content) = content.or_else(|| Some(slot.parent.as_ref()?.message.content.clone())) else {
                continue;
            };
            match self.store_final(&mut slot, content).await {
                Ok(()) => {}
                Err(error) => {
                    failure.get_or_insert(error);
                    continue;
                }
            }
            if let Some(sink) = sink {
                let update = MessageUpdate::Done { index, parent_task_message: None };
                // Nobody left to tell is no failure: everything is stored.
                let _ = sink.send(TurnUpdate { update, parent: slot.parent }).await;
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn message(&self, content: MessageContent, status: StreamingStatus, at: Timestamp) -> Message {
        Message::new(self.task.id.clone(), content, Some(status), at)
    }
}

impl Slot {
    /// The content this message ends with.
    fn result(&self) -> Result<Option<MessageContent>, Error> {
        match &self.finished {
            Some(content) => Ok(Some(content.clone())),
            None => Ok(self.folded.content()?),
        }
    }
}

async fn store_new(inner: &Inner, task: &Task, messages: &[Message]) -> Result<(), Error> {
    if messages.is_empty() || inner.stores.messages.insert(&task.id, messages).await? {
        Ok(())
    } else {
        Err(Error::Rpc(format!("Task {} not found", task.id)))
    }
}

/// Why a streamed turn ended.
enum End {
    AgentDone,
    CallerGone,
    Failed(Error),
}

/// Why a streamed turn cannot go on.
enum Stop {
    CallerGone,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Where a streamed turn puts its lines. Waits while the caller is slow, so that the agent waits too.
pub(super) struct Sink {
    lines: mpsc::Sender<Result<TurnUpdate, Error>>,
}

impl Sink {
    async fn send(&self, update: TurnUpdate) -> Result<(), Stop> {
        self.lines.send(Ok(update)).await.map_err(|_| Stop::CallerGone)
    }

    /// The last line of a turn that failed.
    pub(super) async fn fail(&self, error: Error) {
        // A caller that has gone needs no error.
        let _ = self.lines.send(Err(error)).await;
    }
}

/// The steps of a streamed reply. After an error nothing follows. Dropping it tells the agent to stop.
pub struct TurnUpdates {
    lines: mpsc::Receiver<Result<TurnUpdate, Error>>,
}

impl TurnUpdates {
    pub(super) fn channel() -> (Self, Sink) {
        let (sender, lines) = mpsc::channel(BUFFERED_LINES);
        (Self { lines }, Sink { lines: sender })
    }
}

impl Stream for TurnUpdates {
    type Item = Result<TurnUpdate, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.lines.poll_recv(context)
    }
}

impl std::fmt::Debug for TurnUpdates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnUpdates").finish_non_exhaustive()
    }
}
