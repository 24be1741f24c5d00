use std::fmt;
use std::time::Duration;

use agentex_domain::ports::{ChatError, ChatProvider, ChatWorkspace, Conversation};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::split::split;
use super::transport::{ChatHttp, refused};

/// The most characters of one message.
const MAX_MESSAGE_CHARS: usize = 3500;
/// How often a message is sent that Slack has no time for, and the longest that one wait may take.
const ATTEMPTS: u32 = 3;
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const THINKING: &str = "is thinking…";

/// Slack's Web API, as one bot.
pub struct SlackClient {
    http: ChatHttp,
    base: String,
    token: String,
}

impl SlackClient {
    pub(super) fn new(http: ChatHttp, base: &str, token: &str) -> Self {
        Self { http, base: base.trim_end_matches('/').to_owned(), token: token.to_owned() }
    }

    /// Calls a method, again when Slack says that there were too many calls.
    async fn call(&self, method: &str, arguments: &Value) -> Result<Value, ChatError> {
        if self.token.is_empty() {
            return Err(ChatError::NoCredentials);
        }
        let url = format!("{}/{method}", self.base);
        for attempt in 1.. {
            let request = self.http.post(&url)?.bearer_auth(&self.token).json(arguments);
            let answer = self.http.send(request).await?;
            match answer.retry_after() {
                Some(wait) if attempt < ATTEMPTS => tokio::time::sleep(wait.min(LONGEST_WAIT)).await,
                _ => {
                    let answer = answer.json()?;
                    return match answer["ok"].as_bool() {
                        Some(true) => Ok(answer),
                        Some(false) => Err(refused(answer["error"].as_str().unwrap_or_default())),
                        None => Err(ChatError::Malformed),
                    };
                }
            }
        }
        Err(ChatError::Malformed)
    }

    async fn say(&self, to: &Conversation, text: &str) -> Result<(), ChatError> {
        for piece in split(text, MAX_MESSAGE_CHARS) {
            let mut message = json!({"channel": to.place, "text": piece});
            if let Some(thread) = &to.thread {
                message["thread_ts"] = json!(thread);
            }
            silent(self.call("chat.postMessage", &message).await)?;
        }
        Ok(())
    }
}

/// Without a token nothing is said, and nothing is wrong.
fn silent(outcome: Result<Value, ChatError>) -> Result<(), ChatError> {
    match outcome {
        Ok(_) | Err(ChatError::NoCredentials) => Ok(()),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl ChatProvider for SlackClient {
    async fn begin(&self, to: &Conversation) -> Result<(), ChatError> {
        let status = json!({"channel_id": to.place, "thread_ts": to.thread, "status": THINKING});
        silent(self.call("assistant.threads.setStatus", &status).await)
    }

    async fn reply(&self, to: &Conversation, text: &str) -> Result<(), ChatError> {
        self.say(to, text).await
    }

    async fn fail(&self, to: &Conversation, text: &str) -> Result<(), ChatError> {
        self.say(to, text).await
    }
}

#[async_trait]
impl ChatWorkspace for SlackClient {
    async fn open_view(&self, trigger: &str, view: &Value) -> Result<(), ChatError> {
        self.call("views.open", &json!({"trigger_id": trigger, "view": view})).await.map(drop)
    }

    async fn announce(&self, channel: &str, text: &str, blocks: &Value) -> Result<String, ChatError> {
        let message = json!({"channel": channel, "text": text, "blocks": blocks});
        let answer = self.call("chat.postMessage", &message).await?;
        answer["ts"].as_str().map(str::to_owned).ok_or(ChatError::Malformed)
    }
}

impl fmt::Debug for SlackClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlackClient").field("base", &self.base).finish_non_exhaustive()
    }
}
