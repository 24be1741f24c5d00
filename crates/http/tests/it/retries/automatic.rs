use agentex_authz::AuthzError;
use agentex_testkit::fake_agent::Gate;
use agentex_testkit::statements::sent_by;
use serde_json::json;

use super::{CALL, count, is_replayed, message, one_text, same, with_agent};
use crate::support::{Answer, Authorization, Setup, World, id, registration, text_content};

/// The attempt of that number, as the SDK's client makes it.
async fn attempt(world: &World, number: u32, path: &str, body: &str) -> Answer {
    world.call("POST", path, &[("x-stainless-retry-count", &number.to_string())], Some(body)).await
}

#[tokio::test]
async fn a_retry_gets_the_answer_of_the_attempt_it_repeats() {
    let world = World::new().await;
    let task = world.task("a").await;
    let body = message(&task, "hello");
    let first = attempt(&world, 0, "/messages", &body).await;
    first.ok();

    same(&first, &attempt(&world, 1, "/messages", &body).await);
    same(&first, &attempt(&world, 2, "/messages", &body).await);
    assert_eq!(count(&world, &task).await, 1);
}

#[tokio::test]
async fn equal_requests_are_never_one_and_their_retries_are_told_apart() {
    let world = World::new().await;
    let task = world.task("a").await;
    let body = message(&task, "hello");
    let first = attempt(&world, 0, "/messages", &body).await;
    let second = attempt(&world, 0, "/messages", &body).await;
    assert_ne!(first.ok()["id"], second.ok()["id"]);

    same(&second, &attempt(&world, 1, "/messages", &body).await);
    same(&first, &attempt(&world, 1, "/messages", &body).await);
    assert_eq!(count(&world, &task).await, 2);

    let third = attempt(&world, 1, "/messages", &body).await;
    assert!(!is_replayed(&third), "nothing is left that it could repeat");
    assert_eq!(count(&world, &task).await, 3);
    same(&third, &attempt(&world, 2, "/messages", &body).await);

    for _ in 0..2 {
        assert!(!is_replayed(&world.call("POST", "/messages", &[], Some(&body)).await), "this client does not count");
    }
    assert_eq!(count(&world, &task).await, 5);
}

#[tokio::test]
async fn a_retry_of_another_request_or_caller_is_carried_out() {
    let world = World::with(Setup { authenticated: true, ..Setup::default() }).await;
    world.call_as("alice", "POST", "/agents/register", Some(registration("a", "sync", "http://a:1"))).await.ok();
    let create = json!({"method": "task/create", "params": {}});
    let task = world.call_as("alice", "POST", CALL, Some(create)).await.ok()["result"].clone();
    let body = message(&task, "hello");
    let attempt = async |user: &str, number: &str, path: &str, more: (&str, &str), body: &str| {
        let bearer = format!("Bearer {user}");
        let headers = [("authorization", bearer.as_str()), ("x-stainless-retry-count", number), more];
        world.call("POST", path, &headers, Some(body)).await
    };
    let none = ("x-other", "1");
    attempt("alice", "0", "/messages", none, &body).await.ok();

    let retries = [
        attempt("bob", "1", "/messages", none, &body).await,
        attempt("alice@globex", "1", "/messages", none, &body).await,
        attempt("alice", "1", "/messages", none, &message(&task, "other")).await,
        attempt("alice", "1", "/messages?x=1", none, &body).await,
        attempt("alice", "1", "/messages", ("x-acting-user-api-key", "k"), &body).await,
    ];

    let mut ids: Vec<String> = retries.iter().map(|retry| id(&retry.ok()).to_owned()).collect();
    assert!(retries.iter().all(|retry| !is_replayed(retry)));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), retries.len());
    assert!(is_replayed(&attempt("alice", "1", "/messages", none, &body).await));
}

/// The client gave up waiting, which must not cut off what it asked for.
#[tokio::test]
async fn a_retry_attaches_to_the_attempt_whose_caller_has_gone() {
    let gate = Gate::closed();
    let (world, agent, body) = with_agent(one_text().after(&gate), false).await;
    {
        let first = std::pin::pin!(attempt(&world, 0, CALL, &body));
        tokio::select! {
            answer = first => panic!("answered too early: {answer:?}"),
            () = gate.reached() => {}
        }
    }

    let (second, ()) = tokio::join!(attempt(&world, 1, CALL, &body), async { gate.open() });

    assert!(is_replayed(&second));
    assert_eq!(second.ok()["result"][0]["content"]["content"], "hello");
    assert_eq!(agent.methods().iter().filter(|method| *method == "message/send").count(), 1);
}

#[tokio::test]
async fn a_retry_of_what_failed_is_carried_out() {
    let world = World::new().await;
    let task = world.task("a").await;
    let body = message(&task, "hello");
    attempt(&world, 0, "/messages", &body).await.ok();
    world.rules.fail(|| AuthzError::Unavailable("down".into()));
    assert_eq!(attempt(&world, 0, "/messages", &body).await.status, 503);
    assert_eq!(attempt(&world, 1, "/messages", &body).await.status, 503);
    world.rules.reset();

    let last = attempt(&world, 2, "/messages", &body).await;

    last.ok();
    assert!(!is_replayed(&last), "it repeats what failed, not the equal request before");
    assert_eq!(count(&world, &task).await, 2);
}

#[tokio::test]
async fn a_bug_in_an_attempt_is_answered_and_does_not_hold_up_its_retry() {
    let world = World::new().await;
    let task = world.task("a").await;
    let body = message(&task, "hello");
    world.rules.panic();
    attempt(&world, 0, "/messages", &body).await.refused(500, "Internal Server Error");
    world.rules.reset();

    attempt(&world, 1, "/messages", &body).await.ok();

    assert_eq!(count(&world, &task).await, 1);
}

#[tokio::test]
async fn a_span_and_a_batch_of_messages_are_one_statement_each() {
    let world = World::with(Setup { authorization: Authorization::Off, ..Setup::default() }).await;
    let task = world.task("a").await;
    let span = json!({"trace_id": "t", "task_id": id(&task), "name": "n", "start_time": "2026-01-02T03:04:05Z"});
    let batch = json!({"task_id": id(&task), "contents": vec![text_content("hello"); 50]});

    for (path, body, table) in [("/spans", span, "spans"), ("/messages/batch", batch, "task_messages")] {
        let (answer, statements) = sent_by(attempt(&world, 0, path, &body.to_string())).await;

        answer.ok();
        assert_eq!(statements.len(), 1, "{statements:?}");
        assert!(statements[0].starts_with(&format!("INSERT INTO {table}")), "{statements:?}");
    }
}

#[tokio::test]
async fn a_streamed_turn_is_not_taken_again_by_a_retry() {
    let (world, agent, body) = with_agent(one_text(), true).await;

    let first = attempt(&world, 0, CALL, &body).await;
    let second = attempt(&world, 1, CALL, &body).await;

    assert!(first.text().contains("hello"));
    second.expect(409);
    assert_eq!(second.header("x-should-retry"), Some("false"));
    assert_eq!(agent.methods().iter().filter(|method| *method == "message/send").count(), 1);
}

/// agent-protocol §9: 38
#[tokio::test]
async fn a_conflict_that_will_not_change_tells_the_client_not_to_retry() {
    let world = World::new().await;
    let agent = world.agent("a", "sync", "http://agent.test:1").await;
    let body = json!({"agent_id": id(&agent), "name": "n"}).to_string();
    attempt(&world, 0, "/agent_api_keys", &body).await.ok();

    let taken = attempt(&world, 0, "/agent_api_keys", &body).await;

    taken.expect(409);
    assert_eq!(taken.header("x-should-retry"), Some("false"));
}
