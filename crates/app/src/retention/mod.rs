mod document;
mod settings;
mod spool;
mod sweep;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use agentex_authz::{Operation, ResourceRef};
use agentex_domain::input::Problem;
use agentex_domain::ports::{
    CleanOrder, Cleaned, Clock, EventStream, Rehydrated, SnapshotBody, SnapshotTransfer, StoreError, Stores,
    TransferError, UrlRefusal, VettedUrl,
};
use agentex_domain::{CleanCounts, CleanExtent, CleanRefusal, CleanRules, TaskId, Timestamp};
use serde_json::json;

pub use document::{MessageDraft, SnapshotDraft, StateDraft};
pub use settings::{RetentionSettings, SweepSettings};
pub use sweep::{SweepReport, Swept, SweptPage};

use crate::guard::Guard;
use crate::{Absent, Caller, Error};
use document::SnapshotWriter;
use spool::Spool;

/// How long a clean waits for the stream backend: the contents are already gone, and the entries go by themselves in time.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(5);

/// Contents of tasks: written out, taken away, put back.
pub struct Retention {
    stores: Stores,
    guard: Guard,
    streams: Arc<dyn EventStream>,
    transfer: Arc<dyn SnapshotTransfer>,
    clock: Arc<dyn Clock>,
    settings: RetentionSettings,
}

/// The contents of a task as a document.
#[derive(Debug)]
pub struct Exported {
    /// The document.
    pub document: SnapshotBody,
    /// How many messages it holds.
    pub messages: u64,
    /// How many states it holds.
    pub states: u64,
}

/// What was put where the caller said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The length of the document.
    pub bytes: u64,
    /// How many messages it holds.
    pub messages: u64,
    /// How many states it holds.
    pub states: u64,
}

/// When a caller wants a task cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanRequest {
    /// However recently it was used.
    pub force: bool,
    /// For how many days it must not have been used otherwise.
    pub idle_days: i64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanReport {
    /// Since when the contents are gone.
    pub cleaned_at: Timestamp,
    /// What went now.
    pub counts: CleanCounts,
}

/// Where contents come back from.
#[derive(Debug, Clone, PartialEq)]
pub enum RehydrateFrom {
    /// They are in the request.
    Inline(SnapshotDraft),
    /// They are there.
    Url(String),
}

pub(crate) struct Parts {
    pub(crate) stores: Stores,
    pub(crate) guard: Guard,
    pub(crate) streams: Arc<dyn EventStream>,
    pub(crate) transfer: Arc<dyn SnapshotTransfer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: RetentionSettings,
}

impl Retention {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { stores, guard, streams, transfer, clock, settings } = parts;
        Self { stores, guard, streams, transfer, clock, settings }
    }

    /// What the server was set up with.
    #[must_use]
    pub const fn settings(&self) -> &RetentionSettings {
        &self.settings
    }

    /// The messages and states of a task the caller may read, as they are at one moment.
    #[tracing::instrument(name = "retention.export", skip_all, fields(task.id = %task_id))]
    pub async fn export(&self, caller: &Caller, task_id: &TaskId) -> Result<Exported, Error> {
        self.require(caller, Operation::Read, task_id).await?;
        let exported = self.document(task_id).await?;
        audit(caller, task_id, "response", &exported);
        Ok(exported)
    }

    /// The same, put where the caller says. The URL is looked at before the task.
    #[tracing::instrument(name = "retention.export_to_url", skip_all, fields(task.id = %task_id))]
    pub async fn export_to_url(&self, caller: &Caller, task_id: &TaskId, url: &str) -> Result<Uploaded, Error> {
        self.require(caller, Operation::Read, task_id).await?;
        let to = self.vet(url, "upload_url").await?;
        let exported = self.document(task_id).await?;
        audit(caller, task_id, &to.host, &exported);
        let Exported { document, messages, states } = exported;
        let bytes = document.length;
        self.transfer.upload(&to, document).await.map_err(|source| Error::Transfer {
            text: format!("Failed to upload snapshot for task {task_id}"),
            source,
        })?;
        Ok(Uploaded { bytes, messages, states })
    }

    /// Takes the contents of a task away that the caller may delete, if it is not in use. Repeats change nothing.
    #[tracing::instrument(name = "retention.clean", skip_all, fields(task.id = %task_id))]
    pub async fn clean(&self, caller: &Caller, task_id: &TaskId, request: CleanRequest) -> Result<CleanReport, Error> {
        let CleanRequest { force, idle_days } = request;
        self.require(caller, Operation::Delete, task_id).await?;
        let now = self.clock.now();
        let idle_since = (!force).then(|| days_before(now, idle_days));
        // Who may give a running task up is the operator, who says so for the regular clean.
        let rules = CleanRules { idle_since, abandoned_since: None };
        let order = CleanOrder { rules, extent: self.settings.extent, deleted_too: false, at: now };
        match self.clean_with(task_id, &order).await? {
            Cleaned::Done { counts, .. } => Ok(CleanReport { cleaned_at: now, counts }),
            Cleaned::Before(cleaned_at) => Ok(CleanReport { cleaned_at, counts: CleanCounts::default() }),
            Cleaned::Refused(refusal) => Err(Error::Invalid(refusal_text(task_id, refusal, idle_days))),
            Cleaned::Absent => Err(absent(task_id)),
        }
    }

    /// Puts contents back into a cleaned task that the caller may update, all or nothing.
    #[tracing::instrument(name = "retention.rehydrate", skip_all, fields(task.id = %task_id))]
    pub async fn rehydrate(&self, caller: &Caller, task_id: &TaskId, from: RehydrateFrom) -> Result<(), Error> {
        self.require(caller, Operation::Update, task_id).await?;
        let draft = match from {
            RehydrateFrom::Inline(draft) => draft,
            RehydrateFrom::Url(url) => self.downloaded(task_id, &url).await?,
        };
        let snapshot = draft.into_snapshot(task_id, self.clock.now())?;
        let done = self.stores.retention.rehydrate(&snapshot).await.map_err(|error| match error {
            StoreError::Duplicate { .. } => {
                Error::Invalid("One or more items have duplicate id values. IDs must be unique.".to_owned())
            }
            error => error.into(),
        })?;
        match done {
            Rehydrated::Done => {
                let (messages, states) = (snapshot.messages.len(), snapshot.states.len());
                tracing::info!(
                    task.id = %task_id,
                    messages_restored = messages,
                    task_states_restored = states,
                    "task_rehydrate_completed"
                );
                Ok(())
            }
            Rehydrated::NotCleaned => Err(Error::Invalid(format!(
                "Cannot rehydrate task {task_id}: task is not in cleaned state (cleaned_at is NULL)"
            ))),
            Rehydrated::Absent => Err(absent(task_id)),
        }
    }

    async fn require(&self, caller: &Caller, operation: Operation, task_id: &TaskId) -> Result<(), Error> {
        let absent = Absent::Id(task_id.as_str().to_owned());
        self.guard.require(caller, operation, ResourceRef::task(task_id.as_str()), absent).await
    }

    async fn vet(&self, url: &str, member: &str) -> Result<VettedUrl, Error> {
        self.transfer.vet(url).await.map_err(|refusal| refused_url(refusal, member))
    }

    async fn downloaded(&self, task_id: &TaskId, url: &str) -> Result<SnapshotDraft, Error> {
        let from = self.vet(url, "snapshot_url").await?;
        let document = self.transfer.download(&from, self.settings.max_snapshot_bytes).await;
        let document = document.map_err(|error| match error {
            TransferError::TooLarge(limit) => {
                Error::Invalid(format!("Downloaded snapshot is larger than {limit} bytes"))
            }
            source => {
                Error::Transfer { text: format!("Failed to download snapshot from URL for task {task_id}"), source }
            }
        })?;
        // Reading a large document takes a while, during which others want to be served.
        let read = tokio::task::spawn_blocking(move || SnapshotDraft::parse(&document)).await;
        read.map_err(|error| StoreError::Failed(error.into()))?
            .map_err(|what| Error::Invalid(format!("Downloaded snapshot is not a valid TaskSnapshotEntity: {what}")))
    }

    async fn document(&self, task_id: &TaskId) -> Result<Exported, Error> {
        let mut pages = self.stores.retention.export(task_id).await?.ok_or_else(|| absent(task_id))?;
        let (mut spool, mut writer) = (Spool::default(), SnapshotWriter::default());
        spool.write(&SnapshotWriter::begin(task_id)).await.map_err(spool_failed)?;
        while let Some(page) = pages.next().await? {
            spool.write(&writer.page(&page)).await.map_err(spool_failed)?;
        }
        drop(pages);
        spool.write(&writer.end()).await.map_err(spool_failed)?;
        let document = spool.into_body().await.map_err(spool_failed)?;
        Ok(Exported { document, messages: writer.messages(), states: writer.states() })
    }

    /// Cleans and says so. The entries of the task's stream go with everything else, also when a clean before could not
    /// reach them.
    async fn clean_with(&self, task_id: &TaskId, order: &CleanOrder) -> Result<Cleaned, Error> {
        let cleaned = self.stores.retention.clean(task_id, order).await?;
        if let Cleaned::Done { counts, overrides } = &cleaned {
            if overrides.running {
                tracing::warn!(task.id = %task_id, "task_cleanup_stale_running_override");
            }
            if overrides.unprocessed_events {
                tracing::warn!(task.id = %task_id, "task_cleanup_unprocessed_events_override");
            }
            tracing::info!(
                task.id = %task_id,
                cleaned_at = %order.at,
                messages_deleted = counts.messages,
                task_states_deleted = counts.states,
                events_deleted = counts.events,
                checkpoints_deleted = counts.checkpoints,
                spans_scrubbed = counts.spans,
                "task_cleanup_completed"
            );
        }
        let is_clean = matches!(cleaned, Cleaned::Done { .. } | Cleaned::Before(_));
        if is_clean && order.extent == CleanExtent::Everything {
            match tokio::time::timeout(CLEAR_TIMEOUT, self.streams.clear(task_id)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(task.id = %task_id, %error, "the stream of a task was not cleared"),
                Err(_) => tracing::warn!(task.id = %task_id, "the stream of a task was not cleared in time"),
            }
        }
        Ok(cleaned)
    }
}

/// Says who took the contents of a task out, and where to.
fn audit(caller: &Caller, task_id: &TaskId, to: &str, exported: &Exported) {
    let principal = match caller {
        Caller::Anonymous => json!({}),
        Caller::Principal(principal) => principal.identity().as_json().clone(),
        Caller::Agent { id, acting } => {
            json!({"agent_id": id, "acting": acting.as_ref().map(|acting| acting.identity().as_json().clone())})
        }
    };
    tracing::info!(
        audit = true,
        task.id = %task_id,
        principal = %principal,
        host = to,
        bytes = exported.document.length,
        messages = exported.messages,
        task_states = exported.states,
        "task_exported"
    );
}

fn absent(task_id: &TaskId) -> Error {
    Error::NotFound(Absent::Id(task_id.as_str().to_owned()))
}

fn spool_failed(error: io::Error) -> Error {
    StoreError::Failed(error.into()).into()
}

fn refusal_text(task_id: &TaskId, refusal: CleanRefusal, idle_days: i64) -> String {
    match refusal {
        CleanRefusal::Running => format!("Cannot clean task {task_id}: status is RUNNING (active)"),
        CleanRefusal::NotIdle => {
            format!("Cannot clean task {task_id}: not idle for {idle_days} days (use force=true to override)")
        }
        CleanRefusal::UnprocessedEvents => format!("Cannot clean task {task_id}: unprocessed events remain"),
    }
}

/// What a caller is told about a URL. Never an address that a name led to.
fn refused_url(refusal: UrlRefusal, member: &str) -> Error {
    Error::Invalid(match refusal {
        UrlRefusal::Malformed => {
            let text = "Input should be a valid URL with the scheme 'https' and at most 8192 characters".to_owned();
            return Error::Unprocessable(vec![Problem { path: format!("body.{member}"), text }]);
        }
        UrlRefusal::Scheme(scheme) => format!("URL scheme must be 'https'; got '{scheme}'."),
        UrlRefusal::NoHost => "URL must include a hostname.".to_owned(),
        UrlRefusal::Credentials => "URL must not include a user name or password.".to_owned(),
        UrlRefusal::Port(port) => format!("URL port {port} is not permitted."),
        UrlRefusal::Host(host) => format!("URL host '{host}' is not permitted."),
        UrlRefusal::Unresolved(host) => format!("Could not resolve hostname '{host}': name resolution failed"),
        UrlRefusal::NotPublic(host) => {
            format!("URL host '{host}' resolves to a non-public address; refusing to issue a server-side request.")
        }
    })
}

/// The moment so many days before, but never before the year 1, which every store can compare with.
fn days_before(now: Timestamp, days: i64) -> Timestamp {
    const YEAR_ONE: i64 = -62_135_596_800_000_000;
    const DAY: i64 = 86_400_000_000;
    let micros = now.as_micros().saturating_sub(days.saturating_mul(DAY)).max(YEAR_ONE);
    Timestamp::from_micros(micros).expect("the year 1 and everything up to now are dates")
}
