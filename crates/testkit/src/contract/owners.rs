//! What every `OwnerRepository` must tell.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_authz::{ResourceKind, ResourceRef};
use agentex_domain::ports::Stores;
use agentex_domain::{AgentId, ApiKeyKind, Intent};

use super::stored::{created, granting, stored_agent};
use crate::build::{agent, api_key, at, intent, new_task, user};

/// Stores a row of `user`'s under `resource`, whatever the row is.
async fn own(stores: &Stores, resource: ResourceRef, parent: Option<ResourceRef>, name: &str) -> Intent {
    let intent = Intent { parent, owner: user(name), created_at: at(3), ..intent(resource) };
    stores.intents.open(&intent).await.unwrap();
    let id = AgentId::generate();
    stores.agents.insert(&agent(&format!("carrier-{id}")), Some(granting(&intent))).await.unwrap();
    intent
}

pub async fn an_owner_is_found_by_kind_and_selector(stores: &Stores) {
    let parent = ResourceRef::agent("parent");
    let task = own(stores, ResourceRef::task("same"), Some(parent.clone()), "alice").await;
    let key = own(stores, ResourceRef::api_key("same"), None, "bob").await;

    let of_task = stores.owners.find(&task.resource).await.unwrap().unwrap();
    let of_key = stores.owners.find(&key.resource).await.unwrap().unwrap();

    assert_eq!((of_task.resource, of_task.parent, of_task.owner), (task.resource, Some(parent), user("alice")));
    assert_eq!((of_key.resource, of_key.parent, of_key.owner), (key.resource, None, user("bob")));
    assert_eq!((of_task.created_at, of_key.created_at), (at(3), at(3)));
    for nobodys in [ResourceRef::agent("same"), ResourceRef::task("SAME"), ResourceRef::task("' OR '1'='1")] {
        assert_eq!(stores.owners.find(&nobodys).await.unwrap(), None, "{nobodys}");
    }
}

/// authz §7: 210
pub async fn owners_are_paged_by_selector_in_byte_order(stores: &Stores) {
    let selectors = ["b", "B", "a::1", "a-1", "\u{e9}", "0"];
    for selector in selectors {
        own(stores, ResourceRef::schedule(selector), None, selector).await;
    }
    own(stores, ResourceRef::task("a"), None, "other kind").await;
    let mut expected = selectors.to_vec();
    expected.sort_unstable();

    for limit in [1, 2, 4, 6, 7] {
        let mut told = Vec::new();
        let mut after = None;
        loop {
            let page = stores.owners.page(ResourceKind::Schedule, after, limit).await.unwrap();
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            after = Some(last.resource.selector.clone());
            told.extend(page);
            assert!(told.len() <= expected.len(), "a page goes on where the last one ended");
        }
        let told_selectors: Vec<&str> = told.iter().map(|owner| owner.resource.selector.as_str()).collect();
        assert_eq!(told_selectors, expected, "pages of {limit}");
        for owner in &told {
            assert_eq!(owner.owner, user(&owner.resource.selector));
        }
    }
    assert_eq!(stores.owners.page(ResourceKind::ApiKey, None, 10).await.unwrap(), []);
}

/// authz §7: 210
pub async fn live_rows_without_an_owner_are_told_in_pages(stores: &Stores) {
    let mut agents = Vec::new();
    for number in 0..5 {
        agents.push(stored_agent(stores, &format!("agent-{number}")).await);
    }
    let gone = stored_agent(stores, "gone").await;
    stores.agents.delete(&gone.id, "gone", at(1), None).await.unwrap().unwrap();
    let owned = agent("owned");
    let registering = intent(ResourceRef::agent(owned.id.as_str()));
    stores.intents.open(&registering).await.unwrap();
    stores.agents.insert(&owned, Some(granting(&registering))).await.unwrap();
    let mut expected: Vec<String> = agents.iter().map(|agent| agent.id.to_string()).collect();
    expected.sort();

    assert_eq!(stores.owners.unowned(ResourceKind::Agent, None, 100).await.unwrap(), expected);
    let first = stores.owners.unowned(ResourceKind::Agent, None, 2).await.unwrap();
    assert_eq!(first, expected[..2]);
    let rest = stores.owners.unowned(ResourceKind::Agent, first.last().cloned(), 100).await.unwrap();
    assert_eq!(rest, expected[2..]);
    assert_eq!(stores.owners.unowned(ResourceKind::Schedule, None, 100).await.unwrap(), [""; 0]);
}

pub async fn tasks_and_keys_without_an_owner_are_told_by_kind(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let (live, dead, owned) =
        (created(stores, new_task(&worker)).await, created(stores, new_task(&worker)).await, new_task(&worker));
    stores.tasks.delete(&dead.id, "gone", at(1), None).await.unwrap().unwrap();
    let registering = intent(ResourceRef::task(owned.id.as_str()));
    stores.intents.open(&registering).await.unwrap();
    stores.tasks.insert(&owned, Some(granting(&registering))).await.unwrap();
    let (key, owned_key) =
        (api_key(&worker.id, ApiKeyKind::Slack, "one"), api_key(&worker.id, ApiKeyKind::Slack, "two"));
    stores.api_keys.insert(&key, None).await.unwrap();
    let registering = intent(ResourceRef::api_key(owned_key.id.as_str()));
    stores.intents.open(&registering).await.unwrap();
    stores.api_keys.insert(&owned_key, Some(granting(&registering))).await.unwrap();

    assert_eq!(stores.owners.unowned(ResourceKind::Task, None, 100).await.unwrap(), [live.id.to_string()]);
    assert_eq!(stores.owners.unowned(ResourceKind::ApiKey, None, 100).await.unwrap(), [key.id.to_string()]);
}
