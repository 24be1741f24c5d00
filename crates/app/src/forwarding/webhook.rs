use std::borrow::Cow;
use std::collections::BTreeMap;

use agentex_domain::{ApiKeyKind, Timestamp};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::value::RawValue;
use sha2::Sha256;

use super::path::hex_digit;
use super::{ForwardCall, ForwardRefusal};

const SLACK_TIMESTAMP: &str = "x-slack-request-timestamp";
/// How far Slack's clock and ours may be apart, in seconds.
const MAX_SKEW: u64 = 300;
/// Longest challenge that is echoed, in characters.
const MAX_CHALLENGE: usize = 256;
/// Longest name a key can have, in characters.
const MAX_KEY_NAME: usize = 256;

/// A signed request of a service that agents have keys for.
pub(super) struct Webhook {
    /// The service.
    pub(super) kind: ApiKeyKind,
    /// The name of the key it is signed with.
    pub(super) key_name: String,
    /// What is signed before the body.
    prefix: String,
    /// `None` when the header does not hold one.
    signature: Option<[u8; 32]>,
    /// What tells this delivery from others.
    pub(super) delivery: Option<String>,
}

impl Webhook {
    /// Reads a request that carries a signature of GitHub.
    pub(super) fn github(call: &ForwardCall, signature: &[u8]) -> Result<Self, ForwardRefusal> {
        if call.body.is_empty() {
            return Err(ForwardRefusal::BadWebhook("Empty payload in GitHub webhook."));
        }
        let payload = Payload::parse(&call.body)
            .ok_or(ForwardRefusal::BadWebhook("Failed to parse GitHub webhook payload as JSON."))?;
        let repository = payload
            .member("repository")
            .ok_or(ForwardRefusal::BadWebhook("GitHub webhook payload missing repository info."))?;
        let key_name = Payload::parse(repository.get().as_bytes())
            .and_then(|repository| repository.text("full_name"))
            .ok_or(ForwardRefusal::BadWebhook("GitHub webhook payload missing repository name."))?;
        Ok(Self {
            kind: ApiKeyKind::Github,
            key_name,
            prefix: String::new(),
            signature: signature.strip_prefix(b"sha256=").and_then(unhex),
            delivery: call.header_text("x-github-delivery").map(str::to_owned),
        })
    }

    /// Reads a request that carries a signature of Slack.
    pub(super) fn slack(call: &ForwardCall, signature: &[u8], now: Timestamp) -> Result<Self, ForwardRefusal> {
        if call.header(SLACK_TIMESTAMP).is_none() {
            return Err(ForwardRefusal::NotGenuine("Missing X-Slack-Request-Timestamp header."));
        }
        let (timestamp, seconds) = call
            .header_text(SLACK_TIMESTAMP)
            .and_then(|text| Some((text, text.trim().parse::<i64>().ok()?)))
            .ok_or(ForwardRefusal::BadWebhook("Invalid X-Slack-Request-Timestamp header value."))?;
        if now.as_micros().div_euclid(1_000_000).abs_diff(seconds) > MAX_SKEW {
            return Err(ForwardRefusal::BadWebhook("Slack webhook request has bad timestamp."));
        }
        let key_name = Payload::parse(&call.body)
            .and_then(|payload| payload.text("api_app_id"))
            .ok_or(ForwardRefusal::BadWebhook("Slack webhook payload missing API app ID."))?;
        Ok(Self {
            kind: ApiKeyKind::Slack,
            key_name,
            prefix: format!("v0:{timestamp}:"),
            signature: signature.strip_prefix(b"v0=").and_then(unhex),
            delivery: Some(String::from_utf8_lossy(signature).into_owned()),
        })
    }

    /// Whether a key can have this name at all; stores need not be asked for others.
    pub(super) fn can_have_key(&self) -> bool {
        self.key_name.chars().count() <= MAX_KEY_NAME && !self.key_name.contains('\0')
    }

    /// Whether `secret` made the signature of this body. Takes the same time wherever the two differ.
    pub(super) fn is_signed_with(&self, secret: &str, body: &[u8]) -> bool {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(self.prefix.as_bytes());
        mac.update(body);
        self.signature.is_some_and(|signature| mac.verify_slice(&signature).is_ok())
    }

    /// The refusal when nobody has a key of this name.
    pub(super) fn no_key(&self) -> ForwardRefusal {
        let sender = if self.kind == ApiKeyKind::Slack { "Slack app" } else { "GitHub repository" };
        ForwardRefusal::NoKey { sender, name: self.key_name.clone() }
    }

    /// The refusal when the signature is wrong.
    pub(super) fn not_genuine(&self) -> ForwardRefusal {
        ForwardRefusal::NotGenuine(match self.kind {
            ApiKeyKind::Slack => "Invalid Slack webhook signature",
            _ => "Invalid GitHub webhook signature",
        })
    }
}

/// What Slack wants to hear back when somebody enters a URL there; it signs that request like any other, but before there is
/// a key. `None` for every other request.
pub(super) fn challenge(call: &ForwardCall) -> Result<Option<String>, ForwardRefusal> {
    if call.header(SLACK_TIMESTAMP).is_none() {
        return Ok(None);
    }
    let payload =
        Payload::parse(&call.body).ok_or(ForwardRefusal::BadWebhook("Invalid Slack verification request."))?;
    let asked = payload.text("type").is_some_and(|kind| kind == "url_verification");
    Ok(payload.text("challenge").filter(|text| asked && text.chars().count() <= MAX_CHALLENGE))
}

/// The members of a JSON document, read no further than needed; a document that is no object has none.
struct Payload<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Payload<'a> {
    /// `None` when it is not JSON.
    fn parse(json: &'a [u8]) -> Option<Self> {
        match serde_json::from_slice(json) {
            Ok(members) => Some(Self(members)),
            Err(error) if error.is_data() => Some(Self(BTreeMap::new())),
            Err(_) => None,
        }
    }

    /// The member, unless it is null.
    fn member(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|value| value.get() != "null")
    }

    /// The member, when it is text and not empty.
    fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str::<String>(self.member(name)?.get()).ok().filter(|text| !text.is_empty())
    }
}

fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(headers: &[(&str, &str)], body: &[u8]) -> ForwardCall {
        ForwardCall {
            method: "POST".to_owned(),
            agent_name: "a".to_owned(),
            path: String::new(),
            query: None,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
            body: bytes::Bytes::copy_from_slice(body),
            request_id: String::new(),
            peer: None,
        }
    }

    /// The example of GitHub's documentation.
    #[test]
    fn the_published_github_signature_verifies() {
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let webhook = Webhook {
            kind: ApiKeyKind::Github,
            key_name: String::new(),
            prefix: String::new(),
            signature: signature.strip_prefix("sha256=").and_then(|hex| unhex(hex.as_bytes())),
            delivery: None,
        };

        assert!(webhook.is_signed_with("It's a Secret to Everybody", b"Hello, World!"));
        assert!(!webhook.is_signed_with("It's a Secret to Everybody", b"Hello, World."));
        assert!(!webhook.is_signed_with("", b"Hello, World!"));
    }

    /// The example of Slack's documentation has a form as its body; only its signature is looked at here.
    #[test]
    fn the_published_slack_signature_verifies() {
        let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
            channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
            response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
            trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let webhook = Webhook {
            kind: ApiKeyKind::Slack,
            key_name: String::new(),
            prefix: "v0:1531420618:".to_owned(),
            signature: unhex(b"a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
            delivery: None,
        };

        assert!(webhook.is_signed_with("8f742231b10e8888abcd99yyyzzz85a5", body));
    }

    #[test]
    fn signatures_that_are_none_never_match() {
        for header in ["", "sha256=", "sha256=00", "sha1=00", "sha256=\u{e9}\u{e9}"] {
            let call = call(&[], br#"{"repository": {"full_name": "a/b"}}"#);
            let webhook = Webhook::github(&call, header.as_bytes()).unwrap();
            assert!(!webhook.is_signed_with("s", &call.body), "{header}");
        }
    }

    /// api-keys §7: 49
    #[test]
    fn only_a_real_challenge_is_echoed() {
        let echoed = |body: &str| challenge(&call(&[("x-slack-request-timestamp", "1")], body.as_bytes()));
        let long = |length: usize| {
            echoed(&format!(r#"{{"type": "url_verification", "challenge": "{}"}}"#, "é".repeat(length))).unwrap()
        };

        assert_eq!(echoed(r#"{"type": "url_verification", "challenge": "abc"}"#).unwrap().as_deref(), Some("abc"));
        for other in [
            r#"{"challenge": "abc"}"#,
            r#"{"type": "event_callback", "challenge": "abc"}"#,
            r#"{"type": "url_verification", "challenge": 7}"#,
            r#"{"type": "url_verification", "challenge": ""}"#,
            r#"{"type": "url_verification"}"#,
            "[]",
            "7",
        ] {
            assert_eq!(echoed(other).unwrap(), None, "{other}");
        }
        assert!(long(256).is_some() && long(257).is_none());
        assert!(matches!(echoed("{"), Err(ForwardRefusal::BadWebhook("Invalid Slack verification request."))));
        assert!(matches!(echoed(""), Err(ForwardRefusal::BadWebhook(_))));
        assert_eq!(challenge(&call(&[], b"{")).unwrap(), None);
    }
}
