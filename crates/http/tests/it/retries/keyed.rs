use std::time::Duration;

use agentex_app::{Caller, KeyedOutcome, RepeatableRequest, SecretsKey};
use agentex_authz::AuthzError;
use agentex_http::HttpOptions;
use agentex_testkit::fake_agent::Gate;
use serde_json::json;

use super::{CALL, count, is_replayed, message, one_text, same, with_agent};
use crate::support::{Answer, Setup, World, id, principal, text_content};

async fn post(world: &World, key: &str, path: &str, body: &str) -> Answer {
    world.call("POST", path, &[("idempotency-key", key)], Some(body)).await
}

/// messages §7: 53
///
/// agent-protocol §8: 30
#[tokio::test]
async fn the_same_key_twice_stores_one_message_and_answers_the_same() {
    let world = World::new().await;
    let task = world.task("a").await;
    let body = message(&task, "hello");

    let first = post(&world, "k", "/messages", &body).await;
    let second = post(&world, "k", "/messages", &body).await;
    let counted = world
        .call("POST", "/messages", &[("idempotency-key", "k"), ("x-stainless-retry-count", "1")], Some(&body))
        .await;

    first.ok();
    same(&first, &second);
    same(&first, &counted);
    assert_eq!(count(&world, &task).await, 1);

    let batch = json!({"task_id": id(&task), "contents": [text_content("one"), text_content("two")]}).to_string();
    let first = post(&world, "k", "/messages/batch", &batch).await;
    let second = post(&world, "k", "/messages/batch", &batch).await;
    assert_eq!(first.ok().as_array().unwrap().len(), 2, "the key of another path is another key");
    same(&first, &second);
    assert_eq!(count(&world, &task).await, 3);
}

#[tokio::test]
async fn a_key_is_for_one_request_of_one_caller() {
    let world = World::with(Setup { authenticated: true, ..Setup::default() }).await;
    world
        .call_as("alice", "POST", "/agents/register", Some(crate::support::registration("a", "sync", "http://a:1")))
        .await
        .ok();
    let create = json!({"method": "task/create", "params": {}});
    let task = world.call_as("alice", "POST", CALL, Some(create)).await.ok()["result"].clone();
    let post = async |user: &str, path: &str, body: &str| {
        let bearer = format!("Bearer {user}");
        world.call("POST", path, &[("authorization", &bearer), ("idempotency-key", "k")], Some(body)).await
    };
    let count = async || {
        let path = format!("/messages?task_id={}", id(&task));
        world.call_as("alice", "GET", &path, None).await.ok().as_array().unwrap().len()
    };
    post("alice", "/messages", &message(&task, "one")).await.ok();

    let text = post("alice", "/messages", &message(&task, "two")).await.invalid();
    assert!(text.contains("header.idempotency-key: The key was used for another request"), "{text}");
    post("alice", "/messages?x=1", &message(&task, "one")).await.invalid();
    assert_eq!(count().await, 1);

    for other in ["bob", "alice@globex"] {
        let answer = post(other, "/messages", &message(&task, "one")).await;
        answer.ok();
        assert!(!is_replayed(&answer));
    }
    assert_eq!(count().await, 3);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let world = World::new().await;
    let task = world.task("a").await;
    let body = message(&task, "hello");
    let first = post(&world, "k", "/messages", &body).await;

    world.clock.advance(Duration::from_secs(24 * 60 * 60 - 1));
    same(&first, &post(&world, "k", "/messages", &body).await);
    world.clock.advance(Duration::from_secs(1));
    assert!(!is_replayed(&post(&world, "k", "/messages", &body).await));

    assert_eq!(count(&world, &task).await, 2);
}

#[tokio::test]
async fn the_same_key_waits_for_the_request_that_is_carried_out() {
    let gate = Gate::closed();
    let (world, agent, body) = with_agent(one_text().after(&gate), false).await;

    let (first, second) = tokio::join!(post(&world, "k", CALL, &body), async {
        gate.reached().await;
        let other = body.replace("go", "stop");
        post(&world, "k", CALL, &other).await.invalid();
        let second = post(&world, "k", CALL, &body);
        tokio::join!(second, async { gate.open() }).0
    });

    assert_eq!(first.ok()["result"][0]["content"]["content"], "hello");
    same(&first, &second);
    assert_eq!(agent.methods().iter().filter(|method| *method == "message/send").count(), 1);
}

#[tokio::test]
async fn what_was_refused_stays_refused_and_what_failed_runs_again() {
    let world = World::new().await;
    let task = world.task("a").await;
    let body = message(&task, "hello");

    world.rules.fail(|| AuthzError::Unavailable("down".into()));
    for _ in 0..2 {
        let failed = post(&world, "failing", "/messages", &body).await;
        assert_eq!((failed.status.as_u16(), is_replayed(&failed)), (503, false));
    }
    world.rules.reset();
    assert!(!is_replayed(&post(&world, "failing", "/messages", &body).await));
    assert_eq!(count(&world, &task).await, 1);

    let nowhere = json!({"task_id": "nowhere", "content": text_content("x")}).to_string();
    let first = post(&world, "refused", "/messages", &nowhere).await;
    let second = post(&world, "refused", "/messages", &nowhere).await;
    first.expect(404);
    same(&first, &second);
    let first = post(&world, "broken", "/messages", "{").await;
    first.invalid();
    same(&first, &post(&world, "broken", "/messages", "{").await);
}

#[tokio::test]
async fn a_request_whose_server_died_runs_again_when_its_lease_has_ended() {
    let world = World::new().await;
    let task = world.task("a").await;
    let body = message(&task, "hello");
    let request = RepeatableRequest { method: "POST", path: "/messages", query: "", body: body.as_bytes() };
    let caller = Caller::Principal(principal("somebody"));
    let claim = || world.app.idempotency.claim(&caller, "k", request);
    let lost = claim().await.unwrap();
    assert!(matches!(lost, KeyedOutcome::Run(_)));
    assert!(matches!(claim().await, Ok(KeyedOutcome::Running)));

    world.clock.advance(Duration::from_secs(30));
    let answer = post(&world, "k", "/messages", &body).await;

    answer.ok();
    assert!(!is_replayed(&answer));
    assert_eq!(count(&world, &task).await, 1);
}

#[tokio::test]
async fn a_secret_is_answered_again_only_where_it_is_kept_sealed() {
    for secrets_key in [None, Some(SecretsKey::generate())] {
        let sealed = secrets_key.is_some();
        let world = World::with(Setup { secrets_key, ..Setup::default() }).await;
        let agent = world.agent("a", "sync", "http://agent.test:1").await;
        let body = json!({"agent_id": id(&agent), "name": "n"}).to_string();

        let first = post(&world, "k", "/agent_api_keys", &body).await;
        let second = post(&world, "k", "/agent_api_keys", &body).await;

        let secret = first.ok()["api_key"].as_str().unwrap().to_owned();
        if sealed {
            same(&first, &second);
            assert_eq!(second.header("cache-control"), Some("no-store"));
        } else {
            let text = "This request has been carried out, but its answer was not kept; read what it changed instead";
            second.refused(409, text);
            assert_eq!(second.header("x-should-retry"), Some("false"));
        }
        for entry in std::fs::read_dir(world.folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
}

#[tokio::test]
async fn a_streamed_answer_is_not_repeated_and_neither_is_the_turn() {
    let (world, agent, body) = with_agent(one_text(), true).await;

    let first = post(&world, "k", CALL, &body).await;
    let second = post(&world, "k", CALL, &body).await;

    assert!(first.text().contains("hello"));
    second.expect(409);
    assert_eq!(second.header("x-should-retry"), Some("false"));
    assert_eq!(agent.methods().iter().filter(|method| *method == "message/send").count(), 1);
}

#[tokio::test]
async fn a_key_that_is_no_key_and_a_body_too_long_change_nothing() {
    let http = HttpOptions { max_body_bytes: 2000, ..HttpOptions::default() };
    let world = World::with(Setup { http, ..Setup::default() }).await;
    let task = world.task("a").await;
    let body = message(&task, "hello");

    for key in ["", &"k".repeat(256), "\u{e9}"] {
        post(&world, key, "/messages", &body)
            .await
            .refused(400, "Idempotency-Key must be one text of 1 to 255 visible characters");
    }
    let long = message(&task, &"x".repeat(2000));
    post(&world, "k", "/messages", &long).await.refused(413, "Request body is too large");
    assert_eq!(count(&world, &task).await, 0);
    post(&world, "k", "/messages", &body).await.ok();
    let read = world.call("GET", &format!("/tasks/{}", id(&task)), &[("idempotency-key", "")], None).await;
    read.ok();
}

#[tokio::test]
async fn registering_needs_no_key_and_keeps_nothing_of_it() {
    let world = World::new().await;
    let body = crate::support::registration("a", "sync", "http://agent.test:1").to_string();

    let first = post(&world, "k", "/agents/register", &body).await;
    let second = post(&world, "k", "/agents/register", &body).await;

    assert_eq!(first.ok(), second.ok());
    assert!(!is_replayed(&second));
}
