use agentex_domain::JsonObject;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::engine::{Engine, Said, Spoken};
use super::signature::is_signed;
use super::{LINEAR, LinearSettings};
use crate::Error;
use crate::secrets::hex;

/// What Linear sends, believed and carried out.
pub struct LinearGateway<'a> {
    pub(super) engine: &'a Engine,
    pub(super) settings: &'a LinearSettings,
}

/// Something said to the agent of a session in Linear.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinearPrompt {
    /// Names the delivery.
    pub delivery: Option<String>,
    /// The session.
    pub session: String,
    /// The issue it is about.
    pub issue: Option<String>,
    /// What is said.
    pub text: String,
}

impl LinearGateway<'_> {
    /// Whether a body was signed by Linear.
    #[must_use]
    pub fn is_genuine(&self, signature: Option<&[u8]>, body: &[u8]) -> bool {
        let secret = &self.settings.signing_secret;
        self.settings.skip_verification || signature.is_some_and(|signature| is_signed(secret, &[body], "", signature))
    }

    /// Whether a delivery is of now, going by the milliseconds since 1970 in it.
    #[must_use]
    pub fn is_fresh(&self, sent_at: Option<i64>) -> bool {
        let now = self.engine.now().as_micros().div_euclid(1000);
        self.settings.skip_verification
            || sent_at.is_some_and(|sent_at| u128::from(now.abs_diff(sent_at)) <= self.settings.max_age.as_millis())
    }

    /// Queues a prompt for its agent, unless it came before. It is stored when this returns. `body` is that of the request,
    /// by which a delivery without a name is known.
    ///
    /// # Errors
    /// The store failed, and nothing is stored.
    #[tracing::instrument(name = "gateways.linear.heard", skip_all)]
    pub async fn heard(&self, prompt: LinearPrompt, body: &[u8]) -> Result<(), Error> {
        let LinearPrompt { delivery, session, issue, text } = prompt;
        let key = match delivery {
            Some(delivery) => format!("linear:delivery:{delivery}"),
            None => format!("linear:body:{}", hex(&Sha256::digest(body))),
        };
        let mut metadata = JsonObject::new();
        metadata.insert("session_id".to_owned(), json!(session));
        metadata.insert("issue_id".to_owned(), json!(issue));
        let issue = issue.unwrap_or_default();
        let said = Said {
            context: format!("[Linear context] session_id={session} issue_id={issue}"),
            session: format!("linear:{session}"),
            place: session,
            thread: None,
            text,
            metadata,
        };
        self.engine.accept(Spoken { provider: LINEAR, keys: vec![key], ttl: self.settings.chat.dedup_ttl, said }).await
    }
}
