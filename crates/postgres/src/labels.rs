//! The labels of the enum types, which are not the texts of the wire.

use agentex_authz::ResourceKind;
use agentex_domain::{AgentInputType, AgentStatus, ApiKeyKind, DeploymentStatus};

pub(crate) const fn agent_status(status: AgentStatus) -> &'static str {
    match status {
        AgentStatus::Ready => "READY",
        AgentStatus::Failed => "FAILED",
        AgentStatus::Unknown => "UNKNOWN",
        AgentStatus::Deleted => "DELETED",
        AgentStatus::Unhealthy => "UNHEALTHY",
        AgentStatus::BuildOnly => "BUILD_ONLY",
    }
}

pub(crate) fn read_agent_status(label: &str) -> Option<AgentStatus> {
    Some(match label {
        "READY" => AgentStatus::Ready,
        "FAILED" => AgentStatus::Failed,
        // Two statuses of old versions of the reference; nothing is known about such an agent.
        "UNKNOWN" | "PENDING" | "BUILDING" => AgentStatus::Unknown,
        "DELETED" => AgentStatus::Deleted,
        "UNHEALTHY" => AgentStatus::Unhealthy,
        "BUILD_ONLY" => AgentStatus::BuildOnly,
        _ => return None,
    })
}

pub(crate) const fn input_type(kind: AgentInputType) -> &'static str {
    match kind {
        AgentInputType::Text => "TEXT",
        AgentInputType::Json => "JSON",
    }
}

pub(crate) fn read_input_type(label: &str) -> Option<AgentInputType> {
    Some(match label {
        "TEXT" => AgentInputType::Text,
        "JSON" => AgentInputType::Json,
        _ => return None,
    })
}

pub(crate) const fn key_kind(kind: ApiKeyKind) -> &'static str {
    match kind {
        ApiKeyKind::Internal => "INTERNAL",
        ApiKeyKind::External => "EXTERNAL",
        ApiKeyKind::Github => "GITHUB",
        ApiKeyKind::Slack => "SLACK",
    }
}

pub(crate) fn read_key_kind(label: &str) -> Option<ApiKeyKind> {
    Some(match label {
        "INTERNAL" => ApiKeyKind::Internal,
        "EXTERNAL" => ApiKeyKind::External,
        "GITHUB" => ApiKeyKind::Github,
        "SLACK" => ApiKeyKind::Slack,
        _ => return None,
    })
}

/// Kinds of resources are stored as the wire has them.
pub(crate) fn read_resource_kind(text: &str) -> Option<ResourceKind> {
    [ResourceKind::Agent, ResourceKind::Task, ResourceKind::ApiKey, ResourceKind::Schedule]
        .into_iter()
        .find(|kind| kind.as_str() == text)
}

pub(crate) const fn deployment_status(status: DeploymentStatus) -> &'static str {
    match status {
        DeploymentStatus::Pending => "PENDING",
        DeploymentStatus::Ready => "READY",
        DeploymentStatus::Failed => "FAILED",
    }
}

pub(crate) fn read_deployment_status(label: &str) -> Option<DeploymentStatus> {
    Some(match label {
        "PENDING" => DeploymentStatus::Pending,
        "READY" => DeploymentStatus::Ready,
        "FAILED" => DeploymentStatus::Failed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_back_as_what_they_were_written_for() {
        for (_, status) in AgentStatus::ALL {
            assert_eq!(read_agent_status(agent_status(status)), Some(status));
        }
        for (_, kind) in AgentInputType::ALL {
            assert_eq!(read_input_type(input_type(kind)), Some(kind));
        }
        for (_, kind) in ApiKeyKind::ALL {
            assert_eq!(read_key_kind(key_kind(kind)), Some(kind));
        }
        for (_, status) in DeploymentStatus::ALL {
            assert_eq!(read_deployment_status(deployment_status(status)), Some(status));
        }
    }
}
