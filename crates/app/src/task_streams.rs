use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use agentex_authz::{Operation, ResourceRef};
use agentex_domain::ports::{Cursor, Delivery, Entry, EventStream, StartAt, Stores, Subscription};
use agentex_domain::{Task, TaskId, TaskStatus};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::guard::{Guard, Sought};
use crate::{Caller, Error, Settings, TaskSelector};

/// Entries read at once when the history of a finished task is replayed.
const REPLAY_BATCH: usize = 500;

const TRIMMED: &[u8] = br#"{"type":"error","message":"stream trimmed; refetch messages"}"#;
const INTERRUPTED: &[u8] = br#"{"type":"error","message":"stream temporarily unavailable"}"#;

/// Watching tasks live.
pub struct TaskStreams {
    watch: Arc<Watch>,
}

struct Watch {
    stores: Stores,
    guard: Guard,
    streams: Arc<dyn EventStream>,
    keepalive: Duration,
    recheck: Duration,
    stall: Option<Duration>,
    shutdown: CancellationToken,
}

/// What a watcher gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamItem {
    /// One event, as compact JSON without line breaks. A watcher that comes back resumes after `id`.
    Frame {
        /// The place in the task's stream after which to resume.
        id: Cursor,
        /// The event.
        json: Bytes,
    },
    /// Nothing happened for a while.
    KeepAlive,
}

impl TaskStreams {
    pub(crate) fn new(
        stores: Stores,
        guard: Guard,
        streams: Arc<dyn EventStream>,
        settings: &Settings,
        shutdown: CancellationToken,
    ) -> Self {
        let Settings { stream_keepalive: keepalive, stream_recheck: recheck, stream_stall, .. } = *settings;
        let stall = Some(stream_stall).filter(|stall| !stall.is_zero());
        Self { watch: Arc::new(Watch { stores, guard, streams, keepalive, recheck, stall, shutdown }) }
    }

    /// Watches a task: a `connected` event, then what happens from now on (or after `resume_after`, retained entries
    /// included), until the task reaches a terminal status, the caller loses the right to read it, or the server stops. A
    /// task that is terminal already is replayed from its oldest retained entry and ends.
    ///
    /// The place is fixed before this returns, so whatever is written after the `connected` event is delivered.
    pub async fn open(
        &self,
        caller: &Caller,
        task: &TaskSelector,
        resume_after: Option<Cursor>,
    ) -> Result<BoxStream<'static, StreamItem>, Error> {
        let watch = Arc::clone(&self.watch);
        let found = match task {
            TaskSelector::Id(id) => watch.stores.tasks.find(id).await?,
            TaskSelector::Name(name) => watch.stores.tasks.find_by_name(name).await?,
        };
        let absent = || Error::NotFound(task.absent());
        let found = found.filter(|found| found.status != TaskStatus::Deleted);
        watch.guard.require_sought(caller, Operation::Read, Sought::task(task, found.as_ref())).await?;
        let id = found.ok_or_else(absent)?.id;

        // The place in the stream is taken before the status is read, so that a change in between is seen either way.
        let start = resume_after.map_or(StartAt::Now, StartAt::After);
        let subscription = watch.streams.subscribe(&id, start).await?;
        let current = watch.stores.tasks.find(&id).await?.ok_or_else(absent)?;

        let viewer = Viewer::new(watch, caller.clone(), current, resume_after, subscription);
        Ok(stream::unfold(viewer, |mut viewer| async { viewer.next().await.map(|item| (item, viewer)) }).boxed())
    }
}

/// One watcher: works only while it is polled, so that a slow reader holds nothing but itself.
struct Viewer {
    watch: Arc<Watch>,
    caller: Caller,
    task_id: TaskId,
    /// The place after which to resume.
    last: Cursor,
    phase: Phase,
    /// Whether it ended because something it needs did not work.
    failed: bool,
    /// Items not yet taken.
    ready: VecDeque<StreamItem>,
    next_check: Instant,
    /// When the row is looked at however busy the stream is.
    latest_check: Instant,
    next_ping: Instant,
    /// When it will have been quiet for too long; absent while that is counted already.
    stalls_at: Option<Instant>,
    opened_at: Instant,
}

enum Phase {
    /// Entries as they come.
    Live(BoxStream<'static, Delivery>),
    /// What is retained, then the end.
    Replaying,
    Ended,
}

impl Viewer {
    fn new(
        watch: Arc<Watch>,
        caller: Caller,
        task: Task,
        resume_after: Option<Cursor>,
        subscription: Subscription,
    ) -> Self {
        let (last, phase) = if task.status.is_terminal() {
            (resume_after.unwrap_or_else(Cursor::start), Phase::Replaying)
        } else {
            (subscription.began_at, Phase::Live(subscription.deliveries))
        };
        metrics::counter!("agentex_task_stream_opened_total").increment(1);
        metrics::gauge!("agentex_task_stream_active").increment(1);
        let opened_at = Instant::now();
        let due = opened_at + watch.keepalive;
        let latest_check = opened_at + watch.recheck;
        let mut viewer = Self {
            watch,
            caller,
            last,
            phase,
            failed: false,
            ready: VecDeque::new(),
            next_check: due,
            latest_check,
            next_ping: due,
            stalls_at: None,
            opened_at,
            task_id: task.id,
        };
        let connected = format!(r#"{{"type":"connected","taskId":{}}}"#, serde_json::json!(viewer.task_id));
        viewer.frame(Bytes::from(connected));
        viewer
    }

    /// The next item; `None` when there is nothing more to say.
    async fn next(&mut self) -> Option<StreamItem> {
        let shutdown = self.watch.shutdown.clone();
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            match &self.phase {
                Phase::Ended => return None,
                Phase::Replaying => self.replay_some().await,
                Phase::Live(_) => tokio::select! {
                    biased;
                    () = shutdown.cancelled() => self.phase = Phase::Ended,
                    () = self.live() => {}
                },
            }
        }
    }

    /// Waits for one thing to happen and deals with it.
    async fn live(&mut self) {
        let wakes_at = self.wakes_at();
        let Phase::Live(deliveries) = &mut self.phase else { return };
        tokio::select! {
            biased;
            delivery = deliveries.next() => match delivery {
                Some(delivery) => {
                    let now = Instant::now();
                    self.next_ping = now + self.watch.keepalive;
                    self.deliver(delivery).await;
                    if now >= self.latest_check && matches!(self.phase, Phase::Live(_)) {
                        self.check_row().await;
                    }
                }
                None => self.phase = Phase::Ended,
            },
            () = tokio::time::sleep_until(wakes_at) => {
                let now = Instant::now();
                if self.stalls_at.take_if(|at| now >= *at).is_some() {
                    metrics::counter!("agentex_task_stream_stall_total").increment(1);
                }
                if now >= self.next_ping {
                    self.ready.push_back(StreamItem::KeepAlive);
                    self.next_ping = now + self.watch.keepalive;
                }
                if now >= self.next_check {
                    self.check_row().await;
                }
            }
        }
    }

    fn wakes_at(&self) -> Instant {
        let due = self.next_check.min(self.next_ping);
        self.stalls_at.map_or(due, |stalls_at| due.min(stalls_at))
    }

    async fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Entry(entry) => self.entry(&entry).await,
            Delivery::Gap => self.frame(Bytes::from_static(TRIMMED)),
            Delivery::Interrupted => self.frame(Bytes::from_static(INTERRUPTED)),
        }
    }

    /// Passes one entry on if it is an event of this task. Agents write entries, so anything may be in them.
    async fn entry(&mut self, entry: &Entry) {
        self.last = self.last.max(entry.cursor);
        match verdict(&entry.data, &self.task_id) {
            Verdict::Foreign(why) => {
                metrics::counter!("agentex_task_stream_skipped_total", "reason" => why).increment(1);
                tracing::warn!(task.id = %self.task_id, entry = %entry.cursor, why, "stream entry skipped");
            }
            Verdict::Event => self.frame(single_line(&entry.data)),
            // An agent could write such an entry too; only the row decides whether the task has really ended.
            Verdict::Terminal => match self.watch.stores.tasks.find(&self.task_id).await {
                Ok(Some(task)) if !task.status.is_terminal() => {
                    tracing::warn!(task.id = %self.task_id, entry = %entry.cursor, "terminal entry contradicts the row");
                }
                Ok(_) => {
                    self.frame(single_line(&entry.data));
                    self.phase = Phase::Ended;
                }
                // The row cannot be read: pass the event on and let the next check of the row decide.
                Err(_) => self.frame(single_line(&entry.data)),
            },
        }
    }

    /// Ends the stream when the task has ended unseen, is gone, or may no longer be read by this caller.
    async fn check_row(&mut self) {
        let now = Instant::now();
        self.next_check = now + self.watch.keepalive;
        self.latest_check = now + self.watch.recheck;
        match self.watch.stores.tasks.find(&self.task_id).await {
            Ok(Some(task)) if !task.status.is_terminal() => {}
            Ok(_) => {
                self.phase = Phase::Replaying;
                return;
            }
            Err(error) => tracing::warn!(task.id = %self.task_id, %error, "task of an open stream cannot be read"),
        }
        match self.watch.guard.may_read(&self.caller, &ResourceRef::task(self.task_id.as_str())).await {
            Ok(true) => {}
            Ok(false) => self.phase = Phase::Ended,
            Err(error) => {
                tracing::warn!(task.id = %self.task_id, %error, "permission of an open stream cannot be checked");
                self.failed = true;
                self.phase = Phase::Ended;
            }
        }
    }

    /// Takes the next part of what is retained after the last place, without waiting for more.
    async fn replay_some(&mut self) {
        match self.watch.streams.read(&self.task_id, self.last, REPLAY_BATCH).await {
            Ok(entries) if entries.is_empty() => self.phase = Phase::Ended,
            Ok(entries) => {
                for entry in entries {
                    self.last = self.last.max(entry.cursor);
                    match verdict(&entry.data, &self.task_id) {
                        Verdict::Event | Verdict::Terminal => self.frame(single_line(&entry.data)),
                        Verdict::Foreign(_) => {}
                    }
                }
            }
            Err(error) => {
                tracing::warn!(task.id = %self.task_id, %error, "stream cannot be replayed");
                self.frame(Bytes::from_static(INTERRUPTED));
                self.failed = true;
                self.phase = Phase::Ended;
            }
        }
    }

    fn frame(&mut self, json: Bytes) {
        self.stalls_at = self.watch.stall.map(|stall| Instant::now() + stall);
        self.ready.push_back(StreamItem::Frame { id: self.last, json });
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        metrics::gauge!("agentex_task_stream_active").decrement(1);
        let outcome = match self.phase {
            Phase::Ended if self.failed => "error",
            Phase::Ended => "completed",
            Phase::Live(_) | Phase::Replaying => "client_disconnect",
        };
        metrics::counter!("agentex_task_stream_closed_total", "outcome" => outcome).increment(1);
        metrics::histogram!("agentex_task_stream_duration_seconds", "outcome" => outcome)
            .record(self.opened_at.elapsed());
    }
}

enum Verdict {
    Event,
    Terminal,
    Foreign(&'static str),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    parent_task_message: Option<Parent<'a>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    task: Option<TaskHead<'a>>,
}

#[derive(Deserialize)]
struct Parent<'a> {
    #[serde(borrow, default)]
    task_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct TaskHead<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
}

/// Whether an entry may be shown to those who watch `task_id`. Only the outside is looked at; what is inside goes through
/// as it was written.
fn verdict(data: &[u8], task_id: &TaskId) -> Verdict {
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(data) else { return Verdict::Foreign("not_an_event") };
    let parent = envelope.parent_task_message.and_then(|parent| parent.task_id);
    if parent.is_some_and(|parent| parent != task_id.as_str()) {
        return Verdict::Foreign("other_task");
    }
    match envelope.kind.as_ref() {
        "start" | "full" if envelope.content.is_none_or(|content| !content.get().starts_with('{')) => {
            Verdict::Foreign("no_content")
        }
        "start" | "delta" | "full" | "done" => Verdict::Event,
        "task_updated" => {
            let Some(task) = envelope.task else { return Verdict::Event };
            if task.id.is_some_and(|id| id != task_id.as_str()) {
                return Verdict::Foreign("other_task");
            }
            let status = task.status.as_deref().and_then(TaskStatus::parse);
            if status.is_some_and(TaskStatus::is_terminal) { Verdict::Terminal } else { Verdict::Event }
        }
        _ => Verdict::Foreign("unknown_type"),
    }
}

/// The JSON as one line: writers may have put line breaks between tokens, which would break the framing.
fn single_line(data: &Bytes) -> Bytes {
    if data.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        data.iter().copied().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect()
    } else {
        data.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(data: &str) -> &'static str {
        match verdict(data.as_bytes(), &TaskId::from("t")) {
            Verdict::Event => "event",
            Verdict::Terminal => "terminal",
            Verdict::Foreign(why) => why,
        }
    }

    /// streaming §8: 23, 24, 27, 28
    #[test]
    fn entries_are_judged_by_type_and_task() {
        assert_eq!(
            judged(r#"{"type":"delta","index":null,"parent_task_message":{"task_id":"t"},"delta":null}"#),
            "event"
        );
        assert_eq!(judged(r#"{"type":"done","parent_task_message":null}"#), "event");
        assert_eq!(judged(r#"{"type":"delta","parent_task_message":{"task_id":"other"}}"#), "other_task");
        assert_eq!(judged(r#"{"type":"full","content":{"type":"text","format":null}}"#), "event");
        assert_eq!(judged(r#"{"type":"full"}"#), "no_content");
        assert_eq!(judged(r#"{"type":"task_updated","task":{"id":"t","status":"RUNNING"}}"#), "event");
        assert_eq!(judged(r#"{"type":"task_updated","task":{"id":"t","status":"DELETED"}}"#), "terminal");
        assert_eq!(judged(r#"{"type":"task_updated","task":{"id":"u","status":"COMPLETED"}}"#), "other_task");
        assert_eq!(judged(r#"{"type":"task_updated","task":null}"#), "event");
        for odd in ["", "null", "5", "[]", "{", r#"{"type":5}"#, r#"{"kind":"done"}"#] {
            assert_eq!(judged(odd), "not_an_event", "{odd}");
        }
        for forged in ["connected", "error", "later"] {
            assert_eq!(judged(&format!(r#"{{"type":"{forged}","message":"x"}}"#)), "unknown_type");
        }
    }

    #[test]
    fn line_breaks_between_tokens_become_blanks() {
        assert_eq!(single_line(&Bytes::from_static(b"{\"a\":\r\n1}")), Bytes::from_static(b"{\"a\":  1}"));
    }
}
