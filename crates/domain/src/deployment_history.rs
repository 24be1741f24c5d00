use serde_json::Value;

use crate::{Agent, AgentId, DeploymentHistoryId, JsonObject, Timestamp};

/// What an author is called who did not say.
const UNNAMED: &str = "N/A";

/// One commit of an agent that was deployed: written once, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentHistoryEntry {
    /// Server-made; later entries have greater ids.
    pub id: DeploymentHistoryId,
    /// The agent.
    pub agent_id: AgentId,
    /// Who wrote the commit.
    pub author_name: String,
    /// The author's address.
    pub author_email: String,
    /// The branch it was built from.
    pub branch_name: String,
    /// When it was built.
    pub build_timestamp: Timestamp,
    /// When an agent of this build registered.
    pub deployment_timestamp: Timestamp,
    /// The commit.
    pub commit_hash: String,
}

impl DeploymentHistoryEntry {
    /// The entry for an agent that has just registered, if its metadata says which commit (`agent_commit`) of which branch
    /// (`branch_name`) it runs. A time of the build that cannot be read makes no entry; without one it is the registration's.
    ///
    /// An agent that only a build has registered makes none.
    #[must_use]
    pub fn of(agent: &Agent) -> Option<Self> {
        let metadata = agent.registration_metadata.as_ref()?;
        let deployment_timestamp = agent.registered_at?;
        let build_timestamp = match metadata.get("build_timestamp") {
            None | Some(Value::Null) => deployment_timestamp,
            Some(Value::String(text)) if text.is_empty() => deployment_timestamp,
            Some(Value::String(text)) => Timestamp::parse(text).filter(|built| is_in_calendar(*built))?,
            Some(_) => return None,
        };
        let author = |name| text(metadata, name).unwrap_or(UNNAMED).to_owned();
        Some(Self {
            id: DeploymentHistoryId::generate(),
            agent_id: agent.id.clone(),
            author_name: author("author_name"),
            author_email: author("author_email"),
            branch_name: text(metadata, "branch_name")?.to_owned(),
            build_timestamp,
            deployment_timestamp,
            commit_hash: text(metadata, "agent_commit")?.to_owned(),
        })
    }
}

fn text<'a>(metadata: &'a JsonObject, name: &str) -> Option<&'a str> {
    metadata.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// Whether the year has four digits at most. Stores do not hold all the others.
fn is_in_calendar(moment: Timestamp) -> bool {
    let year = chrono::Datelike::year(&moment.as_datetime());
    (1..=9999).contains(&year)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{AcpType, AgentName, Registration};

    fn agent(metadata: Value) -> Agent {
        let registration = Registration {
            name: AgentName::parse("echo".into()).unwrap(),
            description: "d".into(),
            acp_url: "http://a:1".into(),
            acp_type: AcpType::Sync,
            agent_input_type: None,
            metadata: metadata.as_object().cloned(),
        };
        registration.into_agent(Timestamp::parse("2026-01-02T03:04:05Z").unwrap())
    }

    #[test]
    fn an_entry_takes_a_commit_and_a_branch_and_fills_in_the_rest() {
        let entry = DeploymentHistoryEntry::of(&agent(json!({"agent_commit": "c", "branch_name": "main"}))).unwrap();

        assert_eq!((entry.commit_hash.as_str(), entry.branch_name.as_str()), ("c", "main"));
        assert_eq!((entry.author_name.as_str(), entry.author_email.as_str()), ("N/A", "N/A"));
        assert_eq!(entry.build_timestamp, entry.deployment_timestamp);
        for lacking in [
            Value::Null,
            json!({"agent_commit": "c"}),
            json!({"branch_name": "main"}),
            json!({"agent_commit": "", "branch_name": "main"}),
            json!({"agent_commit": 5, "branch_name": "main"}),
        ] {
            assert_eq!(DeploymentHistoryEntry::of(&agent(lacking.clone())), None, "{lacking}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_read_makes_no_entry() {
        let built = |at: Value| {
            let metadata = json!({"agent_commit": "c", "branch_name": "main", "build_timestamp": at});
            DeploymentHistoryEntry::of(&agent(metadata)).map(|entry| entry.build_timestamp.to_string())
        };

        assert_eq!(built(json!("2025-06-01T12:00:00+02:00")).as_deref(), Some("2025-06-01T10:00:00Z"));
        assert_eq!(built(json!("")).as_deref(), Some("2026-01-02T03:04:05Z"));
        for bad in [json!("yesterday"), json!(1_700_000_000), json!("-20000-01-01"), json!("+20000-01-01")] {
            assert_eq!(built(bad.clone()), None, "{bad}");
        }
    }

    #[test]
    fn a_build_that_is_not_deployed_makes_no_entry() {
        let mut built = agent(json!({"agent_commit": "c", "branch_name": "main"}));
        built.registered_at = None;

        assert_eq!(DeploymentHistoryEntry::of(&built), None);
    }
}
