use std::fmt;

use async_trait::async_trait;
use serde_json::Value;

use crate::ports::BoxError;

/// A place in a chat where an agent is talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The channel or session.
    pub place: String,
    /// The thread in it, where there are threads.
    pub thread: Option<String>,
}

/// Why a call of a chat application or directory did not do its job. The texts hold neither what was said nor a credential.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// It could not be reached, or did not answer in time.
    #[error("chat provider unreachable")]
    Unreachable(#[source] BoxError),
    /// It answered with an HTTP status that is not a success.
    #[error("chat provider answered HTTP {0}")]
    Status(u16),
    /// It refused; with its own word for why, bounded.
    #[error("chat provider refused: {0}")]
    Refused(String),
    /// There are no credentials to call it with.
    #[error("there are no credentials for the chat provider")]
    NoCredentials,
    /// Its answer makes no sense.
    #[error("chat provider answered something else")]
    Malformed,
}

/// Tells people in a chat how a turn goes. Where there are no credentials, nothing is sent and that is no error.
#[async_trait]
pub trait ChatProvider: Send + Sync {
    /// Shows that a turn has begun. A hint: whoever calls goes on when it fails.
    async fn begin(&self, to: &Conversation) -> Result<(), ChatError>;

    /// Says what the agent said, in as many pieces as the application needs.
    async fn reply(&self, to: &Conversation, text: &str) -> Result<(), ChatError>;

    /// Says that the turn failed.
    async fn fail(&self, to: &Conversation, text: &str) -> Result<(), ChatError>;
}

/// What a chat application with channels and dialogues does besides.
#[async_trait]
pub trait ChatWorkspace: ChatProvider {
    /// Opens a dialogue for whoever `trigger` belongs to.
    ///
    /// # Errors
    /// [`ChatError::NoCredentials`] too: there is no dialogue then.
    async fn open_view(&self, trigger: &str, view: &Value) -> Result<(), ChatError>;

    /// Posts into a channel, outside of threads, and answers what names the message there.
    ///
    /// # Errors
    /// [`ChatError::NoCredentials`] too: there is no message then.
    async fn announce(&self, channel: &str, text: &str, blocks: &Value) -> Result<String, ChatError>;
}

/// Who asks a directory.
#[derive(Clone, PartialEq, Eq)]
pub struct DirectoryCaller {
    /// Base URL of the directory, without a slash at the end.
    pub base: String,
    /// The credential.
    pub api_key: String,
    /// The account it is used for.
    pub account: Option<String>,
}

impl fmt::Debug for DirectoryCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryCaller")
            .field("base", &self.base)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// Knows configurations of agents by name.
#[async_trait]
pub trait GatewayDirectory: Send + Sync {
    /// The id of the configuration with exactly this name.
    async fn find_config(&self, caller: &DirectoryCaller, name: &str) -> Result<Option<String>, ChatError>;
}
