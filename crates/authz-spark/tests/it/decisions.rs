//! Who may do what.

use agentex_authz::{Authorizer, Check, Decision, Operation, Principal, ResourceKind, ResourceRef};
use serde_json::json;

use crate::support::{Spark, alice, bob, spark, user};

use Operation::{Cancel, Create, Delete, Execute, Read, Update};

async fn with_task() -> (Spark, ResourceRef) {
    let spark = spark().await;
    let task = ResourceRef::task("t");
    spark.register(&alice(), &task, Some(ResourceRef::agent("a"))).await.unwrap();
    (spark, task)
}

/// authz §7: 203
#[tokio::test]
async fn an_owner_may_do_nothing_from_another_account() {
    let (spark, task) = with_task().await;
    // The other account is known and admits her, too.
    spark.register(&user("alice", "other"), &ResourceRef::task("t2"), None).await.unwrap();

    for operation in [Read, Update, Execute, Cancel, Delete] {
        assert!(spark.may(&alice(), operation, &task).await, "{operation}");
        assert!(!spark.may(&user("alice", "other"), operation, &task).await, "{operation}");
    }
}

/// And principals that are nobody in particular.
/// authz §7: 204
#[tokio::test]
async fn a_principal_without_an_account_or_of_two_minds_is_denied() {
    let (spark, task) = with_task().await;

    for principal in [
        Principal::anonymous(),
        Principal::from_json(json!({"user_id": "alice"})),
        Principal::from_json(json!({"account_id": "acme"})),
        Principal::from_json(json!({"user_id": "alice", "service_account_id": "alice", "account_id": "acme"})),
        user("*", "acme"),
        user("alice", "*"),
    ] {
        assert!(!spark.may(&principal, Read, &task).await, "{}", principal.as_json());
        assert!(!spark.may(&principal, Create, &ResourceRef::any(ResourceKind::Task)).await, "{}", principal.as_json());
        let listed = spark.list_resources(&principal, ResourceKind::Task, Read).await.unwrap();
        assert!(listed.is_empty(), "{}", principal.as_json());
    }
    let robot = Principal::from_json(json!({"service_account_id": "alice", "account_id": "acme"}));
    assert!(!spark.may(&robot, Read, &task).await, "a service account of that name is not the user");
}

/// authz §7: 205, 206
#[tokio::test]
async fn roles_reach_as_far_as_they_say() {
    let (spark, task) = with_task().await;
    let (editor, viewer) = (bob(), user("vic", "acme"));
    spark.grant(&editor, Update, &task).await.unwrap();
    spark.grant(&viewer, Read, &task).await.unwrap();

    for (operation, edits) in [(Read, true), (Update, true), (Cancel, false), (Execute, false), (Delete, false)] {
        assert_eq!(spark.may(&editor, operation, &task).await, edits, "editor {operation}");
        assert_eq!(spark.may(&viewer, operation, &task).await, operation == Read, "viewer {operation}");
        assert!(!spark.may(&user("eve", "acme"), operation, &task).await, "{operation}");
    }
}

#[tokio::test]
async fn a_key_needs_ones_own_role_and_the_agents_permission() {
    let spark = spark().await;
    let (agent, key) = (ResourceRef::agent("a"), ResourceRef::api_key("k"));
    spark.register(&alice(), &agent, None).await.unwrap();
    spark.grant(&bob(), Update, &agent).await.unwrap();
    spark.register(&bob(), &key, Some(agent.clone())).await.unwrap();

    assert!(spark.may(&bob(), Delete, &key).await);
    assert!(!spark.may(&alice(), Delete, &key).await, "the agent's owner has no role on the key");

    spark.revoke(&bob(), Update, &agent).await.unwrap();
    assert!(!spark.may(&bob(), Delete, &key).await);
    assert!(!spark.may(&bob(), Read, &key).await);
}

#[tokio::test]
async fn whoever_acts_in_an_account_may_create_in_it_even_before_anything_exists() {
    let spark = spark().await;
    let (agents, tasks) = (ResourceRef::any(ResourceKind::Agent), ResourceRef::any(ResourceKind::Task));

    assert!(spark.may(&user("alice", "brand-new"), Create, &agents).await);
    assert!(spark.may(&user("bob", "brand-new"), Create, &tasks).await);
    let robot = Principal::from_json(json!({"service_account_id": "robot", "account_id": "brand-new"}));
    assert!(spark.may(&robot, Create, &tasks).await);
    let id = "compte à deux::é@x.org";
    assert!(spark.may(&user("alice", id), Create, &agents).await, "any account id");

    for (operation, kind) in [(Read, ResourceKind::Agent), (Create, ResourceKind::ApiKey)] {
        assert!(!spark.may(&alice(), operation, &ResourceRef::any(kind)).await, "{operation} {kind}");
    }
}

#[tokio::test]
async fn an_account_with_members_of_its_own_stays_with_them() {
    let spark = spark().await;
    spark.raw().await.write(&["account:closed#member@user:alice"]).await;
    let agents = ResourceRef::any(ResourceKind::Agent);

    assert!(spark.may(&user("alice", "closed"), Create, &agents).await);
    assert!(!spark.may(&user("bob", "closed"), Create, &agents).await);
    spark.register(&user("alice", "closed"), &ResourceRef::agent("a"), None).await.unwrap();
    assert!(!spark.may(&user("bob", "closed"), Create, &agents).await);
}

#[tokio::test]
async fn what_a_kind_does_not_have_and_ids_that_cannot_be_are_denied() {
    let spark = spark().await;
    for resource in [ResourceRef::agent("a"), ResourceRef::api_key("k")] {
        spark.register(&alice(), &resource, None).await.unwrap();
    }

    assert!(!spark.may(&alice(), Cancel, &ResourceRef::agent("a")).await);
    assert!(!spark.may(&alice(), Create, &ResourceRef::agent("a")).await);
    assert!(!spark.may(&alice(), Execute, &ResourceRef::api_key("k")).await);
    for id in ["", "a\nb", "ghost", &"x".repeat(5000), &":".repeat(1024)] {
        assert!(!spark.may(&alice(), Read, &ResourceRef::agent(id)).await);
    }
}

#[tokio::test]
async fn many_questions_are_answered_in_their_order_repetitions_included() {
    let (spark, task) = with_task().await;
    spark.grant(&bob(), Update, &task).await.unwrap();
    let check = |operation, resource: &ResourceRef| Check { operation, resource: resource.clone() };
    let questions = [
        check(Cancel, &task),
        check(Update, &task),
        check(Read, &ResourceRef::task("ghost")),
        check(Create, &ResourceRef::any(ResourceKind::Task)),
        check(Update, &task),
        check(Read, &ResourceRef::any(ResourceKind::Task)),
    ];

    let decisions = spark.check_many(&bob(), &questions).await.unwrap();

    let allowed: Vec<bool> = decisions.into_iter().map(Decision::is_allowed).collect();
    assert_eq!(allowed, [false, true, false, true, true, false]);
    assert_eq!(spark.check_many(&bob(), &[]).await.unwrap(), []);
}

#[tokio::test]
async fn more_questions_than_fit_into_one_call_are_all_answered() {
    let (spark, task) = with_task().await;
    let ghost = |number| Check { operation: Read, resource: ResourceRef::task(format!("ghost-{number}")) };
    let mut questions: Vec<Check> = (0..2_500).map(ghost).collect();
    questions.push(Check { operation: Read, resource: task });

    let decisions = spark.check_many(&alice(), &questions).await.unwrap();

    assert_eq!(decisions.len(), 2_501);
    assert_eq!(decisions.iter().filter(|decision| decision.is_allowed()).count(), 1);
    assert!(decisions[2_500].is_allowed());
}

/// SpiceDB cannot tell, because the relationship does not name the account.
/// authz §7: 209
#[tokio::test]
async fn a_conditional_answer_is_a_denial() {
    let spark = spark().await;
    spark.raw().await.write(&["task:t#tenant@account:vague", "task:t#owner@user:alice"]).await;
    let who = user("alice", "vague");
    let task = ResourceRef::task("t");
    crate::support::write_vague_membership(&spark, "vague").await;

    // Not `read`, which may be answered from before what was written here behind the adapter's back.
    assert!(!spark.may(&who, Cancel, &task).await);
    assert!(!spark.may(&who, Create, &ResourceRef::any(ResourceKind::Task)).await);
    let listed = spark.list_resources(&who, ResourceKind::Task, Delete).await.unwrap();
    assert!(listed.is_empty(), "{listed:?}");

    spark.raw().await.write(&["account:vague#member@user:alice"]).await;
    assert!(spark.may(&who, Cancel, &task).await, "nothing else was missing");
}
