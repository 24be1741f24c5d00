use agentex_testkit::fake_agent::{FakeAgent, Reply};
use serde_json::{Value, json};

use super::world::{Answer, Product};

/// Everything that creates or deletes something with edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Register,
    RegisterBuild,
    Revive,
    ReviveBuild,
    CreateTask,
    SendWithNewTask,
    CreateKey,
    CreateTrigger,
    CreateSchedule,
    DeleteAgent,
    DeleteTask,
    DeleteKey,
    DeleteKeyByName,
    DeleteSchedule,
}

/// A request that is ready to be made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
}

impl Change {
    pub(crate) const ALL: [Self; 14] = [
        Self::Register,
        Self::RegisterBuild,
        Self::Revive,
        Self::ReviveBuild,
        Self::CreateTask,
        Self::SendWithNewTask,
        Self::CreateKey,
        Self::CreateTrigger,
        Self::CreateSchedule,
        Self::DeleteAgent,
        Self::DeleteTask,
        Self::DeleteKey,
        Self::DeleteKeyByName,
        Self::DeleteSchedule,
    ];

    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    pub(crate) fn parse(name: &str) -> Self {
        Self::ALL.into_iter().find(|change| change.name() == name).unwrap()
    }

    /// Makes what the change needs and answers the request that makes the change. Nothing of another `tag` is touched.
    pub(crate) async fn prepare(self, product: &Product, user: &str, tag: &str, agent: &FakeAgent) -> Call {
        let name = format!("{}-{tag}", self.name());
        let as_user = async |call: Call| made(product, user, call).await.ok();
        let registration = register(&name, agent);
        match self {
            Self::Register => registration,
            Self::RegisterBuild => register_build(&name),
            Self::Revive | Self::ReviveBuild => {
                let id = id(&as_user(registration.clone()).await);
                as_user(Call::delete(format!("/agents/{id}"))).await;
                if self == Self::Revive { registration } else { register_build(&name) }
            }
            Self::CreateTask => {
                as_user(registration).await;
                create_task(&name, &name)
            }
            Self::SendWithNewTask => {
                as_user(registration).await;
                let content = json!({"type": "text", "author": "user", "content": "hello"});
                let params = json!({"task_name": name, "content": content});
                let body = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": params});
                Call::post(format!("/agents/name/{name}/rpc"), body)
            }
            Self::CreateKey => {
                as_user(registration).await;
                create_key(&name, "key")
            }
            Self::CreateTrigger => {
                as_user(registration).await;
                let trigger = json!({
                    "agent_name": name, "source": "github", "name": "acme/repository", "forward_path": "hooks"
                });
                Call::post("/agent_api_keys/webhook-trigger", trigger)
            }
            Self::DeleteAgent => {
                let id = id(&as_user(registration).await);
                as_user(create_key(&name, "key")).await;
                as_user(create_schedule(&id, "nightly")).await;
                Call::delete(format!("/agents/{id}"))
            }
            Self::CreateSchedule => create_schedule(&id(&as_user(registration).await), "nightly"),
            Self::DeleteSchedule => {
                let agent = id(&as_user(registration).await);
                let schedule = as_user(create_schedule(&agent, "nightly")).await;
                Call::delete(format!("/agents/{agent}/schedules/{}", id(&schedule)))
            }
            Self::DeleteTask => {
                as_user(registration).await;
                let task = as_user(create_task(&name, &name)).await;
                Call::delete(format!("/tasks/{}", id(&task["result"])))
            }
            Self::DeleteKey | Self::DeleteKeyByName => {
                as_user(registration).await;
                let key = as_user(create_key(&name, "key")).await;
                if self == Self::DeleteKey {
                    Call::delete(format!("/agent_api_keys/{}", id(&key)))
                } else {
                    Call::delete(format!("/agent_api_keys/name/key?agent_name={name}&api_key_type=external"))
                }
            }
        }
    }
}

impl Call {
    pub(crate) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: "POST", path: path.into(), body: Some(body) }
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self { method: "DELETE", path: path.into(), body: None }
    }
}

/// An agent that answers every message with one text.
pub(crate) async fn fake_agent() -> FakeAgent {
    let agent = FakeAgent::start().await;
    let text = json!({"type": "text", "author": "agent", "content": "hello"});
    agent.on("message/send", Reply::updates([json!({"type": "full", "index": 0, "content": text})]));
    agent
}

pub(crate) async fn made(product: &Product, user: &str, call: Call) -> Answer {
    product.call(user, call.method, &call.path, call.body).await
}

pub(crate) fn register(name: &str, agent: &FakeAgent) -> Call {
    Call::post(
        "/agents/register",
        json!({"name": name, "description": "d", "acp_url": agent.url(), "acp_type": "sync"}),
    )
}

pub(crate) fn register_build(name: &str) -> Call {
    Call::post("/agents/register-build", json!({"name": name, "description": "d"}))
}

pub(crate) fn create_task(agent: &str, name: &str) -> Call {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "task/create", "params": {"name": name}});
    Call::post(format!("/agents/name/{agent}/rpc"), body)
}

pub(crate) fn create_key(agent: &str, name: &str) -> Call {
    Call::post("/agent_api_keys", json!({"agent_name": agent, "name": name}))
}

/// Paused: what it would do is not asked here.
pub(crate) fn create_schedule(agent: &str, name: &str) -> Call {
    let input = json!({"content": "good morning"});
    let body = json!({"name": name, "cron_expression": "0 2 * * *", "initial_input": input, "paused": true});
    Call::post(format!("/agents/{agent}/schedules"), body)
}

pub(crate) fn id(created: &Value) -> String {
    created["id"].as_str().unwrap_or_else(|| panic!("no id in {created}")).to_owned()
}
