//! The table: what each operation asks before it does anything.

use agentex_authz::Operation::{self, Cancel, Delete, Execute, Read, Update};
use agentex_authz::ResourceKind;

use self::Ask::{Creates, Explains, Lists, Looks, Needs};
use self::Thing::{Agent, Key, NewAgent, Schedule, Task};
use self::Unseen::{
    Claimed, DeploymentGone, Empty, HistoryGone, Id, KeyGone, Name, NoAgent, NoSchedules, ScheduleGone, Taken,
};

/// One operation of the API, or one of several things it can be asked to do.
pub(crate) struct Row {
    pub(crate) method: &'static str,
    /// As in the API document. The parameters stand for parts of an [`Address`](super::Address).
    pub(crate) path: String,
    /// Which of several, where what is asked depends on the request.
    pub(crate) case: &'static str,
    pub(crate) policy: &'static str,
    /// With the parts of an address in braces.
    pub(crate) query: &'static str,
    /// JSON, in which `"{part}"` stands for a part of an address.
    pub(crate) body: Option<&'static str>,
    /// The calls of the authorizer, in order, and what each asks at once.
    pub(crate) asks: Vec<Vec<Ask>>,
    /// The answer when everything is allowed.
    pub(crate) allowed: u16,
}

/// One thing an operation asks.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Ask {
    /// It takes this; one who may not even read is told that it is not there.
    Needs(Operation, Thing, Unseen),
    /// It takes `create` on the kind.
    Creates(ResourceKind),
    /// Only what this says is answered.
    Lists(ResourceKind),
    /// Part of the answer depends on it.
    Looks(Operation, Thing),
    /// It asks how a decision comes about.
    Explains(Operation, Thing),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    Agent,
    /// The agent that the request itself makes.
    NewAgent,
    Task,
    Key,
    /// The run schedule of the stage.
    Schedule,
}

/// What one is told who may not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unseen {
    /// 404, with the id that was sent.
    Id(&'static str),
    /// 404, with the name that was sent.
    Name(&'static str),
    /// The same where a free name would be taken. Names are unique, so who may create learns which are taken.
    Claimed(&'static str),
    /// 409, for the same reason.
    Taken,
    /// 404, whether agent or key is missing.
    KeyGone,
    /// 404, whether agent or deployment is missing, with both ids that were sent.
    DeploymentGone,
    /// 404, with the id of an entry of the deployment history that was sent.
    HistoryGone,
    /// 404 in the shape of the routes for outsiders.
    NoAgent,
    /// 404, with what was sent in place of a schedule, and the agent.
    ScheduleGone(&'static str),
    /// 200 and no schedules of either kind.
    NoSchedules,
    /// 200 and an empty list.
    Empty,
}

const NEW_MESSAGE: &str = r#"{"task_id":"{task_id}","content":{"type":"text","author":"user","content":"hi"}}"#;

fn row(method: &'static str, path: &str, asks: Vec<Vec<Ask>>) -> Row {
    Row { method, path: path.to_owned(), case: "", policy: "principal", query: "", body: None, asks, allowed: 200 }
}

impl Row {
    fn case(self, case: &'static str) -> Self {
        Self { case, ..self }
    }

    fn query(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    fn body(self, body: &'static str) -> Self {
        Self { body: Some(body), ..self }
    }

    fn policy(self, policy: &'static str) -> Self {
        Self { policy, ..self }
    }

    fn answering(self, allowed: u16) -> Self {
        Self { allowed, ..self }
    }

    /// What it takes, in order.
    pub(crate) fn needs(&self) -> impl Iterator<Item = (Operation, Thing, Unseen)> {
        self.asks.iter().flatten().filter_map(|ask| match ask {
            Needs(operation, thing, unseen) => Some((*operation, *thing, *unseen)),
            _ => None,
        })
    }

    /// The operation as it is written in requests.
    pub(crate) fn title(&self) -> String {
        let case = if self.case.is_empty() { String::new() } else { format!(" ({})", self.case) };
        format!("{} {}{case}", self.method, self.path)
    }
}

/// Every row, in the order of the documentation.
pub(crate) fn table() -> Vec<Row> {
    [
        agents(),
        calls("/agents/{agent_id}/rpc", Id("agent_id")),
        calls("/agents/name/{agent_name}/rpc", Name("agent_name")),
    ]
    .into_iter()
    .chain([
        deployments(),
        calls("/agents/{agent_id}/deployments/{deployment_id}/rpc", DeploymentGone),
        forwarding(),
        tasks(),
        messages(),
        states(),
        events(),
        trackers(),
        spans(),
        checkpoints(),
        keys(),
        schedules(),
        gateways(),
        administration(),
    ])
    .flatten()
    .collect()
}

fn agents() -> Vec<Row> {
    let registration = "registration";
    let (register, build) = ("/agents/register", "/agents/register-build");
    let mut rows = vec![
        row("POST", register, vec![vec![Creates(ResourceKind::Agent)]])
            .case("a new name, as a principal")
            .policy(registration)
            .body(r#"{"name":"{fresh}","description":"d","acp_url":"http://agent.test:1","acp_type":"sync"}"#),
        row("POST", register, vec![vec![Needs(Update, Agent, Claimed("agent_name"))]])
            .case("an existing name, as a principal")
            .policy(registration)
            .body(r#"{"name":"{agent_name}","description":"d","acp_url":"http://agent.test:1","acp_type":"sync"}"#),
        row("POST", register, vec![vec![Needs(Update, Agent, Id("agent_id"))]])
            .case("an id, as a principal")
            .policy(registration)
            .body(
                r#"{"agent_id":"{agent_id}","name":"{agent_name}","description":"d","acp_url":"http://agent.test:1",
                    "acp_type":"sync"}"#,
            ),
        row("POST", build, vec![vec![Creates(ResourceKind::Agent)], vec![Looks(Update, NewAgent)]])
            .case("a new name")
            .body(r#"{"name":"{fresh}","description":"d"}"#),
        row(
            "POST",
            build,
            vec![vec![Creates(ResourceKind::Agent)], vec![Needs(Read, Agent, Taken)], vec![Looks(Update, Agent)]],
        )
        .case("an existing name")
        .body(r#"{"name":"{agent_name}","description":"d"}"#),
        row("GET", "/agents", vec![vec![Lists(ResourceKind::Agent)]]),
        row("GET", "/agents", vec![vec![Needs(Read, Task, Empty)], vec![Lists(ResourceKind::Agent)]])
            .case("of a task")
            .query("task_id={task_id}"),
    ];
    for (path, unseen) in [("/agents/{agent_id}", Id("agent_id")), ("/agents/name/{agent_name}", Name("agent_name"))] {
        rows.push(row("GET", path, vec![vec![Needs(Read, Agent, unseen)]]));
        rows.push(row("DELETE", path, vec![vec![Needs(Delete, Agent, unseen)]]));
    }
    rows
}

/// Calls of agents. Agent and task are asked about at once.
fn calls(path: &str, unseen: Unseen) -> Vec<Row> {
    let agent = Needs(Execute, Agent, unseen);
    let on = |operation, unseen| vec![vec![agent, Needs(operation, Task, unseen)]];
    let new = || vec![vec![agent, Creates(ResourceKind::Task)]];
    let (id, name) = (Id("task_id"), Name("task_name"));
    let rpc = |case, asks, body| row("POST", path, asks).case(case).body(body);
    vec![
        rpc("task/create", new(), r#"{"method":"task/create","params":{}}"#),
        rpc("task/create, a new name", new(), r#"{"method":"task/create","params":{"name":"{fresh}"}}"#),
        rpc(
            "task/create, an existing name",
            on(Update, Claimed("task_name")),
            r#"{"method":"task/create","params":{"name":"{task_name}"}}"#,
        ),
        rpc(
            "message/send",
            new(),
            r#"{"method":"message/send","params":{"content":{"type":"text","author":"user","content":"hi"}}}"#,
        ),
        rpc(
            "message/send, a new name",
            new(),
            r#"{"method":"message/send","params":{"task_name":"{fresh}","content":
                {"type":"text","author":"user","content":"hi"}}}"#,
        ),
        rpc(
            "message/send, task_id",
            on(Update, id),
            r#"{"method":"message/send","params":{"task_id":"{task_id}","content":
                {"type":"text","author":"user","content":"hi"}}}"#,
        ),
        rpc(
            "message/send, an existing name",
            on(Update, Claimed("task_name")),
            r#"{"method":"message/send","params":{"task_name":"{task_name}","content":
                {"type":"text","author":"user","content":"hi"}}}"#,
        ),
        rpc(
            "message/send streamed, task_id",
            on(Update, id),
            r#"{"method":"message/send","params":{"task_id":"{task_id}","stream":true,"content":
                {"type":"text","author":"user","content":"hi"}}}"#,
        ),
        rpc("event/send, task_id", on(Update, id), r#"{"method":"event/send","params":{"task_id":"{task_id}"}}"#),
        rpc(
            "event/send, task_name",
            on(Update, name),
            r#"{"method":"event/send","params":{"task_name":"{task_name}"}}"#,
        ),
        rpc("task/cancel, task_id", on(Cancel, id), r#"{"method":"task/cancel","params":{"task_id":"{task_id}"}}"#),
        rpc(
            "task/cancel, task_name",
            on(Cancel, name),
            r#"{"method":"task/cancel","params":{"task_name":"{task_name}"}}"#,
        ),
        rpc(
            "task/interrupt, task_id",
            on(Update, id),
            r#"{"method":"task/interrupt","params":{"task_id":"{task_id}"}}"#,
        ),
        rpc(
            "task/interrupt, task_name",
            on(Update, name),
            r#"{"method":"task/interrupt","params":{"task_name":"{task_name}"}}"#,
        ),
    ]
}

fn deployments() -> Vec<Row> {
    let (all, one) = ("/agents/{agent_id}/deployments", "/agents/{agent_id}/deployments/{deployment_id}");
    let on = |operation, unseen| vec![vec![Needs(operation, Agent, unseen)]];
    let (id, name) = (Id("agent_id"), Name("agent_name"));
    vec![
        row("POST", all, vec![vec![Needs(Execute, Agent, id)], vec![Looks(Update, Agent)]])
            .body(r#"{"docker_image":"image:1"}"#),
        row("GET", all, on(Read, id)),
        row("GET", one, on(Read, DeploymentGone)),
        row("DELETE", one, on(Delete, DeploymentGone)),
        row("POST", &format!("{one}/promote"), on(Execute, DeploymentGone)),
        row("GET", "/deployment-history", on(Read, id)).case("agent_id").query("agent_id={agent_id}"),
        row("GET", "/deployment-history", on(Read, name)).case("agent_name").query("agent_name={agent_name}"),
        row("GET", "/deployment-history/{deployment_id}", on(Read, HistoryGone)),
    ]
}

fn forwarding() -> Vec<Row> {
    let asks = || vec![vec![Needs(Execute, Agent, NoAgent)]];
    let forward = |method| {
        row(method, "/agents/forward/name/{agent_name}/{path}", asks()).case("as a principal").policy("ingress")
    };
    vec![forward("GET"), forward("POST")]
}

fn tasks() -> Vec<Row> {
    let mut rows = vec![
        row("GET", "/tasks", vec![vec![Lists(ResourceKind::Task)]]),
        row("GET", "/tasks", vec![vec![Lists(ResourceKind::Task)], vec![Lists(ResourceKind::Agent)]])
            .case("with agents")
            .query("relationships=agents"),
    ];
    for (path, unseen) in [("/tasks/{task_id}", Id("task_id")), ("/tasks/name/{task_name}", Name("task_name"))] {
        let on = |operation| vec![vec![Needs(operation, Task, unseen)]];
        rows.push(row("GET", path, on(Read)));
        rows.push(
            row("GET", path, vec![vec![Needs(Read, Task, unseen)], vec![Lists(ResourceKind::Agent)]])
                .case("with agents")
                .query("relationships=agents"),
        );
        rows.push(row("PUT", path, on(Update)).body(r#"{"task_metadata":{"k":"v"}}"#));
        rows.push(row("DELETE", path, on(Delete)));
        rows.push(row("GET", &format!("{path}/stream"), on(Read)));
    }
    let id = Id("task_id");
    for ending in ["complete", "fail", "terminate", "timeout", "interrupt"] {
        let path = format!("/tasks/{{task_id}}/{ending}");
        rows.push(row("POST", &path, vec![vec![Needs(Update, Task, id)]]).body("{}"));
    }
    rows.push(row("POST", "/tasks/{task_id}/cancel", vec![vec![Needs(Cancel, Task, id)]]).body("{}"));
    let query = row("GET", "/tasks/{task_id}/query/{query_name}", vec![vec![Needs(Read, Task, id)]]);
    rows.push(query.answering(503));
    let export = "/tasks/{task_id}/export";
    let on = |operation| vec![vec![Needs(operation, Task, id)]];
    rows.push(row("GET", export, on(Read)));
    // Whoever may read is told what is wrong with the URL, whoever may delete that the task is running, and so on.
    rows.push(row("POST", export, on(Read)).body(r#"{"upload_url":"https://127.0.0.1/x"}"#).answering(400));
    rows.push(row("POST", "/tasks/{task_id}/clean", on(Delete)).body(r#"{"force":true}"#).answering(400));
    let contents =
        r#"{"task_id":"{task_id}","task_states":[{"task_id":"{task_id}","agent_id":"{agent_id}","state":{}}]}"#;
    rows.push(row("POST", "/tasks/{task_id}/rehydrate", on(Update)).body(contents).answering(400));
    rows
}

fn messages() -> Vec<Row> {
    let on = |operation| vec![vec![Needs(operation, Task, Id("task_id"))]];
    vec![
        row("POST", "/messages", on(Update)).body(NEW_MESSAGE),
        row("GET", "/messages", on(Read)).query("task_id={task_id}"),
        row("GET", "/messages/paginated", on(Read)).query("task_id={task_id}"),
        row("POST", "/messages/batch", on(Update))
            .body(r#"{"task_id":"{task_id}","contents":[{"type":"text","author":"user","content":"hi"}]}"#),
        row("PUT", "/messages/batch", on(Update)).body(
            r#"{"task_id":"{task_id}","updates":{"{message_id}":{"type":"text","author":"user","content":"hi"}}}"#,
        ),
        row("GET", "/messages/{message_id}", vec![vec![Needs(Read, Task, Id("message_id"))]]),
        row("PUT", "/messages/{message_id}", on(Update)).body(NEW_MESSAGE),
    ]
}

fn states() -> Vec<Row> {
    let on = |operation, unseen| vec![vec![Needs(operation, Task, unseen)]];
    let (task, state) = (Id("task_id"), Id("state_id"));
    vec![
        row("POST", "/states", on(Update, task)).body(r#"{"task_id":"{task_id}","agent_id":"{agent_id}","state":{}}"#),
        row("GET", "/states", vec![vec![Lists(ResourceKind::Task)]]),
        row("GET", "/states", on(Read, task)).case("of a task").query("task_id={task_id}"),
        row("GET", "/states/{state_id}", on(Read, state)),
        row("PUT", "/states/{state_id}", on(Update, state)).body(r#"{"state":{}}"#),
        row("DELETE", "/states/{state_id}", on(Delete, state)),
    ]
}

fn events() -> Vec<Row> {
    let both = |task, agent| vec![vec![Needs(Read, Task, task), Needs(Read, Agent, agent)]];
    vec![
        row("GET", "/events", both(Id("task_id"), Id("agent_id"))).query("task_id={task_id}&agent_id={agent_id}"),
        row("GET", "/events/{event_id}", both(Id("event_id"), Id("event_id"))),
    ]
}

fn trackers() -> Vec<Row> {
    let on = |operation| vec![vec![Needs(operation, Task, Id("tracker_id"))]];
    vec![
        row("GET", "/tracker", vec![vec![Lists(ResourceKind::Task)]]),
        row("GET", "/tracker", vec![vec![Lists(ResourceKind::Task)]]).case("of a task").query("task_id={task_id}"),
        row("GET", "/tracker/{tracker_id}", on(Read)),
        row("PUT", "/tracker/{tracker_id}", on(Execute)).body(r#"{"status":"busy"}"#),
    ]
}

fn spans() -> Vec<Row> {
    let on = |operation, unseen| vec![vec![Needs(operation, Task, unseen)]];
    let (task, span) = (Id("task_id"), Id("span_id"));
    vec![
        row("POST", "/spans", on(Update, task))
            .case("of a task")
            .body(r#"{"trace_id":"t","task_id":"{task_id}","name":"n","start_time":"2025-01-02T03:04:05Z"}"#),
        row("GET", "/spans", vec![vec![Lists(ResourceKind::Task)]]),
        row("GET", "/spans", on(Read, task)).case("of a task").query("task_id={task_id}"),
        row("GET", "/spans/{span_id}", on(Read, span)),
        row("PATCH", "/spans/{span_id}", on(Update, span)).body(r#"{"name":"other"}"#),
    ]
}

fn checkpoints() -> Vec<Row> {
    let on = |operation| vec![vec![Needs(operation, Task, Id("task_id"))]];
    let (put, write) = (
        r#"{"thread_id":"{task_id}","checkpoint_id":"1","checkpoint":{}}"#,
        r#"{"thread_id":"{task_id}","checkpoint_id":"1","writes":[]}"#,
    );
    let thread = r#"{"thread_id":"{task_id}"}"#;
    vec![
        row("POST", "/checkpoints/get-tuple", on(Read)).body(thread),
        row("POST", "/checkpoints/put", on(Update)).body(put),
        row("POST", "/checkpoints/put-writes", on(Update)).body(write).answering(204),
        row("POST", "/checkpoints/list", on(Read)).body(thread),
        row("POST", "/checkpoints/delete-thread", on(Delete)).body(thread).answering(204),
    ]
}

fn keys() -> Vec<Row> {
    let kind = ResourceKind::ApiKey;
    let (id, name) = (Id("agent_id"), Name("agent_name"));
    let named = |operation| vec![vec![Needs(Read, Agent, KeyGone), Needs(operation, Key, KeyGone)]];
    let mut rows = vec![
        row("POST", "/agent_api_keys", vec![vec![Needs(Update, Agent, id)]])
            .case("agent_id")
            .body(r#"{"agent_id":"{agent_id}","name":"{fresh}"}"#),
        row("POST", "/agent_api_keys", vec![vec![Needs(Update, Agent, name)]])
            .case("agent_name")
            .body(r#"{"agent_name":"{agent_name}","name":"{fresh}"}"#),
        row("POST", "/agent_api_keys/webhook-trigger", vec![vec![Needs(Update, Agent, name)]])
            .body(r#"{"agent_name":"{agent_name}","name":"acme/{fresh}","forward_path":"p"}"#),
    ];
    for (case, query) in [("agent_id", "agent_id={agent_id}"), ("agent_name", "agent_name={agent_name}")] {
        rows.push(
            row("GET", "/agent_api_keys", vec![vec![Needs(Read, Agent, Empty)], vec![Lists(kind)]])
                .case(case)
                .query(query),
        );
        rows.push(row("GET", "/agent_api_keys/name/{name}", named(Read)).case(case).query(query));
        rows.push(row("DELETE", "/agent_api_keys/name/{name}", named(Delete)).case(case).query(query));
    }
    rows.push(row("GET", "/agent_api_keys/{id}", vec![vec![Needs(Read, Key, KeyGone)]]));
    rows.push(row("DELETE", "/agent_api_keys/{id}", vec![vec![Needs(Delete, Key, KeyGone)]]));
    rows
}

fn schedules() -> Vec<Row> {
    let path = "/agents/{agent_id}/schedules";
    let new = r#"{"name":"{fresh}","interval_seconds":3600,"initial_input":{"content":"hi"}}"#;
    let mut rows = vec![
        row("POST", path, vec![vec![Needs(Update, Agent, Id("agent_id"))]]).body(new),
        row("GET", path, vec![vec![Needs(Read, Agent, NoSchedules)], vec![Lists(ResourceKind::Schedule)]]),
    ];
    let by_id = ("/agents/{agent_id}/schedules/{schedule_id}", ScheduleGone("schedule_id"));
    let by_name = ("/agents/{agent_id}/schedules/name/{name}", ScheduleGone("schedule_name"));
    for (path, unseen) in [by_id, by_name] {
        let on = |operation| vec![vec![Needs(operation, Schedule, unseen)]];
        rows.push(row("GET", path, on(Read)));
        rows.push(row("PATCH", path, on(Update)).body(r#"{"description":"other"}"#));
        for verb in ["trigger", "pause", "resume", "unpause"] {
            rows.push(row("POST", &format!("{path}/{verb}"), on(Update)));
        }
        rows.push(row("DELETE", path, on(Delete)));
    }
    let (path, unseen) = by_id;
    for verb in ["skip", "unskip"] {
        let past = row("POST", &format!("{path}/{verb}"), vec![vec![Needs(Update, Schedule, unseen)]]);
        // Everything is past.
        rows.push(past.body(r#"{"scheduled_time":"2001-01-01T00:00:00Z"}"#).answering(400));
    }
    rows
}

/// These prove themselves by a signature, and ask nothing: what is said is stored, and the turn that comes of it asks what
/// every call of an agent asks. They are off here.
fn gateways() -> Vec<Row> {
    ["/slack/events", "/slack/commands", "/slack/interactions", "/linear/events"]
        .map(|path| row("POST", path, Vec::new()).policy("signature").body("{}").answering(404))
        .into()
}

fn administration() -> Vec<Row> {
    let explain = |operation| {
        let asks = vec![vec![Needs(operation, Task, Id("task_id"))], vec![Explains(Update, Task)]];
        row("GET", "/authz/explain", asks)
    };
    vec![
        explain(Read).case("oneself").query("resource=task:{task_id}&operation=update"),
        explain(Delete).case("somebody else").query("resource=task:{task_id}&operation=update&user_id=bob"),
    ]
}
