use agentex_authz::{Authorizer, AuthzError, Operation, ResourceKind, Scope};
use agentex_authz_sgp::{ProviderAuthorizer, ProviderOptions, WireOptions};
use agentex_testkit::fake_provider::{FakeProvider, Reply};
use serde_json::{Value, json};

use crate::support::{SEARCH, alice, alice_json, authorizer, kind};

async fn answered(reply: Reply) -> Result<Scope, AuthzError> {
    let provider = FakeProvider::start().await;
    provider.on(SEARCH, reply);
    authorizer(&provider).list_resources(&alice(), ResourceKind::Task, Operation::Read).await
}

async fn scope(body: Value) -> Scope {
    answered(Reply::json(body)).await.unwrap()
}

fn only<const N: usize>(ids: [&str; N]) -> Scope {
    Scope::Only(ids.map(str::to_owned).into())
}

/// authz §7: 19.
#[tokio::test]
async fn a_list_posts_its_two_filters_to_the_search_path() {
    let provider = FakeProvider::start().await;
    provider.on(SEARCH, Reply::json(json!({"items": []})));

    let scope = authorizer(&provider).list_resources(&alice(), ResourceKind::ApiKey, Operation::Update).await.unwrap();

    assert!(scope.is_empty());
    assert_eq!(
        provider.call(SEARCH, 0).await.json(),
        json!({"principal": alice_json(), "filter_resource": "api_key", "filter_operation": "update"})
    );
}

/// authz §7: 20, 21.
#[tokio::test]
async fn the_ids_are_exactly_those_named() {
    assert_eq!(scope(json!({"items": ["a", "b", "a"]})).await, only(["a", "b"]));
    assert_eq!(scope(json!({"items": []})).await, only([]));
    assert_eq!(scope(json!({"unscoped": false, "items": ["a"]})).await, only(["a"]));
}

/// authz §7: 22, 23.
#[tokio::test]
async fn the_literal_true_lifts_the_filter_whatever_the_ids() {
    assert_eq!(scope(json!({"unscoped": true})).await, Scope::All);
    assert_eq!(scope(json!({"unscoped": true, "items": ["x"]})).await, Scope::All);
    assert_eq!(scope(json!({"unscoped": true, "items": null})).await, Scope::All);
}

/// authz §7: 24.
#[tokio::test]
async fn nothing_but_the_literal_true_lifts_the_filter() {
    for almost in [json!(1), json!("true"), json!({}), json!([true]), json!(null)] {
        assert_eq!(scope(json!({"unscoped": almost, "items": []})).await, only([]), "{almost}");
    }
}

/// authz §7: 25-30.
#[tokio::test]
async fn what_is_neither_ids_nor_the_mark_is_an_error() {
    for body in [
        r#"{"unscoped":"true"}"#,
        r#"{"unscoped":1}"#,
        r#"{"unscoped":false}"#,
        r#"{"unscoped":null}"#,
        r#"{"items":null}"#,
        r#"{"items":"abc"}"#,
        r#"{"items":{"0":"a"}}"#,
        r#"{"items":[1]}"#,
        r#"{"items":["a",null]}"#,
        r#"{"items":[""]}"#,
        r#"{"items":[["a"]]}"#,
        r#"{"ITEMS":["a"]}"#,
        "{}",
        "[]",
        "[true,[]]",
        "null",
        "true",
        "",
        "unscoped",
    ] {
        let outcome = answered(Reply::raw(200, body)).await;
        assert_eq!(kind(&outcome.unwrap_err()), "protocol", "{body}");
    }
}

#[tokio::test]
async fn a_list_fails_by_status_like_a_check() {
    for (status, expected) in
        [(401, "unauthenticated"), (404, "protocol"), (500, "service"), (502, "gateway"), (503, "busy")]
    {
        let outcome = answered(Reply::raw(status, r#"{"unscoped":true}"#)).await;
        assert_eq!(kind(&outcome.unwrap_err()), expected, "{status}");
    }
}

#[tokio::test]
async fn a_refused_list_shows_nothing() {
    assert_eq!(answered(Reply::raw(403, r#"{"unscoped":true}"#)).await.unwrap(), only([]));
}

#[tokio::test]
async fn a_list_longer_than_allowed_is_an_error_rather_than_cut() {
    let provider = FakeProvider::start().await;
    let options = ProviderOptions { max_list_ids: 2, ..ProviderOptions::at(WireOptions::to(provider.url())) };
    let authorizer = ProviderAuthorizer::new(options).unwrap();
    let principal = alice();
    let list = || authorizer.list_resources(&principal, ResourceKind::Task, Operation::Read);

    provider.once(SEARCH, Reply::json(json!({"items": ["a", "b"]})));
    assert_eq!(list().await.unwrap(), only(["a", "b"]));
    provider.once(SEARCH, Reply::json(json!({"items": ["a", "b", "c"]})));
    assert_eq!(kind(&list().await.unwrap_err()), "protocol");
}

#[tokio::test]
async fn the_longest_list_fits_into_the_answer_that_is_read() {
    let ids: Vec<String> = (0..50_000).map(|number| format!("0a1b2c3d-0000-4000-8000-{number:012}")).collect();

    let Scope::Only(found) = scope(json!({ "items": ids })).await else { panic!("not a list of ids") };

    assert_eq!(found.len(), 50_000);
}
