use std::fmt;
use std::time::Duration;

/// Which chats reach agents, and how.
#[derive(Debug, Clone, Default)]
pub struct GatewaySettings {
    /// Slack. `None`: it is off.
    pub slack: Option<SlackSettings>,
    /// Linear. `None`: it is off.
    pub linear: Option<LinearSettings>,
    /// How long answers are waited for.
    pub replies: ReplySettings,
}

/// How Slack reaches agents.
#[derive(Clone)]
pub struct SlackSettings {
    /// What Slack signs its requests with. Empty: every request is refused.
    pub signing_secret: String,
    /// Believes unsigned requests; for development only.
    pub skip_verification: bool,
    /// Told to agents with the first turn as `mcps`.
    pub mcps: Vec<String>,
    /// What all chats have.
    pub chat: ChatSettings,
}

/// How Linear reaches agents.
#[derive(Clone)]
pub struct LinearSettings {
    /// What Linear signs its requests with. Empty: every request is refused.
    pub signing_secret: String,
    /// Believes unsigned requests; for development only.
    pub skip_verification: bool,
    /// How far Linear's clock and ours may be apart.
    pub max_age: Duration,
    /// What all chats have.
    pub chat: ChatSettings,
}

/// What all chats have.
#[derive(Clone)]
pub struct ChatSettings {
    /// The credential of the bot that all turns run as.
    pub api_key: Option<String>,
    /// The account it acts in.
    pub account: Option<String>,
    /// The agent for whoever names none.
    pub default_agent: String,
    /// Its configuration where none is named.
    pub default_config: Option<String>,
    /// Base URL of the directory of configurations, without a slash at the end. `None`: there is none.
    pub directory: Option<String>,
    /// How long a delivery is remembered.
    pub dedup_ttl: Duration,
    /// How often a call is made that meets somebody who makes the same task; at least once.
    pub create_attempts: u32,
    /// Pause between them.
    pub create_backoff: Duration,
}

impl Default for ChatSettings {
    fn default() -> Self {
        Self {
            api_key: None,
            account: None,
            default_agent: "golden-agent".to_owned(),
            default_config: None,
            directory: None,
            dedup_ttl: Duration::from_secs(600),
            create_attempts: 4,
            create_backoff: Duration::from_millis(250),
        }
    }
}

/// How long answers of agents that answer later are waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplySettings {
    /// Pause between two looks at the messages, where nothing is heard.
    pub poll: Duration,
    /// How long nothing may have changed until the answer counts as whole.
    pub quiet: Duration,
    /// The longest wait, after which there is what there is.
    pub deadline: Duration,
}

impl Default for ReplySettings {
    fn default() -> Self {
        Self { poll: Duration::from_secs(2), quiet: Duration::from_secs(6), deadline: Duration::from_secs(120) }
    }
}

impl fmt::Debug for SlackSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signing_secret, skip_verification, mcps, chat } = self;
        f.debug_struct("SlackSettings")
            .field("signing_secret", &!signing_secret.is_empty())
            .field("skip_verification", skip_verification)
            .field("mcps", mcps)
            .field("chat", chat)
            .finish()
    }
}

impl fmt::Debug for LinearSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signing_secret, skip_verification, max_age, chat } = self;
        f.debug_struct("LinearSettings")
            .field("signing_secret", &!signing_secret.is_empty())
            .field("skip_verification", skip_verification)
            .field("max_age", max_age)
            .field("chat", chat)
            .finish()
    }
}

impl fmt::Debug for ChatSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatSettings")
            .field("api_key", &self.api_key.is_some())
            .field("account", &self.account)
            .field("default_agent", &self.default_agent)
            .field("default_config", &self.default_config)
            .field("directory", &self.directory.is_some())
            .finish_non_exhaustive()
    }
}
