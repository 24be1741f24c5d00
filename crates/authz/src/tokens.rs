use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::model::is_id;
use crate::{Authenticator, AuthnError, CredentialHeaders, Principal};

const SHORTEST_TOKEN: usize = 16;

/// A token and who presents it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticToken {
    /// The secret: at least 16 visible ASCII characters.
    pub token: String,
    /// The user it stands for.
    #[serde(default)]
    pub user_id: Option<String>,
    /// The service account it stands for; exactly one of the two is stated.
    #[serde(default)]
    pub service_account_id: Option<String>,
    /// The accounts it may act in; the first is the one it acts in when the request selects none.
    pub accounts: Vec<String>,
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticToken")
            .field("user_id", &self.user_id)
            .field("service_account_id", &self.service_account_id)
            .field("accounts", &self.accounts)
            .finish_non_exhaustive()
    }
}

/// Why a list of tokens was not accepted. Tokens are told by their place in the list, counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StaticTokensError {
    /// Too easy to guess, or empty.
    #[error("token {0} is shorter than {SHORTEST_TOKEN} characters")]
    TooShort(usize),
    /// No header could carry it.
    #[error("token {0} has characters other than visible ASCII")]
    Unpresentable(usize),
    /// An earlier one has the same text.
    #[error("token {0} is the same as an earlier one")]
    Duplicate(usize),
    /// It names both a user and a service account, neither, or one that is no id.
    #[error("token {0} does not stand for exactly one user or service account")]
    Subject(usize),
    /// It names no account, one that is no id, or one twice.
    #[error("token {0} needs accounts, each named once")]
    Accounts(usize),
}

/// Authenticates by tokens that are stated beforehand: for development and tests.
///
/// A request presents one as `x-api-key: TOKEN` or, without that header, as `authorization: Bearer TOKEN`, and may choose
/// one of the token's accounts with `x-selected-account-id`. No token, an unknown one and a foreign account are refused
/// alike. Tokens are kept as SHA-256 digests.
pub struct StaticTokens {
    /// Looked up rather than compared one by one in constant time. What a look-up's duration could tell is about the
    /// digest of what was presented, and nobody can choose presented texts by their digest; also the map hashes with a
    /// key of its own.
    holders: HashMap<[u8; 32], Holder>,
}

struct Holder {
    member: &'static str,
    id: String,
    accounts: Vec<String>,
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTokens").field("tokens", &self.holders.len()).finish_non_exhaustive()
    }
}

impl StaticTokens {
    /// Accepts exactly `tokens`; with none, everybody is refused.
    ///
    /// # Errors
    /// The first token that cannot be used.
    pub fn new(tokens: impl IntoIterator<Item = StaticToken>) -> Result<Self, StaticTokensError> {
        let mut holders = HashMap::new();
        for (index, token) in tokens.into_iter().enumerate() {
            let place = index + 1;
            let StaticToken { token, user_id, service_account_id, accounts } = token;
            if token.len() < SHORTEST_TOKEN {
                return Err(StaticTokensError::TooShort(place));
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(StaticTokensError::Unpresentable(place));
            }
            let (member, id) = match (user_id, service_account_id) {
                (Some(id), None) if is_id(&id) => ("user_id", id),
                (None, Some(id)) if is_id(&id) => ("service_account_id", id),
                _ => return Err(StaticTokensError::Subject(place)),
            };
            let distinct = accounts.iter().enumerate().all(|(at, account)| !accounts[..at].contains(account));
            if accounts.is_empty() || !distinct || !accounts.iter().all(|account| is_id(account)) {
                return Err(StaticTokensError::Accounts(place));
            }
            if holders.insert(digest(&token), Holder { member, id, accounts }).is_some() {
                return Err(StaticTokensError::Duplicate(place));
            }
        }
        Ok(Self { holders })
    }

    fn principal(&self, headers: &CredentialHeaders) -> Option<Principal> {
        let Holder { member, id, accounts } = self.holders.get(&digest(presented(headers)?))?;
        let account = match headers.get("x-selected-account-id") {
            Some(selected) => accounts.iter().find(|account| *account == selected)?,
            None => accounts.first()?,
        };
        Some(Principal::from_json(json!({*member: id, "account_id": account})))
    }
}

#[async_trait]
impl Authenticator for StaticTokens {
    async fn authenticate(&self, headers: &CredentialHeaders) -> Result<Option<Principal>, AuthnError> {
        self.principal(headers).map(Some).ok_or(AuthnError::Refused)
    }
}

fn presented(headers: &CredentialHeaders) -> Option<&str> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.trim());
    }
    let (scheme, token) = headers.get("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const TOKEN: &str = "alice-dev-token-1";
    const OTHER: &str = "robot-dev-token-1";

    fn token(text: &str) -> StaticToken {
        let accounts = vec!["acme".into(), "other".into()];
        StaticToken { token: text.into(), user_id: Some("alice".into()), service_account_id: None, accounts }
    }

    fn tokens() -> StaticTokens {
        let robot = StaticToken { user_id: None, service_account_id: Some("robot".into()), ..token(OTHER) };
        StaticTokens::new([token(TOKEN), robot]).unwrap()
    }

    async fn who(headers: &[(&str, &str)]) -> Option<Value> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        match tokens().authenticate(&CredentialHeaders::new(headers)).await {
            Ok(principal) => Some(principal.expect("tokens name somebody").as_json().clone()),
            Err(AuthnError::Refused) => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn a_token_is_presented_as_key_or_bearer() {
        let alice = Some(json!({"user_id": "alice", "account_id": "acme"}));

        assert_eq!(who(&[("x-api-key", TOKEN)]).await, alice);
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(who(&[("authorization", &format!("{scheme} {TOKEN}"))]).await, alice);
        }
        let robot = Some(json!({"service_account_id": "robot", "account_id": "acme"}));
        assert_eq!(who(&[("x-api-key", OTHER)]).await, robot);
    }

    #[tokio::test]
    async fn no_token_and_wrong_ones_are_refused() {
        assert_eq!(who(&[]).await, None);
        for wrong in
            ["", " ", "alice-dev-token-", "alice-dev-token-12", "ALICE-DEV-TOKEN-1", &format!("Bearer {TOKEN}")]
        {
            assert_eq!(who(&[("x-api-key", wrong)]).await, None, "{wrong}");
            assert_eq!(who(&[("authorization", &format!("Bearer {wrong}"))]).await, None, "{wrong}");
        }
        for odd in [TOKEN.to_owned(), format!("Basic {TOKEN}"), format!("AgentKey {TOKEN}"), "Bearer".to_owned()] {
            assert_eq!(who(&[("authorization", &odd)]).await, None, "{odd}");
        }
        let both = [("authorization", &*format!("Bearer {TOKEN}")), ("x-api-key", "somebody else's token")];
        assert_eq!(who(&both).await, None, "a wrong key is not made good by another credential");
    }

    #[tokio::test]
    async fn the_selected_account_is_one_of_the_tokens() {
        let acting_in = async |account| who(&[("x-api-key", TOKEN), ("x-selected-account-id", account)]).await;

        assert_eq!(acting_in("other").await, Some(json!({"user_id": "alice", "account_id": "other"})));
        for foreign in ["foreign", "", "*", "ACME"] {
            assert_eq!(acting_in(foreign).await, None, "{foreign}");
        }
    }

    #[test]
    fn tokens_that_cannot_be_used_are_told_by_their_place() {
        let short = "fifteen-letters";
        let with = |change: fn(&mut StaticToken)| {
            let mut changed = token(TOKEN);
            change(&mut changed);
            changed
        };
        for (list, expected) in [
            (vec![token("")], StaticTokensError::TooShort(1)),
            (vec![token(TOKEN), token(short)], StaticTokensError::TooShort(2)),
            (vec![token("with a space in it")], StaticTokensError::Unpresentable(1)),
            (vec![token("grüße, liebe Leute")], StaticTokensError::Unpresentable(1)),
            (vec![token(TOKEN), token(OTHER), token(TOKEN)], StaticTokensError::Duplicate(3)),
            (vec![with(|it| it.user_id = None)], StaticTokensError::Subject(1)),
            (vec![with(|it| it.user_id = Some("*".into()))], StaticTokensError::Subject(1)),
            (vec![with(|it| it.service_account_id = Some("robot".into()))], StaticTokensError::Subject(1)),
            (vec![with(|it| it.accounts.clear())], StaticTokensError::Accounts(1)),
            (vec![with(|it| it.accounts.push("acme".into()))], StaticTokensError::Accounts(1)),
            (vec![with(|it| it.accounts.push(String::new()))], StaticTokensError::Accounts(1)),
        ] {
            let texts: Vec<String> = list.iter().map(|it| it.token.clone()).collect();

            let error = StaticTokens::new(list).unwrap_err();

            assert_eq!(error, expected);
            let shown = format!("{error} {error:?}");
            assert!(texts.iter().all(|text| text.is_empty() || !shown.contains(text)), "{shown}");
        }
    }

    #[tokio::test]
    async fn without_tokens_everybody_is_refused() {
        let nobody = StaticTokens::new([]).unwrap();
        let headers = CredentialHeaders::new([("x-api-key".to_owned(), TOKEN.to_owned())]);

        assert!(matches!(nobody.authenticate(&headers).await, Err(AuthnError::Refused)));
    }

    /// authz §7: 32
    #[test]
    fn debug_output_holds_no_token_and_no_digest() {
        let shown = format!("{:?} {:?}", tokens(), token(TOKEN));

        assert!(!shown.contains(TOKEN), "{shown}");
        assert!(!shown.contains(&format!("{:?}", digest(TOKEN))), "{shown}");
        assert!(!shown.to_lowercase().contains("principal"), "{shown}");
    }

    #[test]
    fn unknown_members_are_refused() {
        let parse = |value| serde_json::from_value::<StaticToken>(value);

        let parsed = parse(json!({"token": TOKEN, "user_id": "alice", "accounts": ["acme"]})).unwrap();
        assert_eq!(parsed.accounts, ["acme"]);
        assert!(parse(json!({"token": TOKEN, "user": "alice", "accounts": ["acme"]})).is_err());
        assert!(parse(json!({"token": TOKEN, "user_id": "alice"})).is_err());
    }
}
