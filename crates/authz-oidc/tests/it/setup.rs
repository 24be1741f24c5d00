use agentex_authz_oidc::{OidcAuthenticator, OidcSettings, SetupError};

fn made(settings: OidcSettings) -> Result<(), SetupError> {
    OidcAuthenticator::new(settings).map(drop)
}

#[tokio::test]
async fn issuers_that_cannot_be_trusted_stop_the_setup() {
    for issuer in [
        "",
        "id.test",
        "http://id.test",
        "ftp://id.test",
        "https://me:pw@id.test",
        "https://id.test?x=1",
        "https://id.test#x",
        "http://10.0.0.1",
        "http://localhost.id.test",
    ] {
        assert!(matches!(made(OidcSettings::new(issuer, ["agentex"])), Err(SetupError::Issuer)), "{issuer}");
    }
    for issuer in ["https://id.test", "https://id.test/realms/a/", "http://localhost:8080", "http://[::1]"] {
        made(OidcSettings::new(issuer, ["agentex"])).unwrap();
    }
}

#[tokio::test]
async fn addresses_of_keys_that_cannot_be_trusted_stop_the_setup() {
    let at = |url: &str| OidcSettings {
        jwks_url: Some(url.to_owned()),
        ..OidcSettings::new("https://id.test", ["agentex"])
    };

    for url in ["", "/keys", "http://id.test/keys", "https://me:pw@id.test/keys", "file:///keys"] {
        assert!(matches!(made(at(url)), Err(SetupError::JwksUrl)), "{url}");
    }
    for url in ["https://keys.test/a?p=1", "http://127.0.0.1:1/keys"] {
        made(at(url)).unwrap();
    }
}

#[tokio::test]
async fn a_missing_audience_stops_the_setup() {
    assert!(matches!(made(OidcSettings::new("https://id.test", [""; 0])), Err(SetupError::Audience)));
}
