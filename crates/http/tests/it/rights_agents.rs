//! Agents as callers, with their own key, in the strict profile and in the compatible one.

use agentex_app::{AuthorizationSettings, Settings};
use agentex_authz::{Operation, ResourceRef};
use serde_json::{Value, json};

use crate::support::{Answer, Authorization, Setup, World, encoded, id, ids, registration, text_content};

const FORBIDDEN: &str = "Forbidden \u{2013} principal lacks permission";

/// Two agents of alice, each with a task, and the key of the first.
struct Pair {
    world: World,
    key: String,
    own: Value,
    other: Value,
    task: Value,
    foreign: Value,
}

impl Pair {
    async fn new(settings: Settings) -> Self {
        let world = World::with(Setup { authorization: Authorization::Graph, settings, ..Setup::default() }).await;
        let mut made = Vec::new();
        for name in ["own", "other"] {
            let body = registration(name, "sync", "http://agent.test:1");
            // In the compatible profile the pod itself says whom it belongs to.
            let mut body = body;
            body["principal_context"] = json!({"user_id": "alice", "account_id": "acme"});
            let agent = world.call_as("alice", "POST", "/agents/register", Some(body)).await.ok();
            let create = json!({"method": "task/create", "params": {"name": format!("of {name}")}});
            let path = format!("/agents/name/{name}/rpc");
            let task = world.call_as("alice", "POST", &path, Some(create)).await.ok()["result"].clone();
            made.push((agent, task));
        }
        let (other, foreign) = made.pop().unwrap();
        let (own, task) = made.pop().unwrap();
        let key = own["agent_api_key"].as_str().unwrap().to_owned();
        world.calls.take();
        Self { world, key, own, other, task, foreign }
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.call_for(None, method, path, body).await
    }

    /// A request of the first agent, on behalf of whom the credential belongs to.
    async fn call_for(&self, acting: Option<(&str, &str)>, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut headers = vec![("x-agent-api-key", self.key.as_str())];
        headers.extend(acting);
        let body = body.map(|body| body.to_string());
        self.world.call(method, path, &headers, body.as_deref()).await
    }
}

fn agent_path(agent: &Value) -> String {
    format!("/agents/{}", id(agent))
}

fn task_path(task: &Value) -> String {
    format!("/tasks/{}", id(task))
}

fn absent(value: &Value) -> String {
    format!("Item with id '{}' does not exist.", id(value))
}

/// authz §7: 46
/// messages §7: 55
#[tokio::test]
async fn an_agent_sees_itself_its_tasks_and_their_messages_and_nothing_else() {
    let pair = Pair::new(Settings::default()).await;
    let messages = format!("/messages?task_id={}", id(&pair.task));

    assert_eq!(id(&pair.call("GET", &agent_path(&pair.own), None).await.ok()), id(&pair.own));
    pair.call("GET", "/agents/name/own", None).await.ok();
    assert_eq!(ids(&pair.call("GET", "/agents", None).await.ok()), [id(&pair.own)]);
    assert_eq!(ids(&pair.call("GET", "/tasks", None).await.ok()), [id(&pair.task)]);
    let with_agents = pair.call("GET", "/tasks?relationships=agents", None).await.ok();
    assert_eq!(ids(&with_agents[0]["agents"]), [id(&pair.own)]);
    pair.call("GET", &format!("/tasks/name/{}", encoded("of own")), None).await.ok();
    pair.call("PUT", &task_path(&pair.task), Some(json!({"task_metadata": {"k": 1}}))).await.ok();
    let said = json!({"task_id": id(&pair.task), "content": text_content("hi")});
    let message = pair.call("POST", "/messages", Some(said)).await.ok();
    assert_eq!(ids(&pair.call("GET", &messages, None).await.ok()), [id(&message)]);
    pair.call("POST", &format!("{}/complete", task_path(&pair.task)), Some(json!({}))).await.ok();

    pair.call("GET", &agent_path(&pair.other), None).await.refused(404, &absent(&pair.other));
    pair.call("GET", "/agents/name/other", None).await.refused(404, "Item with name 'other' does not exist.");
    pair.call("GET", &task_path(&pair.foreign), None).await.refused(404, &absent(&pair.foreign));
    let change = Some(json!({"task_metadata": {}}));
    pair.call("PUT", &task_path(&pair.foreign), change).await.refused(404, &absent(&pair.foreign));
    let said = json!({"task_id": id(&pair.foreign), "content": text_content("hi")});
    pair.call("POST", "/messages", Some(said)).await.refused(404, &absent(&pair.foreign));
    let foreign = format!("/messages?task_id={}", id(&pair.foreign));
    pair.call("GET", &foreign, None).await.refused(404, &absent(&pair.foreign));
    pair.call("GET", &format!("{}/stream", task_path(&pair.foreign)), None).await.refused(404, &absent(&pair.foreign));
    // The scope of agents is decided here.
    assert!(pair.world.calls.take().is_empty());
}

/// What an agent may not do with what it sees is forbidden; it manages neither agents nor keys, not even its own.
#[tokio::test]
async fn an_agent_manages_nothing() {
    let pair = Pair::new(Settings::default()).await;
    let acting = Some(("x-acting-user-authorization", "Bearer alice"));
    let key = json!({"agent_id": id(&pair.own), "name": "k"});
    let build = json!({"name": "new", "description": "d"});
    let explain = format!("/authz/explain?resource=task:{}&operation=read", id(&pair.task));

    for acting in [None, acting] {
        let refused = async |method: &str, path: &str, body: Option<Value>| {
            pair.call_for(acting, method, path, body).await.refused(403, FORBIDDEN);
        };
        refused("DELETE", &agent_path(&pair.own), None).await;
        refused("DELETE", "/agents/name/own", None).await;
        refused("POST", "/agent_api_keys", Some(key.clone())).await;
        refused("POST", "/agents/register-build", Some(build.clone())).await;
        refused("GET", &explain, None).await;
        let keys = pair.call_for(acting, "GET", "/agent_api_keys?agent_name=own", None).await;
        assert_eq!(keys.ok(), json!([]));
        let named = "/agent_api_keys/name/own-api-key?agent_name=own&api_key_type=internal";
        for method in ["GET", "DELETE"] {
            pair.call_for(acting, method, named, None).await.refused(404, "Agent api_key not found.");
        }
    }
    for path in [format!("{}/cancel", task_path(&pair.task)), format!("{}/cancel", task_path(&pair.foreign))] {
        let answer = pair.call("POST", &path, Some(json!({}))).await;
        assert_eq!(answer.status, if path.contains(id(&pair.task)) { 403 } else { 404 });
    }
    pair.call("DELETE", &task_path(&pair.task), None).await.refused(403, FORBIDDEN);
    pair.call("DELETE", &agent_path(&pair.other), None).await.refused(404, &absent(&pair.other));
    pair.world.call_as("alice", "GET", "/agents/name/own", None).await.ok();
}

/// What an agent makes on its own belongs to its owner.
#[tokio::test]
async fn an_agent_calls_itself_and_what_it_makes_is_its_owners() {
    let pair = Pair::new(Settings::default()).await;
    let create = json!({"method": "task/create", "params": {"name": "made"}});

    let made = pair.call("POST", "/agents/name/own/rpc", Some(create)).await.ok()["result"].clone();

    pair.call("GET", &task_path(&made), None).await.ok();
    pair.world.call_as("alice", "GET", &task_path(&made), None).await.ok();
    pair.world.call_as("mallory", "GET", &task_path(&made), None).await.refused(404, &absent(&made));
    pair.world.call_as("alice", "DELETE", &task_path(&made), None).await.ok();
}

/// With a credential that a user handed it an agent goes as far as the user, and no further.
#[tokio::test]
async fn an_agent_calls_others_for_a_user_who_may() {
    let pair = Pair::new(Settings::default()).await;
    pair.world.share("una", Operation::Read, ResourceRef::agent(id(&pair.other))).await;
    let create = || Some(json!({"method": "task/create", "params": {}}));
    let by = async |credential: Option<&str>| {
        let acting = credential.map(|credential| ("x-acting-user-authorization", credential));
        pair.call_for(acting, "POST", "/agents/name/other/rpc", create()).await
    };
    let absent = "Item with name 'other' does not exist.";

    by(None).await.refused(404, absent);
    by(Some("Bearer mallory")).await.refused(404, absent);
    by(Some("Bearer alice@elsewhere")).await.refused(404, absent);
    by(Some("Bearer una")).await.refused(403, FORBIDDEN);
    // A credential that is not good any more is none; whether it is good must be known.
    by(Some("nonsense")).await.refused(404, absent);
    assert_eq!(by(Some("Bearer down")).await.status, 503);
    let task = by(Some("Bearer alice")).await.ok()["result"].clone();

    pair.world.call_as("alice", "GET", &task_path(&task), None).await.ok();
    // The agent that called is not the agent of the task.
    pair.call("GET", &task_path(&task), None).await.refused(404, &self::absent(&task));
    let acting = Some(("x-acting-user-authorization", "Bearer alice"));
    pair.call_for(acting, "GET", &task_path(&task), None).await.ok();
    let key_as_user = Some(("x-acting-user-api-key", "k"));
    pair.call_for(key_as_user, "GET", &task_path(&task), None).await.refused(404, &self::absent(&task));
}

/// authz §7: 47, 49
#[tokio::test]
async fn the_key_of_a_deleted_agent_opens_nothing() {
    let pair = Pair::new(Settings::default()).await;
    pair.call("GET", "/tasks", None).await.ok();

    pair.world.call_as("alice", "DELETE", "/agents/name/own", None).await.ok();

    for path in ["/tasks", "/agents/name/own"] {
        let refused = pair.call_for(Some(("authorization", "Bearer alice")), "GET", path, None).await;
        assert_eq!((refused.status.as_u16(), refused.text().as_str()), (401, r#"{"detail":"Agent Unauthorized"}"#));
    }
    let again = registration("own", "sync", "http://agent.test:1");
    assert_eq!(pair.call("POST", "/agents/register", Some(again)).await.status, 401);
}

/// The provider is down, and the key is enough.
///
/// authz §7: 46
#[tokio::test]
async fn a_good_key_is_all_that_is_looked_at() {
    let pair = Pair::new(Settings::default()).await;
    let down = Some(("authorization", "Bearer down"));

    pair.call_for(down, "GET", "/tasks", None).await.ok();
}

/// As the public project has it.
///
/// authz §7: 75
#[tokio::test]
async fn in_the_compatible_profile_an_agents_key_opens_everything() {
    let settings = Settings { authorization: AuthorizationSettings::compat(), ..Settings::default() };
    let pair = Pair::new(settings).await;

    assert_eq!(ids(&pair.call("GET", "/tasks", None).await.ok()).len(), 2);
    pair.call("GET", &agent_path(&pair.other), None).await.ok();
    pair.call("POST", &format!("{}/cancel", task_path(&pair.foreign)), Some(json!({}))).await.ok();
    pair.call("POST", "/agent_api_keys", Some(json!({"agent_name": "other", "name": "k"}))).await.ok();
    assert!(pair.world.calls.questions().is_empty());
}
