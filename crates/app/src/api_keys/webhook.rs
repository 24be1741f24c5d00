use std::fmt;

use agentex_domain::{ApiKey, ApiKeyKind};

use super::{ApiKeys, name_problems, problem, value_problem};
use crate::{AgentSelector, Caller, Error, Keyring};

const SLACK_SECRET: &str = "Slack triggers must supply 'secret' set to the Slack app's Signing Secret (from your app \
                            credentials); it can't be generated.";

/// A webhook to be verified and forwarded to an agent.
#[derive(Clone)]
pub struct NewWebhookTrigger {
    /// The agent, by name.
    pub agent_name: String,
    /// Whose webhook it is: GitHub's or Slack's.
    pub source: ApiKeyKind,
    /// What the sender calls itself: the repository's full name, or the id of the Slack app.
    pub name: String,
    /// Which of the agent's own routes it is for.
    pub forward_path: String,
    /// The signing secret. Slack's is Slack's; for GitHub a new random one is made where none is given.
    pub secret: Option<String>,
    /// Base of the URL to show; the server's own where none or an empty one is given.
    pub base_url: Option<String>,
}

impl fmt::Debug for NewWebhookTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewWebhookTrigger")
            .field("agent_name", &self.agent_name)
            .field("source", &self.source)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A webhook that is verified and forwarded from now on.
#[derive(Clone)]
pub struct WebhookTrigger {
    /// The key that verifies it.
    pub key: ApiKey,
    /// The agent, as the caller named it.
    pub agent_name: String,
    /// The signing secret, in clear. It cannot be shown again.
    pub secret: String,
    /// Where the webhook is to be sent, on this server.
    pub path: String,
    /// The same with a host, where the server knows one.
    pub url: Option<String>,
}

impl fmt::Debug for WebhookTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookTrigger").field("key", &self.key).field("path", &self.path).finish_non_exhaustive()
    }
}

impl ApiKeys {
    /// Makes the key that verifies a sender's webhooks, and tells where they are to be sent.
    ///
    /// # Errors
    /// As [`ApiKeys::create`]; nothing is stored when the path or the base makes no URL.
    #[tracing::instrument(
        name = "api_keys.create_webhook_trigger",
        skip_all,
        fields(agent = %new.agent_name, source = new.source.as_str())
    )]
    pub async fn create_webhook_trigger(
        &self,
        caller: &Caller,
        new: NewWebhookTrigger,
    ) -> Result<WebhookTrigger, Error> {
        let NewWebhookTrigger { agent_name, source, name, forward_path, secret, base_url } = new;
        if !matches!(source, ApiKeyKind::Github | ApiKeyKind::Slack) {
            return Err(invalid("source must be 'github' or 'slack' for a webhook trigger."));
        }
        let mut problems = name_problems(&name);
        match secret.as_deref() {
            Some("") if source == ApiKeyKind::Github => {
                problems.push(problem("body.secret", "String should have at least 1 character"));
            }
            given => problems.extend(given.and_then(|secret| value_problem("body.secret", source, secret))),
        }
        if !problems.is_empty() {
            return Err(Error::Unprocessable(problems));
        }

        let selector = AgentSelector::Name(agent_name.clone());
        let agent = self.updatable_agent(caller, &selector).await?;
        let taken = || {
            let source = source.as_str();
            Error::Conflict(format!("A {source} webhook key named '{name}' already exists for this agent."))
        };
        if self.stores.api_keys.find_by_name(&agent.id, &name, source).await?.is_some() {
            return Err(taken());
        }
        let secret = secret.filter(|secret| !secret.is_empty());
        if source == ApiKeyKind::Slack && secret.is_none() {
            return Err(invalid(SLACK_SECRET));
        }
        let forward_path = forward_path.trim_start_matches('/');
        check_path(forward_path)?;
        let base_url = base_url.filter(|base| !base.is_empty());
        let base = match base_url.as_deref() {
            Some(base) => Some(checked_base(base)?),
            None => self.public_url.as_deref(),
        };
        let path = format!("/agents/forward/name/{}/{}", encoded(&agent_name, ""), encoded(forward_path, "/"));
        let url = base.map(|base| format!("{base}{path}"));

        let secret = secret.unwrap_or_else(Keyring::mint);
        let key = self.sealed(&agent, name.clone(), source, &secret);
        self.insert(caller, &key, &selector, taken).await?;
        Ok(WebhookTrigger { key, agent_name, secret, path, url })
    }
}

fn invalid(text: &str) -> Error {
    Error::Invalid(text.to_owned())
}

fn check_path(path: &str) -> Result<(), Error> {
    if path.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(invalid("forward_path must not contain control characters."));
    }
    // Senders and proxies resolve these, so the webhook would arrive somewhere else.
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(invalid("forward_path must not contain '.' or '..' segments."));
    }
    Ok(())
}

/// The base without slashes at its end, if a path can be put behind it.
fn checked_base(base: &str) -> Result<&str, Error> {
    let usable = url::Url::parse(base).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() && url.fragment().is_none()
    });
    // The parser forgives what would end up in the text as it is.
    if usable && !base.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        Ok(base.trim_end_matches('/'))
    } else {
        Err(invalid("base_url must be an http or https URL without query and fragment."))
    }
}

/// Percent-encodes everything but unreserved characters and those in `kept`.
fn encoded(text: &str, kept: &str) -> String {
    use fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        let plain = byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) || kept.as_bytes().contains(&byte);
        if plain {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// api-keys §7: 35
    #[test]
    fn everything_but_unreserved_characters_is_encoded() {
        assert_eq!(encoded("github-pr/a b?c#d", "/"), "github-pr/a%20b%3Fc%23d");
        assert_eq!(encoded("a/b%2F", ""), "a%2Fb%252F");
        assert_eq!(encoded("A-z_0.9~é", "/"), "A-z_0.9~%C3%A9");
    }

    #[test]
    fn paths_that_would_arrive_elsewhere_are_refused() {
        for good in ["", "a", "a/b", "a..b", ".hidden", "a//b", "é"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["a\nb", "\u{7f}", ".", "a/../b", "a/..", "./a"] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_base_is_something_a_path_can_be_put_behind() {
        assert_eq!(checked_base("https://h//").unwrap(), "https://h");
        assert_eq!(checked_base("http://h:8080/prefix").unwrap(), "http://h:8080/prefix");
        for bad in [
            "h",
            "ftp://h",
            "javascript:alert(1)",
            "https://",
            "https://h?x",
            "https://h#x",
            " https://h",
            "https://h\n",
        ] {
            assert!(checked_base(bad).is_err(), "{bad:?}");
        }
    }
}
