//! What keys are, without authorization.

use std::collections::BTreeSet;
use std::time::Duration;

use agentex_app::SecretsKey;
use serde_json::{Value, json};

use super::{NO_KEY, by_id, create, key, list, off};
use crate::support::{Authorization, Setup, World, encoded, id};

const VALUE: &str = "a-value-of-some-length";

/// api-keys §7: 1
#[tokio::test]
async fn a_name_is_enough_for_a_key() {
    let (world, agent) = off().await;

    let answer = create(&world, json!({"agent_id": id(&agent), "name": "n"})).await;

    let made = answer.ok();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!((&made["agent_id"], &made["name"]), (&agent["id"], &json!("n")));
    assert_eq!(made["api_key_type"], "external");
    let value = made["api_key"].as_str().unwrap();
    assert!(value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value}");
    assert!(made["created_at"].is_string());
    let members = ["\"id\":", "\"agent_id\":", "\"created_at\":", "\"name\":", "\"api_key_type\":", "\"api_key\":"];
    let places: Vec<usize> = members.iter().map(|member| answer.text().find(member).unwrap()).collect();
    assert!(places.is_sorted(), "{}", answer.text());
}

/// api-keys §7: 2
#[tokio::test]
async fn a_value_may_be_given() {
    let (world, _) = off().await;
    let with = async |name: &str, value: Value| {
        create(&world, json!({"agent_name": "helper", "name": name, "api_key": value})).await.ok()["api_key"].clone()
    };

    assert_eq!(with("given", json!(VALUE)).await, VALUE);
    assert_eq!(with("empty", json!("")).await.as_str().unwrap().len(), 64);
    assert_eq!(with("null", Value::Null).await.as_str().unwrap().len(), 64);
}

/// api-keys §7: 3, 4
#[tokio::test]
async fn exactly_one_agent_is_named() {
    let (world, _) = off().await;
    let named = "/agent_api_keys/name/n";

    for (agent, text) in [
        ("", "Either 'agent_id' or 'agent_name' must be provided to"),
        ("agent_id=&agent_name=", "Either 'agent_id' or 'agent_name' must be provided to"),
        ("agent_id=a&agent_name=b", "Only one of 'agent_id' or 'agent_name' should be provided to"),
    ] {
        let members = agent.split('&').filter_map(|pair| pair.split_once('='));
        let mut body = json!({"name": "n"});
        members.for_each(|(name, value)| body[name] = json!(value));

        create(&world, body).await.refused(400, &format!("{text} create an agent api_key."));
        let listed = world.get(&format!("/agent_api_keys?{agent}")).await;
        listed.refused(400, &format!("{text} list agent api_keys."));
        world.get(&format!("{named}?{agent}")).await.refused(400, &format!("{text} get an agent api_key."));
        world.delete(&format!("{named}?{agent}")).await.refused(400, &format!("{text} delete an agent api_key."));
    }
}

/// api-keys §7: 5, 6
#[tokio::test]
async fn without_authorization_an_agent_that_is_not_there_is_absent_everywhere() {
    let (world, agent) = off().await;
    key(&world, "n").await;
    world.delete("/agents/name/helper").await.ok();

    let dead = id(&agent);
    for (member, value, text) in [
        ("agent_id", "x", "Item with id 'x' does not exist.".to_owned()),
        ("agent_id", dead, format!("Item with id '{dead}' does not exist.")),
        ("agent_name", "x", "Item with name 'x' does not exist.".to_owned()),
        ("agent_name", "helper", "Item with name 'helper' does not exist.".to_owned()),
    ] {
        create(&world, json!({member: value, "name": "n"})).await.refused(404, &text);
        world.get(&format!("/agent_api_keys?{member}={value}")).await.refused(404, &text);
        world.get(&format!("/agent_api_keys/name/n?{member}={value}")).await.refused(404, &text);
        world.delete(&format!("/agent_api_keys/name/n?{member}={value}")).await.refused(404, &text);
    }
}

/// api-keys §7: 7, 8
#[tokio::test]
async fn names_are_unique_within_an_agent_and_a_type() {
    let (world, agent) = off().await;
    world.agent("other", "sync", "http://other.test:1").await;
    let first = key(&world, "n").await;

    let by_name = create(&world, json!({"agent_name": "helper", "name": "n"})).await;
    let by_agent_id = create(&world, json!({"agent_id": id(&agent), "name": "n"})).await;

    by_name.refused(409, "external agent API key 'n' already exists for this agent.");
    let text = format!("external agent API key 'n' already exists for agent ID {}.", id(&agent));
    by_agent_id.refused(409, &text);
    create(&world, json!({"agent_name": "helper", "name": "n", "api_key_type": "github"})).await.ok();
    create(&world, json!({"agent_name": "other", "name": "n"})).await.ok();
    assert_eq!(id(&world.get("/agent_api_keys/name/n?agent_name=helper").await.ok()), id(&first));
}

/// Whoever presents a value must be one agent only.
#[tokio::test]
async fn values_that_are_presented_are_unique() {
    let (world, _) = off().await;
    let with = async |kind: &str, name: &str| {
        create(&world, json!({"agent_name": "helper", "name": name, "api_key_type": kind, "api_key": VALUE})).await
    };
    with("external", "one").await.ok();

    let again = with("external", "two").await;

    again.refused(409, "An agent API key with this value already exists.");
    // Nobody presents a signing secret; one may serve several agents.
    with("slack", "A1").await.ok();
    with("slack", "A2").await.ok();
}

/// api-keys §7: 10, 11
#[tokio::test]
async fn a_key_that_cannot_be_is_refused_without_repeating_its_value() {
    let (world, _) = off().await;
    let secret = "s3cr3t";

    for (change, place) in [
        (json!({"api_key_type": "linear"}), "body.api_key_type"),
        (json!({"name": "n".repeat(257)}), "body.name"),
        (json!({"name": ""}), "body.name"),
        (json!({"name": "*"}), "body.name"),
        (json!({"name": "a\nb"}), "body.name"),
        (json!({"name": null}), "body.name"),
        (json!({"api_key": secret}), "body.api_key"),
        (json!({"api_key": format!("{secret} with a space in it")}), "body.api_key"),
        (json!({"api_key": secret.repeat(200)}), "body.api_key"),
        (json!({"api_key": secret.repeat(200), "api_key_type": "github"}), "body.api_key"),
        (json!({"api_key": [secret]}), "body.api_key"),
        (json!({"agent_id": "*", "agent_name": null}), "body.agent_id"),
    ] {
        let mut body = json!({"agent_name": "helper", "name": "n", "api_key": VALUE});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = create(&world, body).await;
        let text = answer.invalid();
        assert!(text.contains(place), "{change}: {text}");
        assert!(!answer.text().contains(secret) && !answer.text().contains(VALUE), "{}", answer.text());
    }
    create(&world, json!({"agent_name": "helper", "name": "ä".repeat(256)})).await.ok();
}

#[tokio::test]
async fn internal_keys_are_the_agents_own_business() {
    let (world, agent) = off().await;
    let other = world.agent("other", "sync", "http://other.test:1").await;
    let body = json!({"agent_name": "helper", "name": "second", "api_key_type": "internal"});
    let text = "Internal agent API keys are made when the agent registers.";
    let by = async |agent: &Value| {
        let key = [("x-agent-api-key", agent["agent_api_key"].as_str().unwrap())];
        world.call("POST", "/agent_api_keys", &key, Some(&body.to_string())).await
    };

    create(&world, body.clone()).await.refused(400, text);
    by(&other).await.refused(400, text);
    let made = by(&agent).await.ok();

    let key = [("x-agent-api-key", made["api_key"].as_str().unwrap())];
    world.get_with("/tasks", &key).await.ok();
}

/// api-keys §7: 12
#[tokio::test]
async fn secrets_are_shown_once() {
    let (world, _) = off().await;
    let mut secrets = Vec::new();
    for kind in ["external", "github", "slack"] {
        let body = json!({"agent_name": "helper", "name": "n", "api_key_type": kind});
        secrets.push(create(&world, body).await.ok()["api_key"].as_str().unwrap().to_owned());
    }

    let listed = world.get("/agent_api_keys?agent_name=helper").await;
    let keys = listed.ok();
    let mut seen = listed.text();
    for key in keys.as_array().unwrap() {
        seen.push_str(&world.get(&by_id(key)).await.text());
    }
    for kind in ["external", "github", "slack"] {
        let path = format!("/agent_api_keys/name/n?agent_name=helper&api_key_type={kind}");
        seen.push_str(&world.get(&path).await.text());
    }

    // Neither the secrets nor what is kept of them.
    assert!(!seen.contains("api_key\""), "{seen}");
    assert!(secrets.iter().all(|secret| !seen.contains(&secret[..8])), "{seen}");
    let types = keys.as_array().unwrap().iter().map(|key| key["api_key_type"].as_str().unwrap());
    assert_eq!(types.collect::<BTreeSet<_>>(), BTreeSet::from(["internal", "external", "github", "slack"]));
}

/// api-keys §7: 13, 14
#[tokio::test]
async fn keys_are_listed_oldest_first_and_page_by_page() {
    let (world, agent) = off().await;
    for name in ["e", "d", "c", "b", "a"] {
        world.clock.advance(Duration::from_secs(1));
        key(&world, name).await;
    }
    let of_agent = format!("agent_id={}", id(&agent));

    assert_eq!(list(&world, &of_agent).await, ["helper-api-key", "e", "d", "c", "b", "a"]);
    let external = format!("{of_agent}&api_key_type=external");
    assert_eq!(list(&world, &external).await, ["e", "d", "c", "b", "a"]);
    assert_eq!(list(&world, &format!("{external}&limit=2&page_number=3")).await, ["a"]);
    assert_eq!(list(&world, &format!("{external}&limit=2&page_number=4")).await, [""; 0]);
    for bad in ["limit=1001", "limit=0", "page_number=0", "api_key_type=linear"] {
        world.get(&format!("/agent_api_keys?{of_agent}&{bad}")).await.invalid();
    }
}

/// api-keys §7: 16, 17
#[tokio::test]
async fn keys_are_addressed_by_name_and_type_slashes_included() {
    let (world, _) = off().await;
    for name in ["acme/w", "acme/v"] {
        create(&world, json!({"agent_name": "helper", "name": name, "api_key_type": "github"})).await.ok();
    }
    let query = "agent_name=helper&api_key_type=github";

    for path in ["acme/w", "acme%2Fw", "acme%2fw"] {
        let found = world.get(&format!("/agent_api_keys/name/{path}?{query}")).await.ok();
        assert_eq!(found["name"], "acme/w");
    }
    world.get("/agent_api_keys/name/acme/w?agent_name=helper").await.refused(404, NO_KEY);
    world.get(&format!("/agent_api_keys/name/acme/?{query}")).await.refused(404, NO_KEY);
    for (path, name) in [("acme/w", "acme/w"), ("acme%2Fv", "acme/v")] {
        let deleted = world.delete(&format!("/agent_api_keys/name/{path}?{query}")).await;
        assert_eq!(deleted.ok(), json!(format!("Agent api_key '{name}' deleted")));
        world.get(&format!("/agent_api_keys/name/{path}?{query}")).await.refused(404, NO_KEY);
    }
}

/// api-keys §7: 21, 22
#[tokio::test]
async fn deleting_says_what_is_gone() {
    let (world, _) = off().await;
    let (one, _two) = (key(&world, "one").await, key(&world, "two").await);

    for _ in 0..2 {
        let deleted = world.delete(&by_id(&one)).await;
        assert_eq!(deleted.text(), format!("\"Agent API key with ID {} deleted\"", id(&one)));
        assert_eq!(deleted.status, 200);
    }
    world.get(&by_id(&one)).await.refused(404, &format!("Item with id '{}' does not exist.", id(&one)));
    let named = "/agent_api_keys/name/two?agent_name=helper";
    assert_eq!(world.delete(named).await.text(), "\"Agent api_key 'two' deleted\"");
    world.delete(named).await.refused(404, NO_KEY);
}

/// api-keys §7: 28
#[tokio::test]
async fn no_secret_is_in_the_database() {
    let setup =
        Setup { authorization: Authorization::Off, secrets_key: Some(SecretsKey::generate()), ..Setup::default() };
    let world = World::with(setup).await;
    let agent = world.agent("helper", "sync", "http://agent.test:1").await;
    let mut secrets = vec![agent["agent_api_key"].as_str().unwrap().to_owned()];
    for kind in ["external", "github", "slack"] {
        let body = json!({"agent_name": "helper", "name": "needle-name", "api_key_type": kind});
        secrets.push(create(&world, body).await.ok()["api_key"].as_str().unwrap().to_owned());
    }
    world.store.close().await;

    let mut dump = Vec::new();
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        dump.extend(std::fs::read(file.unwrap().path()).unwrap());
    }

    let holds = |text: &str| dump.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("needle-name") && holds(&format!("hashed:v1:{}", &secrets[1][..8])));
    for secret in secrets {
        assert!(!holds(&secret) && !holds(&secret[..16]) && !holds(&secret[48..]));
    }
}

#[tokio::test]
async fn names_are_text_like_any_other() {
    let (world, _) = off().await;
    let name = "a b%ü'\"&?#/..%2F";
    key(&world, name).await;

    let found = world.get(&format!("/agent_api_keys/name/{}?agent_name=helper", encoded(name))).await.ok();

    assert_eq!(found["name"], name);
}
