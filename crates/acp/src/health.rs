use std::time::Duration;

use agentex_domain::AgentId;
use agentex_domain::ports::AgentHealthProbe;
use async_trait::async_trait;
use http::Method;
use reqwest::Response;
use serde::Deserialize;
use tokio::time::timeout;

use crate::AcpClient;

/// How long an agent may take to say how it is.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Most bytes of what it says.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    agent_id: Option<String>,
}

impl AcpClient {
    async fn health(&self, url: &str) -> Option<Answer> {
        let url = self.endpoints.forward_url(url, "healthz", None).ok()?;
        let request = self.http.request(Method::GET, url).build().ok()?;
        let mut response: Response = self.execute(request).await.ok()?;
        if response.status().as_u16() != 200 {
            return None;
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).ok()
    }
}

#[async_trait]
impl AgentHealthProbe for AcpClient {
    #[tracing::instrument(name = "acp.health", level = "debug", skip_all, fields(agent.id = %agent))]
    async fn is_healthy(&self, agent: &AgentId, url: &str) -> bool {
        let Ok(Some(answer)) = timeout(TIME_LIMIT, self.health(url)).await else { return false };
        let is_it = answer.agent_id.is_none_or(|id| id.is_empty() || id == agent.as_str());
        answer.status == "healthy" && is_it
    }
}
