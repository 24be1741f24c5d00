//! Calls of chat applications and of the directory of configurations.

mod directory;
mod linear;
mod slack;
mod split;
mod transport;

use std::fmt;

use crate::AcpSetupError;

pub use directory::DirectoryClient;
pub use linear::LinearClient;
pub use slack::SlackClient;

use transport::ChatHttp;

/// How chat applications are called. Without credentials nothing is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct ChatOptions {
    /// Token of Slack's bot; empty: nothing is posted.
    pub slack_bot_token: String,
    /// Base of Slack's Web API. Default `https://slack.com/api`.
    pub slack_api_base: String,
    /// Client of Linear's OAuth; empty: nothing is posted.
    pub linear_client_id: String,
    /// Its secret; empty: nothing is posted.
    pub linear_client_secret: String,
    /// Base of Linear's API. Default `https://api.linear.app`.
    pub linear_api_base: String,
}

impl Default for ChatOptions {
    fn default() -> Self {
        Self {
            slack_bot_token: String::new(),
            slack_api_base: "https://slack.com/api".to_owned(),
            linear_client_id: String::new(),
            linear_client_secret: String::new(),
            linear_api_base: "https://api.linear.app".to_owned(),
        }
    }
}

impl fmt::Debug for ChatOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatOptions")
            .field("slack_bot_token", &!self.slack_bot_token.is_empty())
            .field("slack_api_base", &self.slack_api_base)
            .field("linear_client", &!(self.linear_client_id.is_empty() || self.linear_client_secret.is_empty()))
            .field("linear_api_base", &self.linear_api_base)
            .finish()
    }
}

/// The clients of chat applications, which share their connections.
#[derive(Debug)]
pub struct ChatClients {
    http: ChatHttp,
    options: ChatOptions,
}

impl ChatClients {
    /// Prepares them; nothing is dialled.
    ///
    /// # Errors
    /// The HTTP library refuses the configuration.
    pub fn new(options: ChatOptions) -> Result<Self, AcpSetupError> {
        Ok(Self { http: ChatHttp::new()?, options })
    }

    /// The one of Slack.
    #[must_use]
    pub fn slack(&self) -> SlackClient {
        let ChatOptions { slack_bot_token, slack_api_base, .. } = &self.options;
        SlackClient::new(self.http.clone(), slack_api_base, slack_bot_token)
    }

    /// The one of Linear.
    #[must_use]
    pub fn linear(&self) -> LinearClient {
        let ChatOptions { linear_client_id, linear_client_secret, linear_api_base, .. } = &self.options;
        LinearClient::new(self.http.clone(), linear_api_base, linear_client_id, linear_client_secret)
    }

    /// The one of the directory of configurations.
    #[must_use]
    pub fn directory(&self) -> DirectoryClient {
        DirectoryClient::new(self.http.clone())
    }
}
