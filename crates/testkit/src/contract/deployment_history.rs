//! What every `DeploymentHistoryRepository` must do, and every `AgentRepository` for it.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_domain::ports::{DeploymentHistoryOrder, Stores};
use agentex_domain::{
    Agent, AgentId, AgentName, DeploymentHistoryEntry, DeploymentHistoryId, Direction, PageRequest, Registration,
};
use serde_json::{Value, json};

use crate::build::{at, object, registration};

fn of_commit(name: &str, commit: &str) -> Registration {
    Registration {
        metadata: Some(object(json!({"agent_commit": commit, "branch_name": "main"}))),
        ..registration(name)
    }
}

/// An agent that has just registered for the first time, at `at(0)`.
async fn registered(stores: &Stores, registration: Registration) -> Agent {
    let agent = registration.into_agent(at(0));
    stores.agents.insert(&agent, None).await.unwrap();
    agent
}

async fn again(stores: &Stores, agent: &Agent, registration: &Registration, seconds: i64) {
    stores.agents.register_live(&agent.id, registration, false, at(seconds)).await.unwrap().unwrap();
}

async fn newest_first(stores: &Stores, agent_id: &AgentId) -> Vec<DeploymentHistoryEntry> {
    let (order, direction) = (DeploymentHistoryOrder::DeploymentTimestamp, Direction::Descending);
    stores.deployment_history.list(agent_id, order, direction, PageRequest::default()).await.unwrap()
}

async fn commits(stores: &Stores, agent_id: &AgentId) -> Vec<String> {
    newest_first(stores, agent_id).await.into_iter().map(|entry| entry.commit_hash).collect()
}

pub async fn a_first_registration_leaves_the_entry_its_metadata_makes(stores: &Stores) {
    let mut full = of_commit("full", "c1");
    full.metadata = Some(object(json!({
        "agent_commit": "c1", "branch_name": "main", "author_name": "Ada", "author_email": "ada@example.com",
        "build_timestamp": "2024-05-06T07:08:09.123456+02:00",
    })));
    let (full, bare) = (registered(stores, full).await, registered(stores, of_commit("bare", "c2")).await);

    for agent in [full, bare] {
        let entries = newest_first(stores, &agent.id).await;
        let made = DeploymentHistoryEntry::of(&agent).unwrap();
        assert_eq!(entries, [DeploymentHistoryEntry { id: entries[0].id.clone(), ..made }]);
        assert_eq!(stores.deployment_history.find(&entries[0].id).await.unwrap().as_ref(), Some(&entries[0]));
    }
    assert_eq!(stores.deployment_history.find(&DeploymentHistoryId::generate()).await.unwrap(), None);
}

pub async fn a_registration_without_commit_or_with_an_unreadable_time_is_stored_without_an_entry(stores: &Stores) {
    for (name, metadata) in [
        ("none", Value::Null),
        ("no-branch", json!({"agent_commit": "c"})),
        ("no-commit", json!({"branch_name": "main"})),
        ("odd-time", json!({"agent_commit": "c", "branch_name": "main", "build_timestamp": "yesterday"})),
        ("far-time", json!({"agent_commit": "c", "branch_name": "main", "build_timestamp": "-9999-01-01"})),
    ] {
        let mut first = registration(name);
        first.metadata = metadata.as_object().cloned();
        let agent = registered(stores, first.clone()).await;
        first.description = "changed".into();
        again(stores, &agent, &first, 1).await;

        assert_eq!(commits(stores, &agent.id).await, [""; 0], "{name}");
        assert_eq!(stores.agents.find(&agent.id).await.unwrap().unwrap().description, "changed");
    }
}

pub async fn a_build_leaves_no_entry_until_its_pod_registers(stores: &Stores) {
    let metadata = of_commit("built", "c").metadata;
    let name = AgentName::parse("built".into()).unwrap();
    let built = Agent::build_only(name, "d".into(), metadata, None, at(0));
    stores.agents.insert(&built, None).await.unwrap();
    assert_eq!(commits(stores, &built.id).await, [""; 0]);

    again(stores, &built, &registration("built"), 1).await;

    assert_eq!(commits(stores, &built.id).await, ["c"]);
}

pub async fn a_commit_is_added_when_the_newest_is_another(stores: &Stores) {
    let agent = registered(stores, of_commit("a", "A")).await;
    let mut seconds = 0;
    for (commit, expected) in [("A", &["A"][..]), ("B", &["B", "A"]), ("B", &["B", "A"]), ("A", &["A", "B", "A"])] {
        seconds += 1;
        let changed = Registration { description: format!("at {seconds}"), ..of_commit("a", commit) };
        again(stores, &agent, &changed, seconds).await;
        assert_eq!(commits(stores, &agent.id).await, expected);
    }
    let newest = &newest_first(stores, &agent.id).await[0];
    assert_eq!(newest.deployment_timestamp, at(4));
}

/// The rows are told apart even when the clock has not moved.
pub async fn commits_of_one_moment_are_kept_in_their_order(stores: &Stores) {
    let agent = registered(stores, of_commit("a", "A")).await;

    for commit in ["B", "A", "A"] {
        again(stores, &agent, &of_commit("a", commit), 0).await;
    }

    assert_eq!(commits(stores, &agent.id).await, ["A", "B", "A"]);
}

pub async fn merged_metadata_decides_about_the_entry(stores: &Stores) {
    let agent = registered(stores, of_commit("a", "A")).await;
    let mut partial = registration("a");
    partial.metadata = Some(object(json!({"agent_commit": "B"})));

    again(stores, &agent, &partial, 1).await;

    let newest = &newest_first(stores, &agent.id).await[0];
    assert_eq!((newest.commit_hash.as_str(), newest.branch_name.as_str()), ("B", "main"));
}

pub async fn concurrent_registrations_of_one_commit_leave_one_entry(stores: &Stores) {
    let agent = registered(stores, registration("a")).await;

    let pods = (1..=10).map(|number| {
        let (stores, agent) = (stores.clone(), agent.clone());
        tokio::spawn(async move {
            let changed = Registration { description: format!("pod {number}"), ..of_commit("a", "C") };
            again(&stores, &agent, &changed, number).await;
        })
    });
    for pod in futures::future::join_all(pods).await {
        pod.unwrap();
    }

    assert_eq!(commits(stores, &agent.id).await, ["C"]);
}

pub async fn reviving_an_agent_adds_to_its_history(stores: &Stores) {
    let agent = registered(stores, of_commit("a", "A")).await;
    stores.agents.delete(&agent.id, Agent::REASON_DELETED, at(1), None).await.unwrap().unwrap();

    stores.agents.register_again(&agent.id, &of_commit("a", "B"), false, at(2), None).await.unwrap().unwrap();

    assert_eq!(commits(stores, &agent.id).await, ["B", "A"]);
}

pub async fn entries_of_a_deleted_agent_are_not_found(stores: &Stores) {
    let agent = registered(stores, of_commit("a", "A")).await;
    let entry = newest_first(stores, &agent.id).await.remove(0);

    stores.agents.delete(&agent.id, Agent::REASON_DELETED, at(1), None).await.unwrap().unwrap();

    assert_eq!(stores.deployment_history.find(&entry.id).await.unwrap(), None);
}

pub async fn a_list_of_history_follows_the_order_asked_for_in_both_directions(stores: &Stores) {
    let agent = registered(stores, registration("a")).await;
    let other = registered(stores, of_commit("other", "O")).await;
    for (seconds, commit, branch, name, email, built) in [
        (1, "b", "x", "Z", "1@x", "2024-01-03"),
        (2, "A", "x", "a", "3@x", "2024-01-01"),
        (3, "c", "Y", "a", "2@x", "2024-01-02"),
    ] {
        let metadata = json!({
            "agent_commit": commit, "branch_name": branch, "author_name": name, "author_email": email,
            "build_timestamp": built,
        });
        again(stores, &agent, &Registration { metadata: Some(object(metadata)), ..registration("a") }, seconds).await;
    }

    for (order, ascending) in [
        (DeploymentHistoryOrder::DeploymentTimestamp, ["b", "A", "c"]),
        (DeploymentHistoryOrder::BuildTimestamp, ["A", "c", "b"]),
        // Ids are made in the order of time.
        (DeploymentHistoryOrder::Id, ["b", "A", "c"]),
        // Upper case comes first where bytes are compared; equal ones are in the order of time.
        (DeploymentHistoryOrder::AuthorName, ["b", "A", "c"]),
        (DeploymentHistoryOrder::AuthorEmail, ["b", "c", "A"]),
        (DeploymentHistoryOrder::BranchName, ["c", "b", "A"]),
        (DeploymentHistoryOrder::CommitHash, ["A", "b", "c"]),
    ] {
        let listed = async |direction| {
            let page = PageRequest::default();
            let entries = stores.deployment_history.list(&agent.id, order, direction, page).await.unwrap();
            entries.into_iter().map(|entry| entry.commit_hash).collect::<Vec<_>>()
        };
        assert_eq!(listed(Direction::Ascending).await, ascending, "{order:?}");
        let descending: Vec<&str> = ascending.into_iter().rev().collect();
        assert_eq!(listed(Direction::Descending).await, descending, "{order:?}");
    }
    assert_eq!(commits(stores, &other.id).await, ["O"]);
}

pub async fn pages_of_equal_entries_show_each_exactly_once(stores: &Stores) {
    let agent = registered(stores, of_commit("a", "0")).await;
    for number in 1..7 {
        again(stores, &agent, &of_commit("a", &number.to_string()), 0).await;
    }
    let (order, direction) = (DeploymentHistoryOrder::BranchName, Direction::Descending);
    let mut seen = Vec::new();

    for page_number in 1..=4 {
        let page = PageRequest { limit: 2, page_number };
        let entries = stores.deployment_history.list(&agent.id, order, direction, page).await.unwrap();
        seen.extend(entries.into_iter().map(|entry| entry.commit_hash));
    }

    assert_eq!(seen.len(), 7);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len(), 7);
}
