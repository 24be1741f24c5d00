use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of resource that permissions are decided on. The names are wire strings of the permission services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// An agent; it has no parent.
    Agent,
    /// A task; its parent is the agent it was created through.
    Task,
    /// An agent's API key; its parent is the agent.
    ApiKey,
    /// A schedule of either kind; its parent is the agent.
    Schedule,
}

impl ResourceKind {
    /// The wire string, for example `api_key`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Task => "task",
            Self::ApiKey => "api_key",
            Self::Schedule => "schedule",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a principal wants to do with a resource. Exactly these six exist; adapters forward the wire strings verbatim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Make a new resource of the kind; checked on the `*` selector only.
    Create,
    /// See it.
    Read,
    /// Change it, or send to it.
    Update,
    /// Remove it.
    Delete,
    /// Run it (agents), or move its tracker (tasks).
    Execute,
    /// Stop it (tasks; owners only).
    Cancel,
}

impl Operation {
    /// The wire string, for example `update`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Execute => "execute",
            Self::Cancel => "cancel",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One resource in the authorization graph: a kind and a selector.
///
/// The selector is the resource's id, or `*` for "any of this kind in the caller's account", which is meaningful for
/// [`Operation::Create`] only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ResourceRef {
    /// What kind of resource.
    #[serde(rename = "type")]
    pub kind: ResourceKind,
    /// Which one.
    pub selector: String,
}

impl ResourceRef {
    /// The agent with this id.
    #[must_use]
    pub fn agent(id: impl Into<String>) -> Self {
        Self { kind: ResourceKind::Agent, selector: id.into() }
    }

    /// The task with this id.
    #[must_use]
    pub fn task(id: impl Into<String>) -> Self {
        Self { kind: ResourceKind::Task, selector: id.into() }
    }

    /// The API key with this row id.
    #[must_use]
    pub fn api_key(id: impl Into<String>) -> Self {
        Self { kind: ResourceKind::ApiKey, selector: id.into() }
    }

    /// The schedule with this selector.
    #[must_use]
    pub fn schedule(selector: impl Into<String>) -> Self {
        Self { kind: ResourceKind::Schedule, selector: selector.into() }
    }

    /// Any resource of `kind` in the caller's account.
    #[must_use]
    pub fn any(kind: ResourceKind) -> Self {
        Self { kind, selector: "*".to_owned() }
    }
}

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.selector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_and_kinds_serialize_as_their_wire_strings() {
        for operation in [
            Operation::Create,
            Operation::Read,
            Operation::Update,
            Operation::Delete,
            Operation::Execute,
            Operation::Cancel,
        ] {
            assert_eq!(serde_json::to_value(operation).unwrap(), operation.as_str());
        }
        let key = ResourceRef::api_key("k1");
        assert_eq!(serde_json::to_value(key).unwrap(), serde_json::json!({"type": "api_key", "selector": "k1"}));
    }
}
