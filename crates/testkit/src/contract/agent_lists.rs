//! Lists of agents, as every `AgentRepository` must answer them.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_authz::Scope;
use agentex_domain::ports::{AgentFilter, AgentOrder, Stores};
use agentex_domain::{Agent, AgentId, AgentStatus, Direction, PageRequest, TaskId};
use serde_json::json;

use super::containment;
use crate::build::{agent, at, new_task, object};

const EVERYTHING: AgentFilter = AgentFilter { scope: Scope::All, task_id: None, card_metadata: None };

fn page(limit: u32, page_number: u64) -> PageRequest {
    PageRequest { limit, page_number }
}

fn only<'a>(ids: impl IntoIterator<Item = &'a AgentId>) -> Scope {
    Scope::Only(ids.into_iter().map(|id| id.as_str().to_owned()).collect())
}

async fn insert(stores: &Stores, agents: &[Agent]) {
    for agent in agents {
        stores.agents.insert(agent, None).await.unwrap();
    }
}

async fn names(stores: &Stores, filter: &AgentFilter, order: AgentOrder, direction: Direction) -> Vec<String> {
    let agents = stores.agents.list(filter, order, direction, PageRequest::default()).await.unwrap();
    agents.into_iter().map(|agent| agent.name).collect()
}

pub async fn a_list_shows_every_status_but_deleted(stores: &Stores) {
    for (name, status) in AgentStatus::ALL {
        insert(stores, &[Agent { status, ..agent(&name.to_lowercase()) }]).await;
    }

    let listed = names(stores, &EVERYTHING, AgentOrder::Name, Direction::Ascending).await;

    assert_eq!(listed, ["buildonly", "failed", "ready", "unhealthy", "unknown"]);
}

pub async fn a_list_follows_the_order_asked_for_in_both_directions(stores: &Stores) {
    let make = |name: &str, created, updated, registered: Option<i64>, status| Agent {
        created_at: at(created),
        updated_at: at(updated),
        registered_at: registered.map(at),
        status,
        ..agent(name)
    };
    let agents = [
        make("b", 1, 30, Some(7), AgentStatus::Ready),
        make("a", 3, 10, None, AgentStatus::Unhealthy),
        make("c", 2, 20, Some(5), AgentStatus::BuildOnly),
    ];
    insert(stores, &agents).await;
    let mut by_id = agents.clone();
    by_id.sort_by(|one, other| one.id.cmp(&other.id));
    let by_id: Vec<&str> = by_id.iter().map(|agent| agent.name.as_str()).collect();

    for (order, ascending) in [
        (AgentOrder::UpdatedAt, vec!["a", "c", "b"]),
        (AgentOrder::CreatedAt, vec!["b", "c", "a"]),
        (AgentOrder::Id, by_id),
        (AgentOrder::Name, vec!["a", "b", "c"]),
        (AgentOrder::Status, vec!["c", "b", "a"]),
        (AgentOrder::RegisteredAt, vec!["a", "c", "b"]),
    ] {
        assert_eq!(names(stores, &EVERYTHING, order, Direction::Ascending).await, ascending, "{order:?}");
        let descending: Vec<&str> = ascending.into_iter().rev().collect();
        assert_eq!(names(stores, &EVERYTHING, order, Direction::Descending).await, descending, "{order:?}");
    }
}

/// Ties go to `updated_at`, then `created_at`, then id, all in the direction asked for.
pub async fn ties_in_a_list_are_broken_in_the_direction_of_the_list(stores: &Stores) {
    let make = |name: &str, created, updated| Agent { created_at: at(created), updated_at: at(updated), ..agent(name) };
    let mut agents =
        vec![make("late", 1, 2), make("young", 2, 1), make("twin-1", 1, 1), make("twin-2", 1, 1), make("twin-3", 1, 1)];
    insert(stores, &agents).await;
    agents.sort_by(|one, other| {
        (one.updated_at, one.created_at, &one.id).cmp(&(other.updated_at, other.created_at, &other.id))
    });

    let ascending: Vec<String> = agents.into_iter().map(|agent| agent.name).collect();
    let descending: Vec<String> = ascending.iter().rev().cloned().collect();

    // All have the same status, so the ties decide.
    assert_eq!(names(stores, &EVERYTHING, AgentOrder::Status, Direction::Ascending).await, ascending);
    assert_eq!(names(stores, &EVERYTHING, AgentOrder::Status, Direction::Descending).await, descending);
}

pub async fn pages_of_equal_agents_show_each_exactly_once(stores: &Stores) {
    let agents: Vec<Agent> = (0..7).map(|number| agent(&format!("a{number}"))).collect();
    insert(stores, &agents).await;
    let everyone: BTreeSet<String> = agents.iter().map(|agent| agent.name.clone()).collect();

    for direction in [Direction::Ascending, Direction::Descending] {
        let mut sizes = Vec::new();
        let mut seen = Vec::new();
        for number in 1..=5 {
            let listed =
                stores.agents.list(&EVERYTHING, AgentOrder::UpdatedAt, direction, page(2, number)).await.unwrap();
            sizes.push(listed.len());
            seen.extend(listed.into_iter().map(|agent| agent.name));
        }
        assert_eq!(sizes, [2, 2, 2, 1, 0]);
        assert_eq!(seen.len(), 7);
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), everyone);
    }
    let beyond =
        stores.agents.list(&EVERYTHING, AgentOrder::UpdatedAt, Direction::Descending, page(1000, u64::MAX)).await;
    assert_eq!(beyond.unwrap(), []);
}

pub async fn a_scope_limits_the_list_and_its_pages(stores: &Stores) {
    let agents: Vec<Agent> = ["a", "b", "c", "d"].into_iter().map(agent).collect();
    insert(stores, &agents).await;
    let two = AgentFilter { scope: only([&agents[1].id, &agents[3].id, &AgentId::generate()]), ..EVERYTHING };

    assert_eq!(names(stores, &two, AgentOrder::Name, Direction::Ascending).await, ["b", "d"]);
    let second = stores.agents.list(&two, AgentOrder::Name, Direction::Ascending, page(1, 2)).await.unwrap();
    assert_eq!(second, [agents[3].clone()]);

    let nothing = AgentFilter { scope: only([]), ..EVERYTHING };
    assert_eq!(names(stores, &nothing, AgentOrder::Name, Direction::Ascending).await, [""; 0]);
}

pub async fn a_deleted_agent_is_not_listed_even_inside_the_scope(stores: &Stores) {
    let gone = agent("gone");
    insert(stores, std::slice::from_ref(&gone)).await;
    let task = new_task(&gone);
    stores.tasks.insert(&task, None).await.unwrap();
    stores.agents.delete(&gone.id, "gone", at(1), None).await.unwrap();

    let asked = AgentFilter { scope: only([&gone.id]), task_id: Some(task.id), card_metadata: None };

    assert_eq!(names(stores, &asked, AgentOrder::Name, Direction::Ascending).await, [""; 0]);
}

pub async fn a_list_can_be_limited_to_the_agents_of_a_task(stores: &Stores) {
    let (one, other) = (agent("one"), agent("other"));
    insert(stores, &[one.clone(), other]).await;
    let task = new_task(&one);
    stores.tasks.insert(&task, None).await.unwrap();
    stores.tasks.insert(&new_task(&one), None).await.unwrap();

    let of_task = |task_id: TaskId| AgentFilter { task_id: Some(task_id), ..EVERYTHING };

    assert_eq!(names(stores, &of_task(task.id), AgentOrder::Name, Direction::Ascending).await, ["one"]);
    assert_eq!(names(stores, &of_task(TaskId::generate()), AgentOrder::Name, Direction::Ascending).await, [""; 0]);
}

pub async fn card_metadata_is_matched_by_containment(stores: &Stores) {
    for (position, case) in containment::cases().into_iter().enumerate() {
        let metadata = object(json!({"agent_card": {"name": "card", "metadata": case.stored.clone()}}));
        let carrying = Agent { registration_metadata: Some(metadata), ..agent(&format!("case-{position}")) };
        insert(stores, std::slice::from_ref(&carrying)).await;

        let asked =
            AgentFilter { scope: only([&carrying.id]), card_metadata: Some(case.wanted.clone()), task_id: None };
        let listed = names(stores, &asked, AgentOrder::Name, Direction::Ascending).await;
        assert_eq!(!listed.is_empty(), case.matches, "{case:?}");
    }
}

/// Only a card whose metadata is an object can match, even when nothing is asked of it.
pub async fn agents_without_a_metadata_object_in_their_card_match_no_card_filter(stores: &Stores) {
    let metadata = [
        None,
        Some(json!({})),
        Some(json!({"metadata": {"k": "v"}})),
        Some(json!({"agent_card": null})),
        Some(json!({"agent_card": "card"})),
        Some(json!({"agent_card": ["metadata"]})),
        Some(json!({"agent_card": {}})),
        Some(json!({"agent_card": {"metadata": null}})),
        Some(json!({"agent_card": {"metadata": "k"}})),
        Some(json!({"agent_card": {"metadata": ["k", "v"]}})),
        Some(json!({"agent_card": {"metadata": 5}})),
    ];
    for (position, metadata) in metadata.into_iter().enumerate() {
        let registration_metadata = metadata.map(object);
        insert(stores, &[Agent { registration_metadata, ..agent(&format!("odd-{position}")) }]).await;
    }
    let with_card = json!({"agent_card": {"metadata": {"k": "v"}}});
    insert(stores, &[Agent { registration_metadata: Some(object(with_card)), ..agent("carded") }]).await;

    for wanted in [json!({}), json!({"k": "v"})] {
        let asked = AgentFilter { card_metadata: Some(object(wanted)), ..EVERYTHING };
        assert_eq!(names(stores, &asked, AgentOrder::Name, Direction::Ascending).await, ["carded"]);
    }
}
