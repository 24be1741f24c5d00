use std::fmt;

use agentex_authz::{AuthzError, Operation, ResourceRef};
use agentex_domain::FoldError;
use agentex_domain::input::Problem;
use agentex_domain::ports::{AgentCallError, BoxError, StoreError, StreamError, TransferError};

/// What a caller asked for and cannot have, said with the caller's own words. Absent, deleted, hidden and foreign things
/// all get the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    /// Addressed by id.
    Id(String),
    /// Addressed by name.
    Name(String),
    /// An API key, however it was addressed.
    ApiKey,
    /// A run schedule under an agent, by name or id.
    RunSchedule {
        /// The schedule.
        handle: String,
        /// The agent.
        agent: String,
    },
    /// A workflow.
    Workflow(String),
    /// A deployment addressed under an agent.
    DeploymentOfAgent {
        /// The deployment.
        deployment: String,
        /// The agent.
        agent: String,
    },
    /// An entry of the history of deployments.
    DeploymentHistory(String),
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "Item with id '{id}' does not exist."),
            Self::Name(name) => write!(f, "Item with name '{name}' does not exist."),
            Self::ApiKey => f.write_str("Agent api_key not found."),
            Self::RunSchedule { handle, agent } => {
                write!(f, "Run schedule '{handle}' for agent '{agent}' does not exist.")
            }
            Self::Workflow(id) => write!(f, "Workflow '{id}' not found"),
            Self::DeploymentOfAgent { deployment, agent } => {
                write!(f, "Deployment {deployment} not found for agent {agent}")
            }
            Self::DeploymentHistory(id) => write!(f, "Deployment not found: Item with id '{id}' does not exist."),
        }
    }
}

/// Why a use case did not do what was asked. The texts of the first six are read by clients.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not exist, as far as this caller may know.
    #[error("{0}")]
    NotFound(Absent),
    /// The caller may see it but not do this to it.
    #[error("Forbidden – principal lacks permission")]
    Forbidden {
        /// What was refused.
        operation: Operation,
        /// On what.
        resource: ResourceRef,
    },
    /// The request makes no sense in the present state.
    #[error("{0}")]
    Invalid(String),
    /// Members of the request are wrong.
    #[error("{} validation error(s)", .0.len())]
    Unprocessable(Vec<Problem>),
    /// It collides with something that exists.
    #[error("{0}")]
    Conflict(String),
    /// What was to be changed is not any more what the caller has seen.
    #[error("{0}")]
    Outdated(&'static str),
    /// The request is larger than allowed.
    #[error("{0}")]
    TooLarge(String),
    /// An agent key was presented that belongs to no live agent.
    #[error("Agent Unauthorized")]
    AgentKeyRefused,
    /// Credentials are missing or wrong.
    #[error("Unauthorized")]
    Unauthenticated,
    /// Nobody could tell who is calling.
    #[error("authentication unavailable")]
    AuthenticationUnavailable(#[source] BoxError),
    /// A part of the product that this needs is not there.
    #[error("{0}")]
    Unavailable(&'static str),
    /// Something behind us failed in a way that callers may be told about.
    #[error("{message}")]
    Failed {
        /// What failed, without why.
        message: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Something behind us did not answer in time.
    #[error("{message}")]
    TimedOut {
        /// What took too long.
        message: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Authorization failed to answer; never a permission.
    #[error(transparent)]
    Authz(#[from] AuthzError),
    /// The stream backend failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The agent failed; only inside calls.
    #[error(transparent)]
    Agent(#[from] AgentCallError),
    /// The agent's reply makes no content; only inside calls.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// A document could not be carried to or from where the caller said.
    #[error("{text}")]
    Transfer {
        /// What the caller is told.
        text: String,
        /// What went wrong.
        #[source]
        source: TransferError,
    },
    /// A rule of calls was broken; only inside calls.
    #[error("{0}")]
    Rpc(String),
    /// The keyring cannot open a stored secret: another key is configured than the one it was sealed with.
    #[error("stored secret cannot be opened")]
    Sealed,
}

impl Error {
    /// What a JSON-RPC caller is told. Internal failures are not described.
    #[must_use]
    pub fn rpc_message(&self) -> String {
        match self {
            Self::NotFound(_)
            | Self::Forbidden { .. }
            | Self::Invalid(_)
            | Self::Conflict(_)
            | Self::Outdated(_)
            | Self::TooLarge(_)
            | Self::Unavailable(_)
            | Self::Failed { .. }
            | Self::TimedOut { .. }
            | Self::Agent(_)
            | Self::Fold(_)
            | Self::Rpc(_) => self.to_string(),
            Self::Unprocessable(problems) => {
                let texts: Vec<String> =
                    problems.iter().map(|problem| format!("{}: {}", problem.path, problem.text)).collect();
                format!("Invalid parameters: {}", texts.join("; "))
            }
            Self::Store(StoreError::Duplicate { .. }) => {
                "Item already exists. Please check all unique constraints and try again.".to_owned()
            }
            Self::Store(_)
            | Self::Transfer { .. }
            | Self::Authz(_)
            | Self::Stream(_)
            | Self::AgentKeyRefused
            | Self::Unauthenticated
            | Self::AuthenticationUnavailable(_)
            | Self::Sealed => "Internal error".to_owned(),
        }
    }
}
