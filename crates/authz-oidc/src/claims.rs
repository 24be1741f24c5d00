use agentex_authz::Principal;
use serde_json::{Map, Value, json};

use crate::settings::OidcSettings;
use crate::token::Refusal;

/// Which claims say who is calling.
#[derive(Debug, Clone)]
pub(crate) struct ClaimNames {
    user: String,
    service_account: Option<String>,
    account: String,
}

impl ClaimNames {
    pub(crate) fn new(settings: &OidcSettings) -> Self {
        Self {
            user: settings.user_claim.clone(),
            service_account: settings.service_account_claim.clone(),
            account: settings.account_claim.clone(),
        }
    }

    /// Who `claims` stand for, acting in the `selected` account. Without a selection it is the first account of the
    /// token, and none when the token has none.
    pub(crate) fn principal(&self, claims: &Map<String, Value>, selected: Option<&str>) -> Result<Principal, Refusal> {
        let service_account = self.service_account.as_ref().and_then(|name| present(claims, name));
        let mut principal = match service_account {
            // A malformed one does not make the token a user's.
            Some(claim) => json!({"service_account_id": text(claim)?, "principal_type": "service_account"}),
            None => {
                let user = present(claims, &self.user).ok_or(Refusal::Nobody)?;
                json!({"user_id": text(user)?, "principal_type": "user"})
            }
        };
        let accounts = self.accounts(claims)?;
        let account = match selected {
            Some(selected) => Some(accounts.into_iter().find(|one| *one == selected).ok_or(Refusal::Account)?),
            None => accounts.into_iter().next(),
        };
        if let Some(account) = account {
            principal["account_id"] = account.into();
        }
        Ok(Principal::from_json(principal))
    }

    fn accounts<'a>(&self, claims: &'a Map<String, Value>) -> Result<Vec<&'a str>, Refusal> {
        match present(claims, &self.account) {
            None => Ok(Vec::new()),
            Some(Value::Array(several)) => several.iter().map(text).collect(),
            Some(one) => Ok(vec![text(one)?]),
        }
    }
}

fn present<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).filter(|value| !value.is_null())
}

/// Ids are strings with something in them. A number would be ambiguous, and an empty one nobody's.
fn text(claim: &Value) -> Result<&str, Refusal> {
    claim.as_str().filter(|text| !text.is_empty()).ok_or(Refusal::Claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(claims: Value, selected: Option<&str>) -> Result<Value, Refusal> {
        let settings = OidcSettings {
            service_account_claim: Some("client".to_owned()),
            ..OidcSettings::new("https://id.test", ["agentex"])
        };
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        ClaimNames::new(&settings).principal(&claims, selected).map(|principal| principal.as_json().clone())
    }

    #[test]
    fn the_principal_holds_who_and_where_and_nothing_else() {
        let claims = json!({"sub": "alice", "account_id": "acme", "email": "a@b.test", "exp": 1, "api_key": "k"});

        assert_eq!(
            principal(claims, None),
            Ok(json!({"user_id": "alice", "account_id": "acme", "principal_type": "user"}))
        );
    }

    #[test]
    fn a_service_account_is_not_a_user() {
        assert_eq!(
            principal(json!({"sub": "alice", "client": "bot", "account_id": "acme"}), None),
            Ok(json!({"service_account_id": "bot", "account_id": "acme", "principal_type": "service_account"}))
        );
        for malformed in [json!(""), json!(7), json!(["bot"])] {
            assert_eq!(principal(json!({"sub": "alice", "client": malformed}), None), Err(Refusal::Claims));
        }
        assert_eq!(principal(json!({"client": null}), None), Err(Refusal::Nobody));
    }

    #[test]
    fn a_selection_picks_among_the_tokens_accounts_only() {
        let chosen = |accounts: Value, selected: Option<&str>| {
            principal(json!({"sub": "alice", "account_id": accounts}), selected).map(|one| one["account_id"].clone())
        };

        assert_eq!(chosen(json!(["a", "b"]), None), Ok(json!("a")));
        assert_eq!(chosen(json!(["a", "b"]), Some("b")), Ok(json!("b")));
        assert_eq!(chosen(json!("a"), Some("a")), Ok(json!("a")));
        for foreign in ["c", "", "A", "a ", "*", "a,b"] {
            assert_eq!(chosen(json!(["a", "b"]), Some(foreign)), Err(Refusal::Account), "{foreign}");
        }
        assert_eq!(chosen(json!([]), Some("a")), Err(Refusal::Account));
        assert_eq!(chosen(json!(null), Some("a")), Err(Refusal::Account));
    }

    #[test]
    fn a_token_without_an_account_is_somebody_in_no_account() {
        for claims in
            [json!({"sub": "a"}), json!({"sub": "a", "account_id": null}), json!({"sub": "a", "account_id": []})]
        {
            assert_eq!(principal(claims, None), Ok(json!({"user_id": "a", "principal_type": "user"})));
        }
    }

    #[test]
    fn ids_that_are_not_strings_are_refused() {
        for malformed in
            [json!(""), json!(7), json!({}), json!(true), json!(["a", ""]), json!(["a", 7]), json!([["a"]])]
        {
            let claims = json!({"sub": "alice", "account_id": malformed});
            assert_eq!(principal(claims.clone(), None), Err(Refusal::Claims), "{claims}");
        }
        for malformed in [json!(""), json!(7), json!(["alice"])] {
            assert_eq!(principal(json!({"sub": malformed}), None), Err(Refusal::Claims));
        }
        assert_eq!(principal(json!({}), None), Err(Refusal::Nobody));
    }
}
