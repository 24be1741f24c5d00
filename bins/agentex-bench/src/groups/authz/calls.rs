//! Calls, creates and deletes with somebody who decides, next to the same without.

use agentex_testkit::fake_provider::FakeProvider;
use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Bench, next_to_off, rows};
use crate::agent::{InstantAgent, Reply};
use crate::compare::{Work, compare};
use crate::deployment::{ACCOUNT, Authorization, Backend, Data, Deployment, OWNER, token};
use crate::http;
use crate::report::{Line, Target, Unit};

/// Calls over which questions are counted.
const COUNTED: u32 = 20;

/// What the provider is asked about permissions.
const CHECKS: &str = "/v1/authz/check";

pub(super) async fn measure(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let agent = InstantAgent::start(Reply::Whole)?;
    let off = Server::start(bench, backend, Authorization::Off, &agent).await?;
    let mut lines = Vec::new();

    let local = Server::start(bench, backend, Authorization::Local, &agent).await?;
    let (of_message, of_cycle) = next_to(bench, "local", &local, &off).await?;
    lines.extend(of_message);
    lines.push(questions("local", local.questions_per_message().await?));
    lines.extend(of_cycle);
    local.stop().await?;

    let provider = FakeProvider::start().await;
    provider.login(&token(OWNER), json!({"user_id": OWNER, "account_id": ACCOUNT}));
    let http = Server::start(bench, backend, Authorization::Provider(provider.url()), &agent).await?;
    let before = provider.calls(CHECKS).len();
    let asked = http.questions_per_message().await?;
    let requests = provider.calls(CHECKS).len() - before;
    let (of_message, of_cycle) = next_to(bench, "http", &http, &off).await?;
    lines.extend(of_message);
    lines.push(questions("http", asked));
    lines.push(Line {
        measure: "message/send, authorization http, requests to the provider".to_owned(),
        unit: Unit::Count,
        target: None,
        value: crate::stats::count(requests) / f64::from(COUNTED),
        raw: None,
    });
    lines.extend(of_cycle);
    http.stop().await?;
    off.stop().await?;
    Ok(lines)
}

/// The rows of sending messages, and those of creating and deleting tasks.
async fn next_to(bench: &Bench, name: &str, on: &Server, off: &Server) -> anyhow::Result<(Vec<Line>, Vec<Line>)> {
    let messages = compare(bench.effort, &on.deployment, &on.messages(), &off.messages()).await?;
    let tasks = compare(bench.effort, &on.deployment, &on.tasks(), &off.tasks()).await?;
    let unfinished = rows::unfinished(&on.deployment.place()).await?;
    ensure!(unfinished == 0, "{unfinished} changes of the graph are not finished");
    Ok((
        next_to_off(&format!("message/send, authorization {name}"), messages.server, messages.baseline, None),
        next_to_off(&format!("Create and delete a task, authorization {name}"), tasks.server, tasks.baseline, None),
    ))
}

fn questions(name: &str, value: f64) -> Line {
    Line {
        measure: format!("message/send, authorization {name}, round trips to the authorizer"),
        unit: Unit::Count,
        target: Some(Target::AtMost(1.0, 1.0)),
        value,
        raw: None,
    }
}

/// A server with an agent and a task.
struct Server {
    deployment: Deployment,
    agent: String,
    task: String,
}

impl Server {
    async fn start(
        bench: &Bench,
        backend: Backend,
        authorization: Authorization<'_>,
        agent: &InstantAgent,
    ) -> anyhow::Result<Self> {
        let deployment = Deployment::on(Data::fresh(backend).await?, &bench.program, authorization).await?;
        let agent = deployment.register("bench", "sync", &agent.url()).await?;
        let task = deployment.task(&agent).await?;
        Ok(Self { deployment, agent, task })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.deployment.stop().await?;
        Ok(())
    }

    /// Sending messages to the task.
    fn messages(&self) -> Work {
        let content = json!({"type": "text", "author": "user", "content": "hello"});
        let params = json!({"task_id": self.task, "content": content});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": params});
        let request = http::with_json("POST", &format!("/agents/{}/rpc", self.agent), &body);
        Work::Request(self.deployment.target(&request, "\"error\":null"))
    }

    /// Creating and deleting tasks.
    fn tasks(&self) -> Work {
        Work::Tasks(self.deployment.task_cycle(&self.agent))
    }

    /// How often one message makes the server ask whether something is allowed.
    async fn questions_per_message(&self) -> anyhow::Result<f64> {
        let Work::Request(messages) = self.messages() else { anyhow::bail!("messages are requests") };
        let before = questions_asked(&self.deployment.metrics().await?)?;
        for _ in 0..COUNTED {
            http::call(messages.address, &messages.request).await?;
        }
        let after = questions_asked(&self.deployment.metrics().await?)?;
        Ok((after - before) / f64::from(COUNTED))
    }
}

/// How often the authorizer was asked anything, from the metrics of the server. What it was told does not count.
fn questions_asked(metrics: &str) -> anyhow::Result<f64> {
    const COUNT: &str = "agentex_authz_latency_seconds_count{";
    let mut asked = 0.0;
    let mut found = false;
    for line in metrics.lines().filter(|line| line.starts_with(COUNT)) {
        found = true;
        if ["check", "check_many", "list_resources"].iter().any(|verb| line.contains(&format!("verb=\"{verb}\""))) {
            let (_, value) = line.rsplit_once(' ').context("a metric without a value")?;
            asked += value.parse::<f64>()?;
        }
    }
    ensure!(found, "the server does not say how often it asks");
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_count_and_writes_do_not() {
        let metrics = "agentex_authz_latency_seconds_count{verb=\"check\",backend=\"local\"} 3\n\
                       agentex_authz_latency_seconds_count{verb=\"check_many\",backend=\"local\"} 4\n\
                       agentex_authz_latency_seconds_sum{verb=\"check\",backend=\"local\"} 0.5\n\
                       agentex_authz_latency_seconds_count{verb=\"register\",backend=\"local\"} 9\n";

        assert_eq!(questions_asked(metrics).unwrap(), 7.0);
        assert!(questions_asked("something_else 1\n").is_err());
    }
}
