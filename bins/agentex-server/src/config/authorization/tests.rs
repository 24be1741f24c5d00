use super::*;
use crate::config::Sources;
use crate::config::tests::{environment, good, problem, problems};

const TOKENS: &str = "[[token]]\ntoken = \"alice-0123456789abcdef\"\nuser_id = \"alice\"\naccounts = [\"acme\"]\n";

/// A file of tokens, and its name.
fn tokens(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.toml");
    std::fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap().to_owned();
    (folder, name)
}

fn chosen(pairs: &[(&str, &str)]) -> (&'static str, &'static str) {
    let authorization = good(&environment(pairs)).authorization;
    (authorization.backend.name(), authorization.authn.name())
}

/// authz §7: 33, 34
#[test]
fn without_a_provider_or_with_an_empty_one_nobody_is_asked() {
    assert_eq!(chosen(&[]), ("disabled", "nobody"));
    assert_eq!(chosen(&[("AGENTEX_AUTH_URL", "")]), ("disabled", "nobody"));
}

#[test]
fn the_backend_and_who_authenticates_follow_from_what_is_set() {
    let (_folder, file) = tokens(TOKENS);
    let auth = ("AGENTEX_AUTH_URL", "http://auth");
    let file = ("AGENTEX_TOKENS_FILE", file.as_str());
    let oidc = [("AGENTEX_OIDC_ISSUER", "https://id.example"), ("AGENTEX_OIDC_AUDIENCE", "agentex")];
    let backend = |name| ("AGENTEX_AUTHZ_BACKEND", name);
    let sgp = ("AGENTEX_SGP_URL", "http://sgp");
    let spark = ("AGENTEX_SPICEDB_ENDPOINT", "spicedb:50051");

    assert_eq!(chosen(&[auth]), ("http", "provider"));
    assert_eq!(chosen(&[auth, backend("disabled")]), ("disabled", "nobody"));
    assert_eq!(chosen(&[auth, backend("local")]), ("local", "provider"));
    assert_eq!(chosen(&[file, backend("local")]), ("local", "tokens"));
    assert_eq!(chosen(&[file, oidc[0], oidc[1], backend("local")]), ("local", "oidc"));
    assert_eq!(chosen(&[file, auth, ("AGENTEX_AUTHN", "tokens")]), ("http", "tokens"));
    assert_eq!(chosen(&[file, sgp, backend("sgp")]), ("sgp", "tokens"));
    assert_eq!(chosen(&[auth, spark, backend("spark")]), ("spark", "provider"));
    assert_eq!(chosen(&[auth, sgp, spark, backend("routed")]), ("routed", "provider"));
}

#[test]
fn what_asks_for_authorization_is_not_left_without_a_backend() {
    for setting in [
        ("AGENTEX_TOKENS_FILE", "tokens.toml"),
        ("AGENTEX_OIDC_ISSUER", "https://id.example"),
        ("AGENTEX_SGP_URL", "http://sgp"),
        ("AGENTEX_SPICEDB_ENDPOINT", "spicedb:50051"),
        ("AGENTEX_AUTHN", "tokens"),
    ] {
        assert!(problem(&[setting]).starts_with(&format!("{}: needs AGENTEX_AUTHZ_BACKEND", setting.0)), "{setting:?}");
        if setting.0 != "AGENTEX_AUTHN" {
            let config = good(&environment(&[setting, ("AGENTEX_AUTHZ_BACKEND", "disabled")]));
            assert!(config.warnings.iter().any(|line| line.contains(setting.0)), "{:?}", config.warnings);
        }
    }
}

#[test]
fn a_backend_names_what_it_lacks() {
    let auth = ("AGENTEX_AUTH_URL", "http://auth");
    let lacking = |name: &str| problem(&[auth, ("AGENTEX_AUTHZ_BACKEND", name), ("AGENTEX_SGP_REGISTER", "noop")]);

    assert!(lacking("sgp").starts_with("AGENTEX_SGP_URL: needed by the authorization backend sgp"));
    assert!(lacking("spark").starts_with("AGENTEX_SPICEDB_ENDPOINT: needed by"));
    assert_eq!(problems(&environment(&[auth, ("AGENTEX_AUTHZ_BACKEND", "routed")])).len(), 2);
    assert!(problem(&[("AGENTEX_AUTHZ_BACKEND", "http")]).starts_with("AGENTEX_AUTH_URL: needed by"));
    let nobody = problem(&[("AGENTEX_AUTHZ_BACKEND", "local")]);
    assert!(nobody.starts_with("AGENTEX_AUTHN: ") && nobody.contains("AGENTEX_TOKENS_FILE"), "{nobody}");
    for (by, needs) in
        [("provider", "AGENTEX_AUTH_URL"), ("oidc", "AGENTEX_OIDC_ISSUER"), ("tokens", "AGENTEX_TOKENS_FILE")]
    {
        let text = problem(&[("AGENTEX_AUTHZ_BACKEND", "local"), ("AGENTEX_AUTHN", by)]);
        assert!(text.starts_with(&format!("{needs}: needed by AGENTEX_AUTHN={by}")), "{text}");
    }
}

#[test]
fn an_issuer_needs_an_audience_and_tls() {
    let oidc = |pairs: &[(&str, &str)]| {
        let backend = [("AGENTEX_AUTHZ_BACKEND", "local")];
        problem(&[&backend[..], pairs].concat())
    };
    let audience = ("AGENTEX_OIDC_AUDIENCE", "agentex");
    let issuer = ("AGENTEX_OIDC_ISSUER", "https://id.example");

    assert!(oidc(&[issuer]).starts_with("AGENTEX_OIDC_AUDIENCE: "));
    assert!(oidc(&[("AGENTEX_OIDC_ISSUER", "http://id.example"), audience]).starts_with("AGENTEX_OIDC_ISSUER: "));
    let keys = ("AGENTEX_OIDC_JWKS_URL", "http://id.example/keys");
    assert!(oidc(&[issuer, audience, keys]).starts_with("AGENTEX_OIDC_JWKS_URL: "));
}

#[test]
fn tokens_in_a_file_stay_on_the_machine_unless_in_development() {
    let (_folder, file) = tokens(TOKENS);
    let set = [
        ("AGENTEX_AUTHZ_BACKEND", "local"),
        ("AGENTEX_TOKENS_FILE", file.as_str()),
        ("AGENTEX_LISTEN_HOST", "0.0.0.0"),
    ];

    assert!(problem(&set).starts_with("AGENTEX_TOKENS_FILE: "));
    good(&environment(&[&set[..], &[("ENVIRONMENT", "development")]].concat()));
    good(&environment(&set[..2]));
}

#[test]
fn a_file_of_tokens_is_refused_without_showing_what_is_in_it() {
    for (text, part) in [
        ("[[token]]\ntoken = \"s3cret", "line 2"),
        ("[[token]]\ntoken = \"s3cret-0123456789\"\nuser = \"alice\"\naccounts = []\n", "expected [[token]] tables"),
        ("[[tokens]]\ntoken = \"s3cret-0123456789\"\n", "expected [[token]] tables"),
        ("[[token]]\ntoken = \"s3cret\"\nuser_id = \"alice\"\naccounts = [\"acme\"]\n", "token 1 is shorter"),
    ] {
        let (_folder, file) = tokens(text);
        let shown = problem(&[("AGENTEX_AUTHZ_BACKEND", "local"), ("AGENTEX_TOKENS_FILE", &file)]);

        assert!(shown.starts_with("AGENTEX_TOKENS_FILE: ") && shown.contains(part), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    let absent = problem(&[("AGENTEX_AUTHZ_BACKEND", "local"), ("AGENTEX_TOKENS_FILE", "/nonexistent/tokens")]);
    assert!(absent.contains("cannot be read"), "{absent}");
}

#[test]
fn a_server_with_authorization_can_be_reached_by_others() {
    let config = good(&environment(&[("AGENTEX_AUTH_URL", "http://auth"), ("AGENTEX_LISTEN_HOST", "0.0.0.0")]));

    assert_eq!(config.authorization.profile, "strict");
}

#[test]
fn the_profile_decides_what_is_not_said_otherwise() {
    let applied = |pairs: &[(&str, &str)]| good(&environment(pairs)).settings.authorization;
    let compat = ("AGENTEX_AUTHZ_PROFILE", "compat");

    assert_eq!(applied(&[]), AuthorizationSettings::strict());
    assert_eq!(applied(&[compat]), AuthorizationSettings::compat());
    let mixed = applied(&[
        compat,
        ("AGENTEX_REGISTRATION_AUTH", "credential"),
        ("AGENTEX_TRUST_BODY_PRINCIPAL", "false"),
        ("AGENTEX_AGENT_SCOPE", "own"),
        ("AGENTEX_ENFORCE_TASK_AGENT_LINK", "enforce"),
        ("AGENTEX_AUTHN_COLLAPSE_ERRORS", "false"),
    ]);
    // Whether a schedule may have no owner is the profile's alone.
    assert_eq!(mixed, AuthorizationSettings { ownerless_schedules: true, ..AuthorizationSettings::strict() });
    let opened = applied(&[
        ("AGENTEX_REGISTRATION_AUTH", "open"),
        ("AGENTEX_TRUST_BODY_PRINCIPAL", "1"),
        ("AGENTEX_AGENT_SCOPE", "all"),
        ("AGENTEX_ENFORCE_TASK_AGENT_LINK", "warn"),
        ("AGENTEX_AUTHN_COLLAPSE_ERRORS", "true"),
    ]);
    assert_eq!(opened, AuthorizationSettings { ownerless_schedules: false, ..AuthorizationSettings::compat() });
    let unguarded = AuthorizationSettings { spans_are_guarded: false, ..AuthorizationSettings::strict() };
    assert_eq!(applied(&[("SPAN_AUTHZ", "off")]), unguarded);
    assert_eq!(applied(&[("SPAN_AUTHZ", "enforce")]), AuthorizationSettings::strict());
    let days = applied(&[("AGENTEX_REGISTRATION_TOKEN_DAYS", "2")]).registration_token_lifetime;
    assert_eq!(days, Duration::from_secs(2 * 24 * 3600));
}

#[test]
fn in_development_pods_register_without_credentials_unless_told_otherwise() {
    let development = ("ENVIRONMENT", "development");
    let registration = |pairs: &[(&str, &str)]| {
        let sources = Sources { folder: "/nonexistent".into(), ..environment(pairs) };
        good(&sources).settings.authorization.registration
    };

    assert_eq!(registration(&[development]), RegistrationAuth::Open);
    assert_eq!(registration(&[development, ("AGENTEX_REGISTRATION_AUTH", "credential")]), RegistrationAuth::Credential);
}

#[test]
fn what_opens_doors_is_warned_of() {
    let warnings = |pairs: &[(&str, &str)]| good(&environment(pairs)).warnings;
    let auth = ("AGENTEX_AUTH_URL", "http://auth");

    assert!(warnings(&[auth]).is_empty());
    assert_eq!(warnings(&[auth, ("AGENTEX_AUTHZ_PROFILE", "compat")]).len(), 2);
}

#[test]
fn the_identity_header_cannot_be_switched_on() {
    let refused = problem(&[("AGENTEX_ALLOW_AGENT_IDENTITY_HEADER", "true")]);

    assert!(refused.starts_with("AGENTEX_ALLOW_AGENT_IDENTITY_HEADER: expected false"), "{refused}");
    good(&environment(&[("AGENTEX_ALLOW_AGENT_IDENTITY_HEADER", "false")]));
}

#[test]
fn the_scheme_or_the_switch_decides_about_tls_to_spicedb() {
    let endpoint = |pairs: &[(&str, &str)]| {
        let always = [("AGENTEX_AUTHZ_BACKEND", "spark"), ("AGENTEX_AUTH_URL", "http://auth")];
        match good(&environment(&[&always[..], pairs].concat())).authorization.backend {
            Backend::Spark(spark) => spark.endpoint,
            other => panic!("{}", other.name()),
        }
    };
    let at = |place| ("AGENTEX_SPICEDB_ENDPOINT", place);
    let tls = |on| ("AGENTEX_SPICEDB_TLS", on);

    assert_eq!(endpoint(&[at("spicedb:50051")]), "http://spicedb:50051");
    assert_eq!(endpoint(&[at("spicedb:50051"), tls("true")]), "https://spicedb:50051");
    assert_eq!(endpoint(&[at("https://spicedb:1")]), "https://spicedb:1");
    let contradiction = problem(&[
        ("AGENTEX_AUTHZ_BACKEND", "spark"),
        ("AGENTEX_AUTH_URL", "http://auth"),
        at("https://spicedb:1"),
        tls("false"),
    ]);
    assert!(contradiction.starts_with("AGENTEX_SPICEDB_TLS: contradicts"), "{contradiction}");
}

#[test]
fn changes_are_left_to_their_requests_for_longer_than_a_call_may_take() {
    let refused = problem(&[("AGENTEX_AUTHZ_INTENT_GRACE_S", "6")]);
    assert!(refused.starts_with("AGENTEX_AUTHZ_INTENT_GRACE_S: "), "{refused}");

    let config = good(&environment(&[("AGENTEX_AUTHZ_INTENT_GRACE_S", "6"), ("AGENTEX_AUTHZ_TIMEOUT_MS", "500")]));
    assert_eq!(config.settings.relay.grace, Duration::from_secs(6));
    assert_eq!(config.authorization.timeout, Duration::from_millis(500));
}

#[test]
fn a_share_is_a_number_from_0_to_1() {
    for bad in ["1.1", "-0.1", "NaN", "half"] {
        assert!(problem(&[("AGENTEX_SHADOW_SAMPLE", bad)]).contains("from 0 to 1"), "{bad}");
    }
}
