//! Keys that verify webhooks, made together with the URL.

use agentex_app::Settings;
use serde_json::{Value, json};

use super::{list, off, off_with};
use crate::support::{Answer, World};

fn trigger(change: Value) -> Value {
    let mut body = json!({"agent_name": "helper", "name": "acme/w", "forward_path": "/github-pr/a b?c#d"});
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    body
}

async fn set_up(world: &World, change: Value) -> Answer {
    world.post("/agent_api_keys/webhook-trigger", trigger(change)).await
}

/// How many keys `helper` has besides its internal one.
async fn keys(world: &World) -> usize {
    list(world, "agent_name=helper").await.len() - 1
}

/// api-keys §7: 33, 35
#[tokio::test]
async fn a_github_trigger_needs_no_secret() {
    let (world, _) = off().await;

    let answer = set_up(&world, json!({})).await;

    let made = answer.ok();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(made["secret"].as_str().unwrap().len(), 64);
    assert_eq!(made["webhook_path"], "/agents/forward/name/helper/github-pr/a%20b%3Fc%23d");
    assert_eq!(made["webhook_url"], Value::Null);
    assert_eq!(
        (&made["agent_name"], &made["source"], &made["name"]),
        (&json!("helper"), &json!("github"), &json!("acme/w"))
    );
    let stored = world.get("/agent_api_keys/name/acme/w?agent_name=helper&api_key_type=github").await.ok();
    assert_eq!(stored["id"], made["key_id"]);
}

/// api-keys §7: 34
#[tokio::test]
async fn the_url_has_the_base_that_is_nearest() {
    let settings = Settings { public_url: Some("https://h/".to_owned()), ..Settings::default() };
    let (world, _) = off_with(settings).await;
    let url = async |name: &str, base: Value| {
        let change = json!({"name": name, "forward_path": "p", "base_url": base});
        set_up(&world, change).await.ok()["webhook_url"].clone()
    };

    assert_eq!(url("1", Value::Null).await, "https://h/agents/forward/name/helper/p");
    assert_eq!(url("2", json!("")).await, "https://h/agents/forward/name/helper/p");
    assert_eq!(url("3", json!("http://b:1/x//")).await, "http://b:1/x/agents/forward/name/helper/p");
}

/// api-keys §7: 36, 37
#[tokio::test]
async fn a_trigger_that_cannot_be_makes_no_key() {
    let (world, _) = off().await;
    let slack = "Slack triggers must supply 'secret' set to the Slack app's Signing Secret (from your app \
                 credentials); it can't be generated.";

    for (change, text) in [
        (json!({"forward_path": "a\nb"}), "forward_path must not contain control characters."),
        (json!({"forward_path": "a/../b"}), "forward_path must not contain '.' or '..' segments."),
        (json!({"base_url": "ftp://h"}), "base_url must be an http or https URL without query and fragment."),
        (json!({"source": "external"}), "source must be 'github' or 'slack' for a webhook trigger."),
        (json!({"source": "internal"}), "source must be 'github' or 'slack' for a webhook trigger."),
        (json!({"source": "slack"}), slack),
        (json!({"source": "slack", "secret": ""}), slack),
    ] {
        set_up(&world, change).await.refused(400, text);
    }
    for (change, place) in [
        (json!({"source": "linear"}), "body.source"),
        (json!({"secret": ""}), "body.secret"),
        (json!({"name": "n".repeat(257)}), "body.name"),
        (json!({"forward_path": null}), "body.forward_path"),
        (json!({"agent_name": ""}), "body.agent_name"),
    ] {
        let text = set_up(&world, change).await.invalid();
        assert!(text.contains(place), "{text}");
    }
    assert_eq!(keys(&world).await, 0);

    let change = json!({"source": "slack", "name": "A1", "secret": "s3cret"});
    assert_eq!(set_up(&world, change).await.ok()["secret"], "s3cret");
    assert_eq!(keys(&world).await, 1);
}

/// api-keys §7: 38
#[tokio::test]
async fn a_second_trigger_of_a_name_is_refused_without_the_agents_id() {
    let (world, _) = off().await;
    set_up(&world, json!({})).await.ok();

    // What exists already is told before what is wrong with the rest.
    let again = set_up(&world, json!({"forward_path": "a\nb"})).await;

    again.refused(409, "A github webhook key named 'acme/w' already exists for this agent.");
    assert_eq!(keys(&world).await, 1);
}
