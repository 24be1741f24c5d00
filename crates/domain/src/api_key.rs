use std::fmt;

use crate::{AgentId, ApiKeyId, Timestamp};

/// What an API key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiKeyKind {
    /// Shared by the server and the agent; proves either to the other.
    Internal,
    /// Lets outsiders reach the agent's own routes.
    External,
    /// Verifies GitHub webhooks.
    Github,
    /// Verifies Slack webhooks.
    Slack,
}

impl ApiKeyKind {
    /// Every kind with its wire text.
    pub const ALL: [(&'static str, Self); 4] =
        [("internal", Self::Internal), ("external", Self::External), ("github", Self::Github), ("slack", Self::Slack)];

    /// The wire text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::External => "external",
            Self::Github => "github",
            Self::Slack => "slack",
        }
    }
}

/// A stored API key of an agent. `sealed` and `digest` are what the store keeps; the secret itself is only ever inside
/// the use case that opens or makes it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Row id.
    pub id: ApiKeyId,
    /// Whose key it is.
    pub agent_id: AgentId,
    /// For people; unique per agent and kind.
    pub name: String,
    /// What it may be used for.
    pub kind: ApiKeyKind,
    /// The secret, encrypted (or in clear where the deployment has no secrets key); of external keys its first characters
    /// only.
    pub sealed: String,
    /// Keyed hash for look-ups; rows of other writers have none.
    pub digest: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .field("agent_id", &self.agent_id)
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
