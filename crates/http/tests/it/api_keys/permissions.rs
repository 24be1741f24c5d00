//! Who may do what with keys, and what those who may not are told.

use std::collections::BTreeSet;
use std::time::Duration;

use agentex_authz::{Operation, ResourceKind, ResourceRef, Scope, Selectors};
use serde_json::{Value, json};

use super::{FORBIDDEN, NO_KEY, by_id, key, key_of, owned, register, shown};
use crate::support::{World, id, ids, principal};

/// api-keys §7: 9; authz §7: 163
#[tokio::test]
async fn of_several_creates_of_one_name_one_succeeds() {
    let (world, agent) = owned().await;
    let before = keys_in_graph(&world).await;
    let attempts = (0..8).map(|_| {
        let body = json!({"agent_id": id(&agent), "name": "n"});
        world.call_as("alice", "POST", "/agent_api_keys", Some(body))
    });

    let answers = futures::future::join_all(attempts).await;

    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
    let made = answers.iter().find(|answer| answer.status == 200).unwrap().ok();
    let after = keys_in_graph(&world).await;
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), [id(&made)]);
}

/// The keys of which the graph holds anything.
async fn keys_in_graph(world: &World) -> BTreeSet<String> {
    let everything = world.store.relationships().load().await.unwrap().relationships;
    let keys = everything.into_iter().filter(|edge| &*edge.resource.kind == "agent_api_key");
    keys.map(|edge| edge.resource.id.to_string()).collect()
}

/// api-keys §7: 15
#[tokio::test]
async fn the_backend_says_which_keys_are_listed() {
    let world = World::new().await;
    world.agent("helper", "sync", "http://agent.test:1").await;
    let (one, two) = (key(&world, "one").await, key(&world, "two").await);

    let listed = world.get("/agent_api_keys?agent_name=helper&api_key_type=external").await.ok();
    assert_eq!(ids(&listed).len(), 2);
    world.rules.show_only(&[id(&two)]);
    let listed = world.get("/agent_api_keys?agent_name=helper&api_key_type=external").await.ok();
    assert_eq!(ids(&listed), [id(&two)]);
    assert_ne!(id(&one), id(&two));
    world.rules.show_only(&[]);
    assert_eq!(world.get("/agent_api_keys?agent_name=helper").await.text(), "[]");
}

/// api-keys §7: 18, 20
#[tokio::test]
async fn a_hidden_key_is_like_an_absent_one() {
    let world = World::new().await;
    world.agent("helper", "sync", "http://agent.test:1").await;
    let made = key(&world, "n").await;
    world.rules.hide(id(&made));
    world.rules.hide("absent");
    let named = |name: &str| format!("/agent_api_keys/name/{name}?agent_name=helper");

    for method in ["GET", "DELETE"] {
        for (hidden, absent) in [(by_id(&made), "/agent_api_keys/absent".to_owned()), (named("n"), named("absent"))] {
            let hidden = world.call(method, &hidden, &[], None).await;
            hidden.refused(404, NO_KEY);
            assert_eq!(shown(&hidden), shown(&world.call(method, &absent, &[], None).await));
        }
    }
    for odd in ["*", "a%0Ab", &"x".repeat(1025)] {
        world.get(&format!("/agent_api_keys/{odd}")).await.refused(404, NO_KEY);
        world.delete(&format!("/agent_api_keys/{odd}")).await.refused(404, NO_KEY);
    }
}

/// api-keys §7: 19
#[tokio::test]
async fn a_key_that_may_be_seen_and_not_deleted_stays() {
    let (world, agent) = owned().await;
    let listed = world.call_as("alice", "GET", "/agent_api_keys?agent_name=helper", None).await.ok();
    let internal = &listed[0];
    world.share("bob", Operation::Read, ResourceRef::agent(id(&agent))).await;
    world.share("bob", Operation::Read, ResourceRef::api_key(id(internal))).await;
    let by_name = "/agent_api_keys/name/helper-api-key?agent_name=helper&api_key_type=internal";

    world.call_as("bob", "GET", &by_id(internal), None).await.ok();
    world.call_as("bob", "DELETE", &by_id(internal), None).await.refused(403, FORBIDDEN);
    world.call_as("bob", "DELETE", by_name, None).await.refused(403, FORBIDDEN);

    let key = [("x-agent-api-key", agent["agent_api_key"].as_str().unwrap())];
    world.get_with("/tasks", &key).await.ok();
}

/// api-keys §7: 27; authz §7: 151
#[tokio::test]
async fn making_a_key_takes_update_on_the_agent() {
    let (world, agent) = owned().await;
    key_of(&world, "alice", "taken").await;
    world.share("bob", Operation::Read, ResourceRef::agent(id(&agent))).await;
    world.share("eve", Operation::Update, ResourceRef::agent(id(&agent))).await;
    let trigger = |agent: &str| json!({"agent_name": agent, "name": "acme/w", "forward_path": "p"});

    for name in ["taken", "free"] {
        let body = |member: &str, value: &str| Some(json!({member: value, "name": name}));
        let by_name = world.call_as("bob", "POST", "/agent_api_keys", body("agent_name", "helper")).await;
        by_name.refused(403, FORBIDDEN);
        for user in ["mallory", "alice@elsewhere"] {
            let by_name = world.call_as(user, "POST", "/agent_api_keys", body("agent_name", "helper")).await;
            by_name.refused(404, "Item with name 'helper' does not exist.");
            let by_id = world.call_as(user, "POST", "/agent_api_keys", body("agent_id", id(&agent))).await;
            by_id.refused(404, &format!("Item with id '{}' does not exist.", id(&agent)));
        }
    }
    let path = "/agent_api_keys/webhook-trigger";
    world.call_as("bob", "POST", path, Some(trigger("helper"))).await.refused(403, FORBIDDEN);
    let hidden = world.call_as("mallory", "POST", path, Some(trigger("helper"))).await;
    hidden.refused(404, "Item with name 'helper' does not exist.");
    let absent = world.call_as("mallory", "POST", path, Some(trigger("absent"))).await;
    absent.refused(404, "Item with name 'absent' does not exist.");
    world.call_as("eve", "POST", path, Some(trigger("helper"))).await.ok();
}

/// An agent's own key opens its tasks, never the door to more keys.
#[tokio::test]
async fn agents_manage_no_keys() {
    let (world, agent) = owned().await;
    let made = key_of(&world, "alice", "n").await;
    let key = [("x-agent-api-key", agent["agent_api_key"].as_str().unwrap())];
    let by_agent = async |method: &str, path: &str, body: Option<Value>| {
        world.call(method, path, &key, body.map(|body| body.to_string()).as_deref()).await
    };

    for kind in ["external", "internal"] {
        let body = json!({"agent_name": "helper", "name": "m", "api_key_type": kind});
        by_agent("POST", "/agent_api_keys", Some(body)).await.refused(403, FORBIDDEN);
    }
    assert_eq!(by_agent("GET", "/agent_api_keys?agent_name=helper", None).await.ok(), json!([]));
    for method in ["GET", "DELETE"] {
        by_agent(method, &by_id(&made), None).await.refused(404, NO_KEY);
        by_agent(method, "/agent_api_keys/name/n?agent_name=helper", None).await.refused(404, NO_KEY);
    }
}

/// api-keys §7: 29, 30, 31, 32
/// authz §7: 64
#[tokio::test]
async fn only_a_live_agents_internal_key_opens_the_api() {
    let (world, agent) = owned().await;
    let other = register(&world, "other").await;
    let tasks = async |key: &str| world.get_with("/tasks", &[("x-agent-api-key", key)]).await;
    let internal = agent["agent_api_key"].as_str().unwrap();
    let refused = async |key: &str| {
        let answer = tasks(key).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, r#"{"detail":"Agent Unauthorized"}"#));
    };

    tasks(internal).await.ok();
    for kind in ["external", "github", "slack"] {
        let body = json!({"agent_name": "helper", "name": "n", "api_key_type": kind});
        let made = world.call_as("alice", "POST", "/agent_api_keys", Some(body)).await.ok();
        refused(made["api_key"].as_str().unwrap()).await;
    }
    let by_name = "/agent_api_keys/name/helper-api-key?agent_name=helper&api_key_type=internal";
    world.call_as("alice", "DELETE", by_name, None).await.ok();
    refused(internal).await;
    let internal = other["agent_api_key"].as_str().unwrap();
    tasks(internal).await.ok();
    world.call_as("alice", "DELETE", "/agents/name/other", None).await.ok();
    refused(internal).await;
}

/// authz §7: 156
#[tokio::test]
async fn pages_are_full_of_what_may_be_seen() {
    let (world, agent) = owned().await;
    world.share("bob", Operation::Read, ResourceRef::agent(id(&agent))).await;
    let mut visible = Vec::new();
    for number in 0..9 {
        world.clock.advance(Duration::from_secs(1));
        let made = key_of(&world, "alice", &format!("k{number}")).await;
        if number % 3 == 2 {
            world.share("bob", Operation::Read, ResourceRef::api_key(id(&made))).await;
            visible.push(id(&made).to_owned());
        }
    }
    let page = async |user: &str, query: &str| {
        let path = format!("/agent_api_keys?agent_name=helper&{query}");
        world.call_as(user, "GET", &path, None).await.ok()
    };

    assert_eq!(ids(&page("bob", "limit=2").await), visible[..2]);
    assert_eq!(ids(&page("bob", "limit=2&page_number=2").await), visible[2..]);
    assert_eq!(ids(&page("alice", "").await).len(), 10);
    // Sees the agent but no key of it.
    world.share("carol", Operation::Read, ResourceRef::agent(id(&agent))).await;
    assert_eq!(page("carol", "").await, json!([]));
}

/// authz §7: 157
#[tokio::test]
async fn absent_and_hidden_keys_and_agents_are_all_the_same() {
    let (world, agent) = owned().await;
    key_of(&world, "alice", "n").await;
    // Sees the agent, not the key.
    world.share("bob", Operation::Read, ResourceRef::agent(id(&agent))).await;

    for method in ["GET", "DELETE"] {
        let mut seen = Vec::new();
        for (user, name, agent) in [
            ("bob", "n", "agent_name=helper".to_owned()),
            ("bob", "absent", "agent_name=helper".to_owned()),
            ("mallory", "n", "agent_name=helper".to_owned()),
            ("mallory", "n", format!("agent_id={}", id(&agent))),
            ("mallory", "absent", "agent_name=helper".to_owned()),
            ("mallory", "n", "agent_name=unknown".to_owned()),
            ("mallory", "n", "agent_id=unknown".to_owned()),
            ("alice", "absent", "agent_name=helper".to_owned()),
            ("alice@elsewhere", "n", "agent_name=helper".to_owned()),
        ] {
            let answer = world.call_as(user, method, &format!("/agent_api_keys/name/{name}?{agent}"), None).await;
            answer.refused(404, NO_KEY);
            seen.push(shown(&answer));
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "{seen:?}");
    }
    for agent in ["agent_name=helper", "agent_name=unknown", "agent_id=unknown"] {
        let listed = world.call_as("mallory", "GET", &format!("/agent_api_keys?{agent}"), None).await;
        assert_eq!((listed.status.as_u16(), listed.text().as_str()), (200, "[]"));
    }
}

/// A backend that does not know that keys belong to agents may show a key and hide its agent.
#[tokio::test]
async fn names_are_not_looked_up_under_a_hidden_agent() {
    let world = World::new().await;
    let agent = world.agent("helper", "sync", "http://agent.test:1").await;
    let made = key(&world, "n").await;
    world.rules.hide(id(&agent));

    for method in ["GET", "DELETE"] {
        world.call(method, "/agent_api_keys/name/n?agent_name=helper", &[], None).await.refused(404, NO_KEY);
    }

    assert_eq!(world.get("/agent_api_keys?agent_name=helper").await.text(), "[]");
    world.get(&by_id(&made)).await.ok();
}

/// With authorization on, an id that nothing has is hidden like one that belongs to somebody else.
#[tokio::test]
async fn absent_and_hidden_ids_are_the_same() {
    let (world, _) = owned().await;
    let made = key_of(&world, "alice", "n").await;

    for method in ["GET", "DELETE"] {
        let hidden = world.call_as("mallory", method, &by_id(&made), None).await;
        hidden.refused(404, NO_KEY);
        assert_eq!(shown(&hidden), shown(&world.call_as("mallory", method, "/agent_api_keys/none", None).await));
        assert_eq!(shown(&hidden), shown(&world.call_as("alice", method, "/agent_api_keys/none", None).await));
    }
    world.call_as("alice", "DELETE", &by_id(&made), None).await.ok();
    world.call_as("alice", "GET", &by_id(&made), None).await.refused(404, NO_KEY);
    assert!(!keys_in_graph(&world).await.contains(id(&made)));
}

/// authz §7: 158
#[tokio::test]
async fn a_key_that_took_an_old_ones_name_survives() {
    let (world, _) = owned().await;
    let old = key_of(&world, "alice", "n").await;
    world.call_as("alice", "DELETE", "/agent_api_keys/name/n?agent_name=helper", None).await.ok();
    let new = key_of(&world, "alice", "n").await;

    world.call_as("alice", "DELETE", &by_id(&old), None).await.refused(404, NO_KEY);

    let found = world.call_as("alice", "GET", "/agent_api_keys/name/n?agent_name=helper", None).await.ok();
    assert_eq!(id(&found), id(&new));
    assert_ne!(id(&old), id(&new));
}

/// authz §7: 159
#[tokio::test]
async fn who_may_see_a_key_is_told_that_it_may_not_delete_it() {
    let (world, agent) = owned().await;
    let made = key_of(&world, "alice", "n").await;
    world.share("bob", Operation::Read, ResourceRef::agent(id(&agent))).await;
    world.share("bob", Operation::Read, ResourceRef::api_key(id(&made))).await;

    let refused = world.call_as("bob", "DELETE", "/agent_api_keys/name/n?agent_name=helper", None).await;

    refused.refused(403, FORBIDDEN);
    world.call_as("bob", "GET", "/agent_api_keys/name/n?agent_name=helper", None).await.ok();
}

/// authz §7: 162
#[tokio::test]
async fn deleting_takes_both_the_agent_and_the_key() {
    let (world, agent) = owned().await;
    let agent = ResourceRef::agent(id(&agent));
    world.share("bob", Operation::Update, agent.clone()).await;
    world.share("carol", Operation::Update, agent.clone()).await;
    let made = key_of(&world, "bob", "n").await;
    world.share("carol", Operation::Read, ResourceRef::api_key(id(&made))).await;

    // May change the agent, may only see the key.
    world.call_as("carol", "DELETE", &by_id(&made), None).await.refused(403, FORBIDDEN);
    // Owns the agent, has no part in the key.
    world.call_as("alice", "DELETE", &by_id(&made), None).await.refused(404, NO_KEY);
    // Owns the key, may not change the agent any more.
    world.unshare("bob", Operation::Update, agent.clone()).await;
    world.share("bob", Operation::Read, agent.clone()).await;
    world.call_as("bob", "DELETE", &by_id(&made), None).await.refused(403, FORBIDDEN);

    world.share("bob", Operation::Update, agent).await;
    world.call_as("bob", "DELETE", &by_id(&made), None).await.ok();
    let authorizer = world.authorizer.as_ref().unwrap();
    let left = authorizer.list_resources(&principal("bob"), ResourceKind::ApiKey, Operation::Read).await.unwrap();
    assert_eq!(left, Scope::Only(Selectors::default()));
}
