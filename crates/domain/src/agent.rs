use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{AgentId, DeploymentId, JsonObject, Timestamp};

const REASON_REGISTERED: &str = "Agent registered successfully.";
const REASON_BUILD_ONLY: &str = "Agent build registered; not yet deployed.";

/// An agent: a program that answers tasks at a URL it registered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agent {
    /// Server-made id.
    pub id: AgentId,
    /// Image it was built from, when known.
    pub docker_image: Option<String>,
    /// Globally unique name, deleted agents included.
    pub name: String,
    /// For people.
    pub description: String,
    /// How it takes work.
    pub acp_type: AcpType,
    /// Whether it can be called.
    pub status: AgentStatus,
    /// Why it has that status.
    pub status_reason: Option<String>,
    /// Where it listens; `None` until it was deployed.
    pub acp_url: Option<String>,
    /// First registration.
    pub created_at: Timestamp,
    /// Last change of any field.
    pub updated_at: Timestamp,
    /// Free metadata of the registering pod, merged over registrations.
    pub registration_metadata: Option<JsonObject>,
    /// Last registration that changed something.
    pub registered_at: Option<Timestamp>,
    /// What kind of input it takes.
    pub agent_input_type: Option<AgentInputType>,
    /// The deployment whose URL is called instead of `acp_url`.
    pub production_deployment_id: Option<DeploymentId>,
}

/// Whether an agent can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AgentStatus {
    /// Registered and, as far as is known, answering.
    Ready,
    /// Set by operators only.
    Failed,
    /// Nothing is known about it.
    Unknown,
    /// Soft-deleted; its name stays taken.
    Deleted,
    /// Stopped answering health checks.
    Unhealthy,
    /// Registered by a build; has no URL yet.
    BuildOnly,
}

impl AgentStatus {
    /// Every status with its wire text.
    pub const ALL: [(&'static str, Self); 6] = [
        ("Ready", Self::Ready),
        ("Failed", Self::Failed),
        ("Unknown", Self::Unknown),
        ("Deleted", Self::Deleted),
        ("Unhealthy", Self::Unhealthy),
        ("BuildOnly", Self::BuildOnly),
    ];

    /// The wire text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
            Self::Deleted => "Deleted",
            Self::Unhealthy => "Unhealthy",
            Self::BuildOnly => "BuildOnly",
        }
    }
}

/// How an agent takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcpType {
    /// Answers within the call.
    Sync,
    /// Acknowledges and answers later.
    Async,
    /// The old spelling of `async`; kept as it was sent and treated the same.
    Agentic,
}

impl AcpType {
    /// Every type with its wire text, in the order error texts list them.
    pub const ALL: [(&'static str, Self); 3] =
        [("sync", Self::Sync), ("async", Self::Async), ("agentic", Self::Agentic)];

    /// The wire text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::Agentic => "agentic",
        }
    }

    /// Whether work is answered within the call.
    #[must_use]
    pub const fn is_sync(self) -> bool {
        matches!(self, Self::Sync)
    }
}

impl fmt::Display for AcpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of input an agent takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentInputType {
    /// Free text.
    Text,
    /// A JSON document.
    Json,
}

impl AgentInputType {
    /// Every type with its wire text.
    pub const ALL: [(&'static str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];

    /// The wire text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// A valid agent name: lower-case letters, digits and hyphens, 1 to 128 of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentName(String);

impl AgentName {
    /// The pattern, as error texts show it.
    pub const PATTERN: &'static str = "^[a-z0-9-]+$";
    /// The longest name accepted.
    pub const MAX_LENGTH: usize = 128;

    /// Checks `name`; the error is the text for the caller.
    ///
    /// # Errors
    /// The pattern or the length is violated.
    pub fn parse(name: String) -> Result<Self, String> {
        let well_formed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(well_formed) {
            return Err(format!("String should match pattern '{}'", Self::PATTERN));
        }
        if name.len() > Self::MAX_LENGTH {
            return Err(format!("String should have at most {} characters", Self::MAX_LENGTH));
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as owned text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

/// What an agent says of itself when its process registers.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// Its name; on a registration by id this renames.
    pub name: AgentName,
    /// For people.
    pub description: String,
    /// Where it listens.
    pub acp_url: String,
    /// How it takes work.
    pub acp_type: AcpType,
    /// Only changed when sent.
    pub agent_input_type: Option<AgentInputType>,
    /// Merged into what is stored: top-level keys overwrite, the rest stays.
    pub metadata: Option<JsonObject>,
}

impl Registration {
    /// The agent that this registration makes when nobody has the name.
    #[must_use]
    pub fn into_agent(self, at: Timestamp) -> Agent {
        Agent {
            id: AgentId::generate(),
            docker_image: None,
            name: self.name.into_string(),
            description: self.description,
            acp_type: self.acp_type,
            status: AgentStatus::Ready,
            status_reason: Some(REASON_REGISTERED.to_owned()),
            acp_url: Some(self.acp_url),
            created_at: at,
            updated_at: at,
            registration_metadata: self.metadata,
            registered_at: Some(at),
            agent_input_type: self.agent_input_type,
            production_deployment_id: None,
        }
    }
}

impl Agent {
    /// The reason a soft-deleted agent carries; without a full stop, as readers know it.
    pub const REASON_DELETED: &'static str = "Agent deleted successfully";

    /// An agent that has been built but not deployed: no URL, no declared type yet.
    #[must_use]
    pub fn build_only(
        name: AgentName,
        description: String,
        metadata: Option<JsonObject>,
        agent_input_type: Option<AgentInputType>,
        at: Timestamp,
    ) -> Self {
        Self {
            id: AgentId::generate(),
            docker_image: None,
            name: name.into_string(),
            description,
            acp_type: AcpType::Async,
            status: AgentStatus::BuildOnly,
            status_reason: Some(REASON_BUILD_ONLY.to_owned()),
            acp_url: None,
            created_at: at,
            updated_at: at,
            registration_metadata: metadata,
            registered_at: None,
            agent_input_type,
            production_deployment_id: None,
        }
    }

    /// Applies a repeated registration and says whether anything changed.
    ///
    /// A changed agent becomes `Ready`, loses its production pointer (the URL it just named is the one to call) and moves
    /// `registered_at` and `updated_at`. An unchanged one is left alone unless `always_stamp` is set, as registrations by
    /// id do.
    pub fn register_again(&mut self, registration: &Registration, always_stamp: bool, at: Timestamp) -> bool {
        let before = self.clone();
        self.name = registration.name.as_str().to_owned();
        self.description.clone_from(&registration.description);
        self.acp_url = Some(registration.acp_url.clone());
        self.acp_type = registration.acp_type;
        self.status = AgentStatus::Ready;
        self.status_reason = Some(REASON_REGISTERED.to_owned());
        self.production_deployment_id = None;
        if registration.agent_input_type.is_some() {
            self.agent_input_type = registration.agent_input_type;
        }
        if let Some(metadata) = registration.metadata.as_ref().filter(|metadata| !metadata.is_empty()) {
            let merged = self.registration_metadata.get_or_insert_default();
            for (key, value) in metadata {
                merged.insert(key.clone(), value.clone());
            }
        }
        let changed = *self != before || always_stamp;
        if changed {
            self.registered_at = Some(at);
            self.updated_at = at;
        }
        changed
    }

    /// Makes one of its deployments the one that is called. An agent that only a build had registered is deployed by this.
    pub fn promote(&mut self, deployment: DeploymentId, acp_url: String, at: Timestamp) {
        self.production_deployment_id = Some(deployment);
        self.acp_url = Some(acp_url);
        if self.status == AgentStatus::BuildOnly {
            self.status = AgentStatus::Ready;
            self.status_reason = Some(REASON_REGISTERED.to_owned());
            self.registered_at = Some(at);
        }
        self.updated_at = at;
    }

    /// Brings a deleted row back as a build-only agent under its old id.
    pub fn revive_as_build(&mut self, description: String, metadata: Option<JsonObject>, at: Timestamp) {
        self.description = description;
        self.registration_metadata = metadata;
        self.acp_url = None;
        self.acp_type = AcpType::Async;
        self.status = AgentStatus::BuildOnly;
        self.status_reason = Some(REASON_BUILD_ONLY.to_owned());
        self.production_deployment_id = None;
        self.registered_at = None;
        self.updated_at = at;
    }

    /// Whether the row is soft-deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.status == AgentStatus::Deleted
    }

    /// The `metadata` object of the card the agent registered, when it has one.
    #[must_use]
    pub fn card_metadata(&self) -> Option<&JsonObject> {
        self.registration_metadata.as_ref()?.get("agent_card")?.get("metadata").and_then(Value::as_object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000).unwrap()
    }

    fn registration(metadata: Value) -> Registration {
        Registration {
            name: AgentName::parse("echo".into()).unwrap(),
            description: "d".into(),
            acp_url: "http://a:1".into(),
            acp_type: AcpType::Sync,
            agent_input_type: None,
            metadata: metadata.as_object().cloned(),
        }
    }

    #[test]
    fn an_equal_registration_changes_nothing() {
        let mut agent = registration(json!({"x": 1})).into_agent(at(1));
        let before = agent.clone();

        assert!(!agent.register_again(&registration(json!({"x": 1})), false, at(2)));
        assert_eq!(agent, before);
        assert!(agent.register_again(&registration(json!({"x": 1})), true, at(3)));
        assert_eq!(agent.registered_at, Some(at(3)));
    }

    #[test]
    fn metadata_is_merged_by_top_level_key_and_null_or_empty_change_nothing() {
        let mut agent = registration(json!({"x": 1, "y": 1})).into_agent(at(1));

        agent.register_again(&registration(json!({"y": 2, "z": 3})), false, at(2));
        agent.register_again(&registration(json!({})), false, at(3));
        agent.register_again(&registration(Value::Null), false, at(4));

        assert_eq!(Value::from(agent.registration_metadata.unwrap()), json!({"x": 1, "y": 2, "z": 3}));
        assert_eq!(agent.updated_at, at(2));
    }

    /// agents §13: 14
    #[test]
    fn an_unhealthy_agent_becomes_ready_by_an_equal_registration() {
        let mut agent = registration(Value::Null).into_agent(at(1));
        agent.status = AgentStatus::Unhealthy;

        assert!(agent.register_again(&registration(Value::Null), false, at(2)));
        assert_eq!(agent.status, AgentStatus::Ready);
    }

    #[test]
    fn names_are_lower_case_letters_digits_and_hyphens() {
        for good in ["a", "a-1", "0"] {
            assert!(AgentName::parse(good.into()).is_ok(), "{good}");
        }
        for bad in ["", "Bad", "a_b", "a\n", "é", "a b"] {
            assert!(AgentName::parse(bad.into()).is_err(), "{bad:?}");
        }
        assert!(AgentName::parse("a".repeat(129)).is_err());
    }
}
