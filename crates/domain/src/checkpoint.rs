use std::fmt;

use crate::{ExactJson, TaskId};

/// A saved state of a graph that an agent runs. What it means is the agent's business.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The thread it belongs to, which is a task.
    pub thread_id: TaskId,
    /// Which graph of the thread; empty for the outermost.
    pub namespace: String,
    /// Sorts by time, byte by byte.
    pub id: String,
    /// The one before it.
    pub parent_id: Option<String>,
    /// The state. Its `channel_versions` say which blobs belong to it.
    pub checkpoint: ExactJson,
    /// About it, for searching.
    pub metadata: ExactJson,
}

/// One version of one channel of a graph. Versions never change.
#[derive(Clone, PartialEq, Eq)]
pub struct CheckpointBlob {
    /// The channel.
    pub channel: String,
    /// The version.
    pub version: String,
    /// How the bytes are to be read.
    pub kind: String,
    /// The bytes; `None` for a channel that is empty.
    pub blob: Option<Vec<u8>>,
}

/// Something a step of a graph has written that is not part of a checkpoint yet.
#[derive(Clone, PartialEq, Eq)]
pub struct CheckpointWrite {
    /// The step. The graph's own id, no task of ours.
    pub step_id: String,
    /// Its place among the writes of the step; negative for the special channels.
    pub index: i32,
    /// The channel.
    pub channel: String,
    /// How the bytes are to be read.
    pub kind: Option<String>,
    /// The bytes.
    pub blob: Vec<u8>,
    /// Where in the graph the step is.
    pub path: String,
}

/// A checkpoint with all that is needed to go on from it.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointTuple {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Its channels, by name.
    pub blobs: Vec<CheckpointBlob>,
    /// What steps have written since, by step and index.
    pub writes: Vec<CheckpointWrite>,
}

/// Says how much is held, never what: it is the content of conversations.
impl fmt::Debug for CheckpointBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, version, kind, blob } = self;
        let bytes = blob.as_ref().map(Vec::len);
        write!(f, "CheckpointBlob {{ {channel:?} {version:?} {kind:?} {bytes:?} }}")
    }
}

/// Says how much is held, never what.
impl fmt::Debug for CheckpointWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step_id, index, channel, kind, blob, path: _ } = self;
        write!(f, "CheckpointWrite {{ {step_id:?} {index} {channel:?} {kind:?} {} }}", blob.len())
    }
}
