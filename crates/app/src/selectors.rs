use std::fmt;

use agentex_domain::{AgentId, TaskId};

use crate::Absent;

/// An agent as a caller addresses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSelector {
    /// By id.
    Id(AgentId),
    /// By name.
    Name(String),
}

/// A task as a caller addresses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskSelector {
    /// By id.
    Id(TaskId),
    /// By name.
    Name(String),
}

impl AgentSelector {
    /// The one "not found" of this address: built from what the caller typed and nothing else.
    pub(crate) fn absent(&self) -> Absent {
        match self {
            Self::Id(id) => Absent::Id(id.as_str().to_owned()),
            Self::Name(name) => Absent::Name(name.clone()),
        }
    }
}

impl TaskSelector {
    /// The one "not found" of this address: built from what the caller typed and nothing else.
    pub(crate) fn absent(&self) -> Absent {
        match self {
            Self::Id(id) => Absent::Id(id.as_str().to_owned()),
            Self::Name(name) => Absent::Name(name.clone()),
        }
    }
}

impl fmt::Display for AgentSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for TaskSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}
