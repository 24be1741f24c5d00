use std::borrow::Cow;
use std::fmt;

use agentex_authz::Principal;
use agentex_domain::AgentId;
use serde_json::json;

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular; only possible where the deployment does not authenticate callers.
    Anonymous,
    /// Somebody the authentication provider vouches for.
    Principal(Principal),
    /// An agent that proved itself with its internal key.
    Agent {
        /// The agent.
        id: AgentId,
        /// Whom it says it acts for, proved by a credential it was handed.
        acting: Option<Principal>,
    },
}

impl Caller {
    /// An agent that acts for itself only.
    #[must_use]
    pub const fn agent(id: AgentId) -> Self {
        Self::Agent { id, acting: None }
    }

    /// The caller as permission backends see it. Backends that know no such principal deny it, which is the safe answer
    /// for anonymous callers and agents.
    pub(crate) fn principal(&self) -> Cow<'_, Principal> {
        match self {
            Self::Anonymous => Cow::Owned(Principal::anonymous()),
            Self::Principal(principal) => Cow::Borrowed(principal),
            Self::Agent { id, .. } => Cow::Owned(Principal::from_json(json!({ "agent_id": id }))),
        }
    }

    /// The principal that can own what this caller creates, where the caller itself says.
    pub(crate) fn creator(&self) -> Option<&Principal> {
        match self {
            Self::Principal(principal) | Self::Agent { acting: Some(principal), .. } => {
                principal.is_resolvable_creator().then_some(principal)
            }
            Self::Anonymous | Self::Agent { acting: None, .. } => None,
        }
    }
}

/// The request a use case runs in, as far as calls to agents need it.
#[derive(Clone, Default)]
pub struct RequestContext {
    /// All inbound headers, names in lower case.
    pub inbound: Vec<(String, String)>,
    /// This server's id of the request.
    pub request_id: String,
}

impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}
