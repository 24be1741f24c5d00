use std::time::Duration;

use agentex::acp::ChatOptions;
use agentex::app::{ChatSettings, GatewaySettings, LinearSettings, SlackSettings};

use super::sources::Problem;
use super::{Values, kind};

/// What the settings of one chat are called.
struct Names {
    api_key: &'static str,
    account: &'static str,
    default_agent: &'static str,
    default_config: &'static str,
    directory: &'static str,
    dedup_ttl: &'static str,
    attempts: &'static str,
    backoff: &'static str,
    skip: &'static str,
}

const SLACK: Names = Names {
    api_key: "SLACK_GATEWAY_ACTING_BOT_API_KEY",
    account: "SLACK_GATEWAY_ACCOUNT_ID",
    default_agent: "SLACK_GATEWAY_DEFAULT_AGENT",
    default_config: "SLACK_GATEWAY_DEFAULT_CONFIG_ID",
    directory: "SLACK_GATEWAY_SGP_BASE_URL",
    dedup_ttl: "SLACK_EVENT_DEDUP_TTL",
    attempts: "SLACK_CREATE_RACE_ATTEMPTS",
    backoff: "SLACK_CREATE_RACE_BACKOFF_S",
    skip: "SLACK_GATEWAY_DEV_SKIP_VERIFY",
};

const LINEAR: Names = Names {
    api_key: "LINEAR_GATEWAY_ACTING_BOT_API_KEY",
    account: "LINEAR_GATEWAY_ACCOUNT_ID",
    default_agent: "LINEAR_GATEWAY_DEFAULT_AGENT",
    default_config: "LINEAR_GATEWAY_DEFAULT_CONFIG_ID",
    directory: "LINEAR_GATEWAY_SGP_BASE_URL",
    dedup_ttl: "LINEAR_EVENT_DEDUP_TTL",
    attempts: "LINEAR_CREATE_RACE_ATTEMPTS",
    backoff: "LINEAR_CREATE_RACE_BACKOFF_S",
    skip: "LINEAR_GATEWAY_DEV_SKIP_VERIFY",
};

impl Values {
    /// Which chats reach agents: those that have a signing secret, or need none.
    pub(super) fn gateways(&self, problems: &mut Vec<Problem>) -> GatewaySettings {
        let owned = |name| self.text(name).map(str::to_owned).unwrap_or_default();
        let (slack_secret, slack_skip) = (owned("SLACK_SIGNING_SECRET"), self.skips(&SLACK, problems));
        let (linear_secret, linear_skip) = (owned("LINEAR_WEBHOOK_SIGNING_SECRET"), self.skips(&LINEAR, problems));
        let slack = (slack_skip || !slack_secret.is_empty()).then(|| SlackSettings {
            signing_secret: slack_secret,
            skip_verification: slack_skip,
            mcps: self.list("SLACK_GATEWAY_DEFAULT_MCPS"),
            chat: self.chat_settings(&SLACK),
        });
        let linear = (linear_skip || !linear_secret.is_empty()).then(|| LinearSettings {
            signing_secret: linear_secret,
            skip_verification: linear_skip,
            max_age: Duration::from_millis(self.number("LINEAR_WEBHOOK_MAX_AGE_MS")),
            chat: self.chat_settings(&LINEAR),
        });
        GatewaySettings { slack, linear, ..GatewaySettings::default() }
    }

    /// How chat applications are called.
    pub(super) fn chat(&self) -> ChatOptions {
        let owned = |name| self.text(name).map(str::to_owned).unwrap_or_default();
        ChatOptions {
            slack_bot_token: owned("SLACK_BOT_TOKEN"),
            slack_api_base: owned("SLACK_API_BASE"),
            linear_client_id: owned("LINEAR_CLIENT_ID"),
            linear_client_secret: owned("LINEAR_CLIENT_SECRET"),
            linear_api_base: owned("LINEAR_API_BASE"),
        }
    }

    /// Whether unsigned requests are believed, which anybody can make.
    fn skips(&self, names: &Names, problems: &mut Vec<Problem>) -> bool {
        let skips = self.parsed(names.skip, kind::yes);
        if skips && self.text("ENVIRONMENT") != Some("development") {
            let allowed = "is allowed only where ENVIRONMENT is development";
            problems.push(Problem::new(self.name_of(names.skip), allowed));
        }
        skips
    }

    fn chat_settings(&self, names: &Names) -> ChatSettings {
        let owned = |name| self.text(name).map(str::to_owned);
        ChatSettings {
            api_key: owned(names.api_key),
            account: owned(names.account),
            default_agent: owned(names.default_agent).unwrap_or_else(|| ChatSettings::default().default_agent),
            default_config: owned(names.default_config),
            directory: self.text(names.directory).map(|base| base.trim_end_matches('/').to_owned()),
            dedup_ttl: Duration::from_secs(self.number(names.dedup_ttl)),
            create_attempts: self.number::<u32>(names.attempts).max(1),
            create_backoff: self.seconds(names.backoff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{environment, good, problem};
    use super::*;

    #[test]
    fn chats_are_off_until_they_have_a_secret() {
        let off = good(&environment(&[("SLACK_BOT_TOKEN", "t"), ("LINEAR_CLIENT_ID", "c")]));
        let gateways = off.settings.gateways;
        assert!(gateways.slack.is_none() && gateways.linear.is_none());

        let on = good(&environment(&[
            ("SLACK_SIGNING_SECRET", "s"),
            ("SLACK_GATEWAY_DEFAULT_MCPS", "a, b"),
            ("SLACK_GATEWAY_SGP_BASE_URL", "https://directory.example/"),
            ("LINEAR_WEBHOOK_SIGNING_SECRET", "l"),
            ("LINEAR_CREATE_RACE_ATTEMPTS", "2"),
        ]));
        let (slack, linear) = (on.settings.gateways.slack.unwrap(), on.settings.gateways.linear.unwrap());
        assert_eq!((slack.signing_secret.as_str(), slack.mcps), ("s", vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(slack.chat.directory.as_deref(), Some("https://directory.example"));
        assert_eq!((slack.chat.default_agent.as_str(), slack.chat.default_config), ("golden-agent", None));
        assert_eq!((linear.chat.create_attempts, linear.max_age), (2, Duration::from_secs(60)));
        assert_eq!(on.chat, ChatOptions::default());
    }

    /// gateways §9: 7
    #[test]
    fn unsigned_requests_are_believed_in_development_only() {
        for name in ["SLACK_GATEWAY_DEV_SKIP_VERIFY", "LINEAR_GATEWAY_DEV_SKIP_VERIFY"] {
            assert!(problem(&[(name, "yes")]).contains("ENVIRONMENT"));
            assert!(problem(&[(name, "1"), ("ENVIRONMENT", "production")]).contains(name));
        }

        let config = good(&environment(&[("SLACK_GATEWAY_DEV_SKIP_VERIFY", "true"), ("ENVIRONMENT", "development")]));
        assert!(config.settings.gateways.slack.unwrap().skip_verification);
    }
}
