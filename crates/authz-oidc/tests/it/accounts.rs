use agentex_authz::{Authenticator, AuthnError, CredentialHeaders};
use agentex_authz_oidc::{OidcAuthenticator, OidcSettings};
use serde_json::{Value, json};

use crate::support::{TestIssuer, TestKey, headers};

async fn principal(authenticator: &OidcAuthenticator, shown: &CredentialHeaders) -> Result<Value, AuthnError> {
    let principal = authenticator.authenticate(shown).await?;
    Ok(principal.expect("tokens always lead to somebody").as_json().clone())
}

#[tokio::test]
async fn the_selected_account_must_be_one_of_the_tokens() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let authenticator = issuer.authenticator();
    let bearer = format!("Bearer {}", key.token(&issuer.claims_with("account_id", json!(["acme", "beta"]))));
    let selecting = |accounts: &[&str]| {
        let mut pairs = vec![("authorization", bearer.as_str())];
        pairs.extend(accounts.iter().map(|account| ("X-Selected-Account-Id", *account)));
        headers(&pairs)
    };
    let in_account = |account: &str| json!({"user_id": "alice", "account_id": account, "principal_type": "user"});

    assert_eq!(principal(&authenticator, &selecting(&[])).await.unwrap(), in_account("acme"));
    assert_eq!(principal(&authenticator, &selecting(&["acme"])).await.unwrap(), in_account("acme"));
    assert_eq!(principal(&authenticator, &selecting(&["beta"])).await.unwrap(), in_account("beta"));
    for foreign in [&["gamma"][..], &[""], &["acme,beta"], &["beta", "acme"], &["beta", "beta"]] {
        let outcome = principal(&authenticator, &selecting(foreign)).await;
        assert!(matches!(outcome, Err(AuthnError::Refused)), "{foreign:?}: {outcome:?}");
    }
}

/// Permission backends deny a principal without an account (authz §7, 204); here it is only said who it is.
#[tokio::test]
async fn a_token_without_an_account_has_none_to_select() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let authenticator = issuer.authenticator();
    let bearer = format!("Bearer {}", key.token(&issuer.claims_without("account_id")));

    let plain = principal(&authenticator, &headers(&[("authorization", &bearer)])).await;
    let selected = headers(&[("authorization", &bearer), ("x-selected-account-id", "acme")]);
    let selected = principal(&authenticator, &selected).await;

    assert_eq!(plain.unwrap(), json!({"user_id": "alice", "principal_type": "user"}));
    assert!(matches!(selected, Err(AuthnError::Refused)), "{selected:?}");
}

#[tokio::test]
async fn the_claims_that_name_users_service_accounts_and_accounts_are_configurable() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let settings = OidcSettings {
        user_claim: "email".to_owned(),
        service_account_claim: Some("client_id".to_owned()),
        account_claim: "https://agentex.test/accounts".to_owned(),
        ..issuer.settings()
    };
    let authenticator = OidcAuthenticator::new(settings).unwrap();
    let mut claims = issuer.claims_with("https://agentex.test/accounts", json!(["beta"]));
    claims["email"] = json!("alice@acme.test");
    let shown = |claims: &Value| headers(&[("authorization", &format!("Bearer {}", key.token(claims)))]);

    let user = principal(&authenticator, &shown(&claims)).await;
    claims["client_id"] = json!("deployer");
    let service_account = principal(&authenticator, &shown(&claims)).await;
    claims["client_id"] = json!(["deployer"]);
    let malformed = principal(&authenticator, &shown(&claims)).await;

    assert_eq!(user.unwrap(), json!({"user_id": "alice@acme.test", "account_id": "beta", "principal_type": "user"}));
    assert_eq!(
        service_account.unwrap(),
        json!({"service_account_id": "deployer", "account_id": "beta", "principal_type": "service_account"})
    );
    assert!(matches!(malformed, Err(AuthnError::Refused)), "{malformed:?}");
}

#[tokio::test]
async fn a_signed_token_that_names_nobody_is_refused() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let authenticator = issuer.authenticator();

    for claims in
        [issuer.claims_without("sub"), issuer.claims_with("sub", json!("")), issuer.claims_with("sub", json!(1))]
    {
        let shown = headers(&[("authorization", &format!("Bearer {}", key.token(&claims)))]);
        let outcome = principal(&authenticator, &shown).await;
        assert!(matches!(outcome, Err(AuthnError::Refused)), "{claims}: {outcome:?}");
    }
}
