use agentex_app::NewWrites;
use agentex_domain::input::{FIELD_REQUIRED, Fields, HAS_NUL, NOT_A_LIST, NOT_AN_INTEGER, NOT_AN_OBJECT, has_nul};
use agentex_domain::ports::{CheckpointFilter, RepeatedWrite};
use agentex_domain::{
    Checkpoint, CheckpointBlob, CheckpointTuple, CheckpointWrite, ExactJson, JsonObject, NotExactJson, TaskId,
};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::extract::{IdentifierFields as _, RequestBody};

/// Writes padding and takes bytes with or without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

/// One version of one channel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BlobResponse)]
pub(crate) struct BlobBody {
    /// The channel.
    channel: String,
    /// The version.
    version: String,
    /// How the bytes are to be read.
    #[serde(rename = "type")]
    kind: String,
    /// The bytes in base64; null for a channel that is empty.
    blob: Option<String>,
}

impl From<CheckpointBlob> for BlobBody {
    fn from(blob: CheckpointBlob) -> Self {
        let CheckpointBlob { channel, version, kind, blob } = blob;
        Self { channel, version, kind, blob: blob.map(|bytes| BASE64.encode(bytes)) }
    }
}

/// What a step has written since the checkpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WriteResponse)]
pub(crate) struct WriteBody {
    /// The step, which is the graph's own and no task here.
    task_id: String,
    /// Its place among the writes of the step.
    idx: i32,
    /// The channel.
    channel: String,
    /// How the bytes are to be read.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The bytes in base64.
    #[schema(value_type = Option<String>)]
    blob: String,
}

impl From<CheckpointWrite> for WriteBody {
    fn from(write: CheckpointWrite) -> Self {
        let CheckpointWrite { step_id, index, channel, kind, blob, path: _ } = write;
        Self { task_id: step_id, idx: index, channel, kind, blob: BASE64.encode(blob) }
    }
}

/// A checkpoint as lists show it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CheckpointListItem)]
pub(crate) struct CheckpointBody {
    /// The thread, which is a task.
    thread_id: String,
    /// Which graph of the thread; empty for the outermost.
    checkpoint_ns: String,
    /// Sorts by time.
    checkpoint_id: String,
    /// The one before it.
    parent_checkpoint_id: Option<String>,
    /// The state, without its blobs.
    #[schema(value_type = Object)]
    checkpoint: ExactJson,
    /// About it.
    #[schema(value_type = Object)]
    metadata: ExactJson,
}

impl From<Checkpoint> for CheckpointBody {
    fn from(checkpoint: Checkpoint) -> Self {
        let Checkpoint { thread_id, namespace, id, parent_id, checkpoint, metadata } = checkpoint;
        Self {
            thread_id: thread_id.into_string(),
            checkpoint_ns: namespace,
            checkpoint_id: id,
            parent_checkpoint_id: parent_id,
            checkpoint,
            metadata,
        }
    }
}

/// A checkpoint with all that is needed to go on from it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CheckpointTupleResponse)]
pub(crate) struct CheckpointTupleBody {
    #[serde(flatten)]
    checkpoint: CheckpointBody,
    /// The channels as the checkpoint has them.
    #[schema(required = false)]
    blobs: Vec<BlobBody>,
    /// What steps have written since.
    #[schema(required = false)]
    pending_writes: Vec<WriteBody>,
}

impl From<CheckpointTuple> for CheckpointTupleBody {
    fn from(tuple: CheckpointTuple) -> Self {
        let CheckpointTuple { checkpoint, blobs, writes } = tuple;
        Self {
            checkpoint: checkpoint.into(),
            blobs: blobs.into_iter().map(BlobBody::from).collect(),
            pending_writes: writes.into_iter().map(WriteBody::from).collect(),
        }
    }
}

/// What was stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PutCheckpointResponse)]
pub(crate) struct PutCheckpointBody {
    /// The thread.
    thread_id: String,
    /// Which graph of the thread.
    checkpoint_ns: String,
    /// The checkpoint.
    checkpoint_id: String,
}

impl From<Checkpoint> for PutCheckpointBody {
    fn from(checkpoint: Checkpoint) -> Self {
        let Checkpoint { thread_id, namespace, id, .. } = checkpoint;
        Self { thread_id: thread_id.into_string(), checkpoint_ns: namespace, checkpoint_id: id }
    }
}

/// Which checkpoint to read.
#[derive(ToSchema)]
#[schema(as = GetCheckpointTupleRequest)]
pub(crate) struct GetCheckpointRequest {
    /// The thread, which is a task.
    #[schema(value_type = String)]
    pub(crate) thread_id: TaskId,
    /// Which graph of the thread; empty for the outermost.
    #[schema(required = false, default = "")]
    pub(crate) checkpoint_ns: String,
    /// The checkpoint; the newest when there is none.
    pub(crate) checkpoint_id: Option<String>,
}

impl RequestBody for GetCheckpointRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let thread_id = thread(fields);
        let checkpoint_ns = namespace(fields);
        let checkpoint_id = fields.optional_string("checkpoint_id").filter(|id| !id.is_empty());
        Some(Self { thread_id: thread_id?, checkpoint_ns, checkpoint_id })
    }
}

/// One version of one channel to store.
#[derive(ToSchema)]
#[schema(as = BlobData)]
#[expect(dead_code, reason = "describes what is read in `blobs`")]
pub(crate) struct BlobDataSchema {
    /// The channel.
    channel: String,
    /// The version.
    version: String,
    /// How the bytes are to be read.
    r#type: String,
    /// The bytes in base64; absent or null for a channel that is empty.
    blob: Option<String>,
}

/// A checkpoint to store, with the versions of channels that are new in it.
#[derive(ToSchema)]
#[schema(as = PutCheckpointRequest)]
pub(crate) struct PutCheckpointRequest {
    /// The thread, which is a task.
    #[schema(value_type = String)]
    thread_id: TaskId,
    /// Which graph of the thread; empty for the outermost.
    #[schema(required = false, default = "")]
    checkpoint_ns: String,
    /// The checkpoint.
    checkpoint_id: String,
    /// The one before it; counts when the checkpoint is stored first.
    parent_checkpoint_id: Option<String>,
    /// The state. Its `channel_versions` say which versions of channels belong to it.
    #[schema(value_type = Object)]
    checkpoint: (),
    /// About it, for searching.
    #[schema(value_type = Object, required = false)]
    metadata: (),
    /// New versions of channels. A version that is stored already stays as it is.
    #[schema(value_type = Vec<BlobDataSchema>, required = false)]
    blobs: Vec<CheckpointBlob>,
}

impl RequestBody for PutCheckpointRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let thread_id = thread(fields);
        let checkpoint_ns = namespace(fields);
        let checkpoint_id = fields.string("checkpoint_id");
        let parent_checkpoint_id = fields.optional_string("parent_checkpoint_id");
        if let Some(checkpoint) = fields.required("checkpoint") {
            check_object(fields, "checkpoint", checkpoint);
        }
        if let Some(metadata) = fields.raw("metadata") {
            check_object(fields, "metadata", metadata);
        }
        let blobs = each(fields, "blobs", |index, item| {
            let channel = item.string("channel");
            let version = item.string("version");
            let kind = item.string("type");
            let blob = item.optional_string("blob").and_then(|text| bytes(item, "blobs", index, &text));
            Some(CheckpointBlob { channel: channel?, version: version?, kind: kind?, blob })
        });
        Some(Self {
            thread_id: thread_id?,
            checkpoint_ns,
            checkpoint_id: checkpoint_id?,
            parent_checkpoint_id,
            checkpoint: (),
            metadata: (),
            blobs: blobs.unwrap_or_default(),
        })
    }
}

/// The members that are kept digit for digit, which a parsed value is not.
#[derive(Deserialize)]
struct ExactMembers {
    checkpoint: Box<RawValue>,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
}

impl PutCheckpointRequest {
    /// What is to be stored; `text` is the JSON the request was read from.
    pub(crate) fn with_digits_of(self, text: &[u8]) -> Result<(Checkpoint, Vec<CheckpointBlob>), ApiError> {
        let Self { thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint: (), metadata: (), blobs } =
            self;
        let ExactMembers { checkpoint, metadata } =
            serde_json::from_slice(text).map_err(|_| ApiError::problem("body", "JSON decode error"))?;
        let checkpoint = Checkpoint {
            thread_id,
            namespace: checkpoint_ns,
            id: checkpoint_id,
            parent_id: parent_checkpoint_id,
            checkpoint: exact("checkpoint", checkpoint)?,
            metadata: metadata.map_or_else(|| Ok(ExactJson::empty()), |metadata| exact("metadata", metadata))?,
        };
        Ok((checkpoint, blobs))
    }
}

fn exact(name: &str, raw: Box<RawValue>) -> Result<ExactJson, ApiError> {
    ExactJson::from_raw(raw).map_err(|problem| {
        let text = match problem {
            NotExactJson::NotAnObject => NOT_AN_OBJECT,
            NotExactJson::HasNul => HAS_NUL,
        };
        ApiError::problem(&format!("body.{name}"), text)
    })
}

/// One write to store.
#[derive(ToSchema)]
#[schema(as = WriteData)]
#[expect(dead_code, reason = "describes what is read in `writes`")]
pub(crate) struct WriteDataSchema {
    /// The step, which is the graph's own and no task here.
    task_id: String,
    /// Its place among the writes of the step; negative for the special channels.
    idx: i32,
    /// The channel.
    channel: String,
    /// How the bytes are to be read.
    r#type: Option<String>,
    /// The bytes in base64.
    blob: String,
    /// Where in the graph the step is.
    #[schema(required = false, default = "")]
    task_path: String,
}

/// Writes to store for a checkpoint.
#[derive(ToSchema)]
#[schema(as = PutWritesRequest)]
pub(crate) struct PutWritesRequest {
    /// The thread, which is a task.
    #[schema(value_type = String)]
    thread_id: TaskId,
    /// Which graph of the thread; empty for the outermost.
    #[schema(required = false, default = "")]
    checkpoint_ns: String,
    /// The checkpoint, which need not exist.
    checkpoint_id: String,
    /// The writes, stored all or none.
    #[schema(value_type = Vec<WriteDataSchema>)]
    writes: Vec<CheckpointWrite>,
    /// Whether a write replaces the one that its step has in its place; without it that one stays.
    #[schema(required = false, default = false)]
    upsert: bool,
}

impl RequestBody for PutWritesRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let thread_id = thread(fields);
        let checkpoint_ns = namespace(fields);
        let checkpoint_id = fields.string("checkpoint_id");
        fields.required("writes");
        let writes = each(fields, "writes", |index, item| {
            let step_id = item.string("task_id");
            let place = place(item);
            let channel = item.string("channel");
            let kind = item.optional_string("type");
            let blob = item.string("blob").and_then(|text| bytes(item, "writes", index, &text));
            let path = item.optional_string("task_path").unwrap_or_default();
            Some(CheckpointWrite { step_id: step_id?, index: place?, channel: channel?, kind, blob: blob?, path })
        });
        let upsert = fields.optional_bool("upsert").unwrap_or(false);
        let (thread_id, checkpoint_id) = (thread_id?, checkpoint_id?);
        Some(Self { thread_id, checkpoint_ns, checkpoint_id, writes: writes.unwrap_or_default(), upsert })
    }
}

impl From<PutWritesRequest> for NewWrites {
    fn from(request: PutWritesRequest) -> Self {
        let PutWritesRequest { thread_id, checkpoint_ns, checkpoint_id, writes, upsert } = request;
        let repeated = if upsert { RepeatedWrite::Replaces } else { RepeatedWrite::Keeps };
        Self { thread: thread_id, namespace: checkpoint_ns, checkpoint_id, writes, repeated }
    }
}

/// Which checkpoints to list.
#[derive(ToSchema)]
#[schema(as = ListCheckpointsRequest)]
pub(crate) struct ListCheckpointsRequest {
    /// The thread, which is a task.
    #[schema(value_type = String)]
    pub(crate) thread_id: TaskId,
    /// Only those of this graph of the thread.
    checkpoint_ns: Option<String>,
    /// Only those before this one.
    before_checkpoint_id: Option<String>,
    /// Only those whose metadata contains this object.
    #[schema(value_type = Option<Object>)]
    filter_metadata: Option<JsonObject>,
    /// Most checkpoints to answer.
    #[schema(value_type = i64, required = false, minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: u32,
}

impl RequestBody for ListCheckpointsRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let thread_id = thread(fields);
        let checkpoint_ns = fields.optional_string("checkpoint_ns");
        let before_checkpoint_id = fields.optional_string("before_checkpoint_id");
        let filter_metadata = fields.optional_object("filter_metadata").filter(|members| !members.is_empty());
        let limit = limit(fields);
        Some(Self { thread_id: thread_id?, checkpoint_ns, before_checkpoint_id, filter_metadata, limit: limit? })
    }
}

impl ListCheckpointsRequest {
    pub(crate) fn into_parts(self) -> (TaskId, CheckpointFilter, u32) {
        let Self { thread_id, checkpoint_ns, before_checkpoint_id, filter_metadata, limit } = self;
        let filter =
            CheckpointFilter { namespace: checkpoint_ns, before: before_checkpoint_id, metadata: filter_metadata };
        (thread_id, filter, limit)
    }
}

/// Which thread to delete.
#[derive(ToSchema)]
#[schema(as = DeleteThreadRequest)]
pub(crate) struct DeleteThreadRequest {
    /// The thread, which is a task.
    #[schema(value_type = String)]
    pub(crate) thread_id: TaskId,
}

impl RequestBody for DeleteThreadRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { thread_id: thread(fields)? })
    }
}

fn thread(fields: &mut Fields<'_>) -> Option<TaskId> {
    fields.identifier("thread_id").map(TaskId::from)
}

fn namespace(fields: &mut Fields<'_>) -> String {
    fields.optional_string("checkpoint_ns").unwrap_or_default()
}

/// The items of a list that may be absent, each read by `read`.
fn each<T>(
    fields: &mut Fields<'_>,
    name: &str,
    mut read: impl FnMut(usize, &mut Fields<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let path = fields.path_of(name);
    let Value::Array(items) = fields.raw(name)? else {
        fields.problem(name, NOT_A_LIST);
        return None;
    };
    let mut all = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        all.extend(
            Fields::open(item, format!("{path}.{index}"), fields.problems())
                .and_then(|mut item| read(index, &mut item)),
        );
    }
    Some(all)
}

fn bytes(item: &mut Fields<'_>, list: &str, index: usize, text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(text).ok();
    if bytes.is_none() {
        item.problem("blob", format!("Invalid base64 in {list}[{index}].blob"));
    }
    bytes
}

/// The `idx` of a write.
fn place(item: &mut Fields<'_>) -> Option<i32> {
    if item.raw("idx").is_none() {
        let text = if item.has("idx") { NOT_AN_INTEGER } else { FIELD_REQUIRED };
        item.problem("idx", text);
    }
    let place = item.optional_integer("idx")?;
    let place = i32::try_from(place).ok();
    if place.is_none() {
        item.problem("idx", "Input should fit 32 bits");
    }
    place
}

fn limit(fields: &mut Fields<'_>) -> Option<u32> {
    if fields.raw("limit").is_none() {
        return Some(DEFAULT_LIMIT);
    }
    let limit = fields.optional_integer("limit")?;
    if limit < 1 {
        fields.problem("limit", "Input should be greater than or equal to 1");
        return None;
    }
    let bounded = u32::try_from(limit).ok().filter(|limit| *limit <= MAX_LIMIT);
    if bounded.is_none() {
        fields.problem("limit", format!("Input should be less than or equal to {MAX_LIMIT}"));
    }
    bounded
}

fn check_object(fields: &mut Fields<'_>, name: &str, value: &Value) {
    if !value.is_object() {
        fields.problem(name, NOT_AN_OBJECT);
    } else if has_nul(value) {
        fields.problem(name, HAS_NUL);
    }
}
