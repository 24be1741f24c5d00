use agentex_authz::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceRef};
use agentex_testkit::fake_provider::{FakeProvider, Hold, Reply};
use serde_json::json;

use crate::support::{CHECK, alice, alice_json, authorizer, authorizer_with, closed_address, impatient, kind};

/// What comes of a check that the provider answers with `reply`.
async fn answered(reply: Reply) -> Result<Decision, AuthzError> {
    let provider = FakeProvider::start().await;
    provider.on(CHECK, reply);
    authorizer(&provider).check(&alice(), Operation::Read, &ResourceRef::task("t1")).await
}

async fn refused(reply: Reply) -> &'static str {
    kind(&answered(reply).await.unwrap_err())
}

/// authz §7: 1.
#[tokio::test]
async fn a_success_allows() {
    assert_eq!(answered(Reply::json(json!({"success": true}))).await.unwrap(), Decision::Allow);
}

/// authz §7: 2.
#[tokio::test]
async fn status_403_is_a_denial_and_no_error() {
    for body in ["", "nonsense", r#"{"message":"no"}"#, r#"{"success":true}"#] {
        assert_eq!(answered(Reply::raw(403, body)).await.unwrap(), Decision::Deny, "{body}");
    }
}

/// authz §7: 3.
#[tokio::test]
async fn a_200_that_says_no_is_a_denial() {
    for body in [json!({"success": false}), json!({"allowed": false}), json!({"success": true, "allowed": false})] {
        assert_eq!(answered(Reply::json(body.clone())).await.unwrap(), Decision::Deny, "{body}");
    }
}

/// authz §7: 4.
#[tokio::test]
async fn a_200_that_is_no_object_is_not_understood() {
    for body in ["", "null", "true", "[]", "\"yes\"", "<html></html>", "{\"success\":tr"] {
        assert_eq!(refused(Reply::raw(200, body)).await, "protocol", "{body}");
    }
}

/// authz §7: 5, 6, 7, 8.
#[tokio::test]
async fn each_failing_status_has_its_meaning() {
    for (status, expected) in [
        (401, "unauthenticated"),
        (502, "gateway"),
        (503, "busy"),
        (500, "service"),
        (501, "service"),
        (504, "service"),
        (599, "service"),
    ] {
        // The body never matters, not even one that allows.
        assert_eq!(refused(Reply::raw(status, r#"{"success":true}"#)).await, expected, "{status}");
    }
}

/// authz §7: 9.
#[tokio::test]
async fn a_refused_connection_is_an_outage() {
    let authorizer = authorizer_with(impatient(&closed_address().await));

    let outcome = authorizer.check(&alice(), Operation::Read, &ResourceRef::task("t1")).await;

    assert_eq!(kind(&outcome.unwrap_err()), "unavailable");
}

/// authz §7: 10.
#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_an_outage() {
    let (provider, never) = (FakeProvider::start().await, Hold::new());
    provider.on(CHECK, Reply::json(json!({"success": true})).held(&never));
    let authorizer = authorizer_with(impatient(provider.url()));

    let outcome = authorizer.check(&alice(), Operation::Read, &ResourceRef::task("t1")).await;

    assert_eq!(kind(&outcome.unwrap_err()), "unavailable");
    assert_eq!(provider.calls(CHECK).len(), 1, "a request that was sent is not sent again");
}

/// authz §7: 11.
#[tokio::test]
async fn other_statuses_are_not_passed_on_as_if_they_were_ours() {
    for status in [201, 202, 204, 400, 404, 405, 409, 418, 422, 429] {
        assert_eq!(refused(Reply::raw(status, "")).await, "protocol", "{status}");
    }
}

/// authz §7: 12.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (provider, target) = (FakeProvider::start().await, FakeProvider::start().await);
    target.on("/elsewhere", Reply::json(json!({"success": true})));
    provider.on(CHECK, Reply::redirect(&format!("{}/elsewhere", target.url())));

    let outcome = authorizer(&provider).check(&alice(), Operation::Read, &ResourceRef::task("t1")).await;

    assert_eq!(kind(&outcome.unwrap_err()), "gateway");
    assert!(target.requests().is_empty(), "the target saw the principal");
}

/// authz §7: 13, 14.
#[tokio::test]
async fn the_question_has_exactly_three_members_and_the_principal_as_it_came() {
    let provider = FakeProvider::start().await;
    provider.on(CHECK, Reply::json(json!({"success": true})));

    let decision = authorizer(&provider).check(&alice(), Operation::Cancel, &ResourceRef::task("t1")).await.unwrap();

    assert_eq!(decision, Decision::Allow);
    let request = provider.call(CHECK, 0).await;
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(
        request.json(),
        json!({
            "principal": alice_json(),
            "resource": {"type": "task", "selector": "t1"},
            "operation": "cancel",
        })
    );
}

#[tokio::test]
async fn operations_and_kinds_go_out_under_their_wire_names() {
    let provider = FakeProvider::start().await;
    provider.on(CHECK, Reply::json(json!({"success": true})));
    let authorizer = authorizer(&provider);
    let asked = [
        (Operation::Create, ResourceRef::any(agentex_authz::ResourceKind::Agent), "create", "agent", "*"),
        (Operation::Read, ResourceRef::agent("a"), "read", "agent", "a"),
        (Operation::Update, ResourceRef::api_key("k"), "update", "api_key", "k"),
        (Operation::Delete, ResourceRef::schedule("run-schedule::a::s"), "delete", "schedule", "run-schedule::a::s"),
        (Operation::Execute, ResourceRef::agent("a"), "execute", "agent", "a"),
    ];

    for (index, (operation, resource, name, kind, selector)) in asked.into_iter().enumerate() {
        assert!(authorizer.check(&alice(), operation, &resource).await.unwrap().is_allowed());
        let body = provider.call(CHECK, index).await.json();
        assert_eq!(body["operation"], name);
        assert_eq!(body["resource"], json!({"type": kind, "selector": selector}));
    }
}

/// authz §7: 31.
#[tokio::test]
async fn a_slash_at_the_end_of_the_address_changes_nothing() {
    let provider = FakeProvider::start().await;
    provider.on(CHECK, Reply::json(json!({"success": true})));
    let authorizer = authorizer_with(agentex_authz_sgp::WireOptions::to(format!("{}/", provider.url())));

    assert!(authorizer.check(&alice(), Operation::Read, &ResourceRef::task("t1")).await.unwrap().is_allowed());

    assert_eq!(provider.calls(CHECK).len(), 1);
}

/// authz §7: 63.
#[tokio::test]
async fn decisions_are_not_remembered() {
    let provider = FakeProvider::start().await;
    provider.once(CHECK, Reply::json(json!({"success": true}))).once(CHECK, Reply::status(403));
    let authorizer = authorizer(&provider);

    assert_eq!(authorizer.check(&alice(), Operation::Read, &ResourceRef::task("t1")).await.unwrap(), Decision::Allow);
    assert_eq!(authorizer.check(&alice(), Operation::Read, &ResourceRef::task("t1")).await.unwrap(), Decision::Deny);
}

#[tokio::test]
async fn several_questions_are_asked_side_by_side_and_answered_in_order() {
    let (provider, hold) = (FakeProvider::start().await, Hold::new());
    provider.allow("alice", "agent", "a1", "execute").allow("alice", "task", "t2", "update");
    provider.once(CHECK, Reply::status(403).held(&hold));
    let authorizer = authorizer(&provider);
    let checks = ["t1", "t2", "t3"].map(|id| Check { operation: Operation::Update, resource: ResourceRef::task(id) });

    // The first request to arrive is held until the last one has arrived too.
    let principal = alice();
    let (decisions, _) = tokio::join!(authorizer.check_many(&principal, &checks), async {
        provider.call(CHECK, 2).await;
        hold.release();
    });

    let first = provider.call(CHECK, 0).await.json()["resource"]["selector"].as_str().unwrap().to_owned();
    let expected = checks.iter().map(|check| check.resource.selector == "t2" && first != "t2");
    let allowed: Vec<bool> = decisions.unwrap().into_iter().map(Decision::is_allowed).collect();
    assert_eq!(allowed, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn one_question_without_an_answer_leaves_all_unanswered() {
    let provider = FakeProvider::start().await;
    provider.on(CHECK, Reply::json(json!({"success": true}))).once(CHECK, Reply::status(500));
    let check = Check { operation: Operation::Read, resource: ResourceRef::task("t1") };

    let outcome = authorizer(&provider).check_many(&alice(), &[check.clone(), check]).await;

    assert_eq!(kind(&outcome.unwrap_err()), "service");
}

#[tokio::test]
async fn nobody_is_denied_everything_without_asking() {
    let provider = FakeProvider::start().await;
    let (authorizer, nobody, task) = (authorizer(&provider), Principal::anonymous(), ResourceRef::task("t1"));

    assert_eq!(authorizer.check(&nobody, Operation::Read, &task).await.unwrap(), Decision::Deny);
    assert!(authorizer.list_resources(&nobody, task.kind, Operation::Read).await.unwrap().is_empty());
    let writes = [
        authorizer.register(&nobody, &task, None).await,
        authorizer.deregister(&nobody, &task).await,
        authorizer.grant(&nobody, Operation::Create, &task).await,
        authorizer.revoke(&nobody, Operation::Delete, &task).await,
    ];
    assert!(writes.iter().all(|write| matches!(write, Err(AuthzError::Refused))), "{writes:?}");
    assert!(provider.requests().is_empty());
}
