use std::fmt;

use agentex_domain::{Agent, AgentId, Deployment, DeploymentId};

use crate::deployments::absent;
use crate::guard::Sought;
use crate::{Absent, AgentSelector};

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallTarget {
    /// To an agent: its production deployment, else where it registered.
    Agent(AgentSelector),
    /// To one deployment of an agent, production or not.
    Deployment {
        /// The agent.
        agent: AgentId,
        /// The deployment.
        deployment: DeploymentId,
    },
}

impl From<AgentSelector> for CallTarget {
    fn from(agent: AgentSelector) -> Self {
        Self::Agent(agent)
    }
}

impl From<&AgentSelector> for CallTarget {
    fn from(agent: &AgentSelector) -> Self {
        Self::Agent(agent.clone())
    }
}

impl CallTarget {
    /// The agent called, however it is reached.
    pub(super) fn agent(&self) -> AgentSelector {
        match self {
            Self::Agent(agent) => agent.clone(),
            Self::Deployment { agent, .. } => AgentSelector::Id(agent.clone()),
        }
    }

    /// Whether what was found can be called, as far as is told before the call. A deleted agent has no edges, so it is
    /// refused like an absent one; without authorization its calls fail later.
    pub(super) fn found<'a>(&self, agent: Option<&'a Agent>, deployment: Option<&Deployment>) -> Option<&'a Agent> {
        match self {
            Self::Agent(_) => agent,
            Self::Deployment { .. } => {
                let there = deployment.is_some_and(|deployment| !deployment.is_expired());
                agent.filter(|agent| there && !agent.is_deleted())
            }
        }
    }

    /// What the caller seeks.
    pub(super) fn sought<'a>(&'a self, found: Option<&'a Agent>) -> Sought<'a> {
        match self {
            Self::Agent(agent) => Sought::agent(agent, found),
            Self::Deployment { agent, .. } => Sought {
                kind: agentex_authz::ResourceKind::Agent,
                found: found.map(|found| found.id.as_str()),
                typed: Some(agent.as_str()),
                absent: self.absent(),
            },
        }
    }

    pub(super) fn absent(&self) -> Absent {
        match self {
            Self::Agent(agent) => agent.absent(),
            Self::Deployment { agent, deployment } => absent(agent, deployment),
        }
    }
}

impl fmt::Display for CallTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => agent.fmt(f),
            Self::Deployment { agent, deployment } => write!(f, "{agent} at {deployment}"),
        }
    }
}
