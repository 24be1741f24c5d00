//! `GET /authz/explain`.

use agentex_authz::{Operation, ResourceRef};
use serde_json::{Value, json};

use crate::support::{Answer, Authorization, Setup, World, id, registration};

/// A server on which alice owns an agent, and the agent.
async fn with_agent() -> (World, Value) {
    let world = World::with_authorization().await;
    let body = registration("helper", "sync", "http://agent.test:1");
    let agent = world.call_as("alice", "POST", "/agents/register", Some(body)).await.ok();
    (world, agent)
}

async fn explain(world: &World, user: &str, query: &str) -> Answer {
    world.call_as(user, "GET", &format!("/authz/explain?{query}"), None).await
}

#[tokio::test]
async fn callers_learn_why_they_may_and_why_not() {
    let (world, agent) = with_agent().await;
    let agent = id(&agent);
    world.share("bob", Operation::Read, ResourceRef::agent(agent)).await;

    let allowed = explain(&world, "alice", &format!("resource=agent:{agent}&operation=delete")).await.ok();
    let denied = explain(&world, "bob", &format!("resource=agent:{agent}&operation=update")).await.ok();

    assert_eq!(allowed["decision"], "allow");
    assert_eq!(allowed["statement"], format!("user:alice acting in acme may delete agent:{agent}"));
    assert_eq!(allowed["because"][0]["holds"], true);
    assert!(allowed.to_string().contains(&format!("agent:{agent}#owner@user:alice")), "{allowed}");
    assert_eq!(denied["decision"], "deny");
    assert_eq!(denied["because"][0]["holds"], false);
    let members: Vec<&String> = denied.as_object().unwrap().keys().collect();
    assert_eq!(members, ["because", "decision", "statement"]);
}

#[tokio::test]
async fn what_a_caller_may_not_read_is_not_explained_and_looks_absent() {
    let (world, agent) = with_agent().await;

    let hidden = explain(&world, "mallory", &format!("resource=agent:{}&operation=read", id(&agent))).await;
    let elsewhere = explain(&world, "alice@other", &format!("resource=agent:{}&operation=read", id(&agent))).await;

    hidden.refused(404, &format!("Item with id '{}' does not exist.", id(&agent)));
    elsewhere.refused(404, &format!("Item with id '{}' does not exist.", id(&agent)));
    explain(&world, "mallory", "resource=task:none&operation=read")
        .await
        .refused(404, "Item with id 'none' does not exist.");
}

#[tokio::test]
async fn owners_learn_about_others_in_their_account() {
    let (world, agent) = with_agent().await;
    let resource = ResourceRef::agent(id(&agent));
    world.share("bob", Operation::Update, resource.clone()).await;
    let about = |operation: &str, who: &str| format!("resource={resource}&operation={operation}&{who}");

    let bob = explain(&world, "alice", &about("update", "user_id=bob")).await.ok();
    let carol = explain(&world, "alice", &about("read", "user_id=carol")).await.ok();
    let robot = explain(&world, "alice", &about("read", "service_account_id=bob")).await.ok();

    assert_eq!(
        (&bob["decision"], &carol["decision"], &robot["decision"]),
        (&json!("allow"), &json!("deny"), &json!("deny"))
    );
    assert_eq!(bob["statement"], format!("user:bob acting in acme may update {resource}"));
    assert!(robot["statement"].as_str().unwrap().starts_with("service_account:bob acting in acme"), "{robot}");
}

#[tokio::test]
async fn only_owners_are_told_about_others() {
    let (world, agent) = with_agent().await;
    let resource = ResourceRef::agent(id(&agent));
    world.share("bob", Operation::Update, resource.clone()).await;
    let about_alice = format!("resource={resource}&operation=read&user_id=alice");

    explain(&world, "bob", &about_alice).await.refused(403, "Forbidden – principal lacks permission");
    let hidden = explain(&world, "mallory", &about_alice).await;

    hidden.refused(404, &format!("Item with id '{}' does not exist.", id(&agent)));
    // Naming oneself is asking about somebody: what counts is the permission, not the name.
    let about_bob = format!("resource={resource}&operation=read&user_id=bob");
    explain(&world, "bob", &about_bob).await.refused(403, "Forbidden – principal lacks permission");
}

#[tokio::test]
async fn agents_are_told_nothing() {
    let (world, agent) = with_agent().await;
    let key = [("x-agent-api-key", agent["agent_api_key"].as_str().unwrap())];

    for resource in [format!("agent:{}", id(&agent)), "task:none".to_owned(), "task:*".to_owned()] {
        let path = format!("/authz/explain?resource={resource}&operation=create");
        world.get_with(&path, &key).await.refused(403, "Forbidden – principal lacks permission");
    }
}

#[tokio::test]
async fn creating_is_explained_for_the_caller_only() {
    let world = World::with_authorization().await;

    let may = explain(&world, "alice", "resource=agent:*&operation=create").await.ok();

    assert_eq!(may["decision"], "allow");
    explain(&world, "alice", "resource=agent:*&operation=create&user_id=bob")
        .await
        .refused(403, "Forbidden – principal lacks permission");
    assert!(explain(&world, "alice", "resource=agent:*&operation=read").await.invalid().contains("query.resource"));
}

#[tokio::test]
async fn with_authorization_off_the_answer_says_so() {
    let world = World::with(Setup { authorization: Authorization::Off, ..Setup::default() }).await;

    let answer = world.get("/authz/explain?resource=task:none&operation=cancel&user_id=bob").await;

    assert_eq!(
        answer.text(),
        r#"{"decision":"allow","statement":"authorization is off: everything is allowed","because":[]}"#
    );
}

#[tokio::test]
async fn a_question_that_cannot_be_asked_is_refused() {
    let world = World::new().await;

    for (query, place) in [
        ("operation=read", "query.resource"),
        ("resource=task:t", "query.operation"),
        ("resource=message:t&operation=read", "query.resource"),
        ("resource=task:&operation=read", "query.resource"),
        ("resource=task:t&operation=share", "query.operation"),
        ("resource=task:t&operation=read&user_id=a&service_account_id=b", "query.service_account_id"),
        ("resource=task:t&operation=read&user_id=", "query.user_id"),
    ] {
        let text = world.get(&format!("/authz/explain?{query}")).await.invalid();
        assert!(text.contains(place), "{query}: {text}");
    }
}
