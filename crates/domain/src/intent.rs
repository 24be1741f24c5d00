use agentex_authz::{Principal, ResourceRef};

use crate::{IntentId, Timestamp};

/// An unfinished change of the authorization graph that belongs to a change of a row.
///
/// A resource has at most one. What finishes it is repeatable, so an intent may be driven any number of times, by any
/// process; it is gone when everything it stands for has happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    /// Its own id.
    pub id: IntentId,
    /// What it is about.
    pub resource: ResourceRef,
    /// The resource's parent in the graph.
    pub parent: Option<ResourceRef>,
    /// Whose the resource is or was: the identity only, never a credential.
    pub owner: Principal,
    /// What is outstanding.
    pub step: IntentStep,
    /// How often it was driven without success.
    pub attempts: u32,
    /// Why the last attempt failed; holds no secret.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is to be driven next. Until then it belongs to whoever set this moment.
    pub due_at: Timestamp,
}

/// What an intent still has to bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntentStep {
    /// The resource may be in the graph, and its row is not there: unless its creator goes on, its edges must go.
    Registering,
    /// The row is there and registered; the owner's explicit grant is missing.
    Granting,
    /// The row is there; neither registration nor grant have been made.
    RegisteringLate,
    /// The row is gone: every edge must go.
    Deregistering,
}

impl IntentStep {
    /// Every step with the text it is stored and shown as.
    pub const ALL: [(&'static str, Self); 4] = [
        ("registering", Self::Registering),
        ("granting", Self::Granting),
        ("registering_late", Self::RegisteringLate),
        ("deregistering", Self::Deregistering),
    ];

    /// The text it is stored and shown as.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registering => "registering",
            Self::Granting => "granting",
            Self::RegisteringLate => "registering_late",
            Self::Deregistering => "deregistering",
        }
    }

    /// The step stored as `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == text).map(|(_, step)| *step)
    }
}

/// Who owns a resource, as recorded when it was registered.
#[derive(Debug, Clone, PartialEq)]
pub struct Ownership {
    /// The resource.
    pub resource: ResourceRef,
    /// Its parent in the graph.
    pub parent: Option<ResourceRef>,
    /// The owner's identity, without credentials.
    pub owner: Principal,
    /// When it was recorded.
    pub created_at: Timestamp,
}
