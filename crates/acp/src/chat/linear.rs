use std::fmt;
use std::sync::{Mutex, PoisonError};

use agentex_domain::ports::{ChatError, ChatProvider, Conversation};
use async_trait::async_trait;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::transport::{ChatHttp, refused};

const SCOPE: &str = "read,write,app:assignable,app:mentionable";
const STARTED: &str = "On it…";
const MUTATION: &str = "mutation AgentActivityCreate($input: AgentActivityCreateInput!) { \
                        agentActivityCreate(input: $input) { success } }";

/// Linear's API, as one application.
pub struct LinearClient {
    http: ChatHttp,
    base: String,
    client_id: String,
    client_secret: String,
    /// The token minted last.
    token: Mutex<Option<String>>,
}

impl LinearClient {
    pub(super) fn new(http: ChatHttp, base: &str, client_id: &str, client_secret: &str) -> Self {
        Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            token: Mutex::default(),
        }
    }

    async fn emit(&self, to: &Conversation, kind: &str, body: &str) -> Result<(), ChatError> {
        if self.client_id.is_empty() || self.client_secret.is_empty() {
            // Not what is in it: that is between people.
            tracing::warn!(
                kind,
                characters = body.chars().count(),
                "Linear has no credentials; an activity is dropped"
            );
            return Ok(());
        }
        let input = json!({"agentSessionId": to.place, "content": {"type": kind, "body": body}});
        let query = json!({"query": MUTATION, "variables": {"input": input}});
        let known = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let token = match known {
            Some(token) => token,
            None => self.mint().await?,
        };
        match self.post(&token, &query).await {
            // It has been revoked or has ended.
            Err(ChatError::Status(401)) => {
                let token = self.mint().await?;
                self.post(&token, &query).await
            }
            outcome => outcome,
        }
    }

    async fn post(&self, token: &str, query: &Value) -> Result<(), ChatError> {
        let request = self.http.post(&format!("{}/graphql", self.base))?.bearer_auth(token).json(query);
        let answer = self.http.send(request).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(ChatError::Status(401));
        }
        let answer = answer.json()?;
        if let Some(error) = answer["errors"].get(0) {
            return Err(refused(error["message"].as_str().unwrap_or_default()));
        }
        match answer["data"]["agentActivityCreate"]["success"].as_bool() {
            Some(true) => Ok(()),
            Some(false) => Err(refused("no success")),
            None => Err(ChatError::Malformed),
        }
    }

    /// A new token, which is kept.
    async fn mint(&self) -> Result<String, ChatError> {
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client_id)
            .append_pair("client_secret", &self.client_secret)
            .append_pair("scope", SCOPE)
            .finish();
        let request = self.http.post(&format!("{}/oauth/token", self.base))?;
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let answer = self.http.send(request).await?.json()?;
        let token = answer["access_token"].as_str().filter(|token| !token.is_empty()).ok_or(ChatError::Malformed)?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.to_owned());
        Ok(token.to_owned())
    }
}

#[async_trait]
impl ChatProvider for LinearClient {
    async fn begin(&self, to: &Conversation) -> Result<(), ChatError> {
        self.emit(to, "thought", STARTED).await
    }

    async fn reply(&self, to: &Conversation, text: &str) -> Result<(), ChatError> {
        self.emit(to, "response", text).await
    }

    async fn fail(&self, to: &Conversation, text: &str) -> Result<(), ChatError> {
        self.emit(to, "error", text).await
    }
}

impl fmt::Debug for LinearClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinearClient").field("base", &self.base).finish_non_exhaustive()
    }
}
