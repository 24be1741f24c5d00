use super::*;

/// Sources with this environment and nothing else.
pub(super) fn environment(pairs: &[(&str, &str)]) -> Sources {
    let environment = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Sources { environment, ..Sources::default() }
}

fn flags(pairs: &[(&'static str, &str)]) -> Sources {
    Sources { flags: pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), ..Sources::default() }
}

#[track_caller]
pub(super) fn good(sources: &Sources) -> Config {
    Config::load(sources).unwrap_or_else(|problems| panic!("{problems:?}"))
}

#[track_caller]
pub(super) fn problems(sources: &Sources) -> Vec<String> {
    match Config::load(sources) {
        Ok(_) => panic!("the configuration was accepted"),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
pub(super) fn problem(pairs: &[(&str, &str)]) -> String {
    let mut found = problems(&environment(pairs));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn without_any_settings_the_server_is_embedded_on_loopback() {
    let config = good(&Sources::default());

    assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 5003));
    assert!(matches!(config.store, Store::Sqlite { file } if file == Path::new("./agentex-data/agentex.db")));
    assert!(config.redis.is_none() && config.secrets_key.is_none());
    assert_eq!(config.metrics, Metrics::WithApi);
    assert_eq!(config.settings.stream_keepalive, Duration::from_secs(15));
    assert_eq!(config.acp, AcpOptions::default());
    assert!(config.warnings.is_empty());
}

#[test]
fn flags_win_over_the_environment_which_wins_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agentex.toml");
    std::fs::write(&file, "[server]\nhost = \"::1\"\nport = 1\ndata_dir = \"from-file\"\n").unwrap();
    let sources = Sources {
        file: Some(file),
        environment: vec![
            ("AGENTEX_LISTEN_PORT".into(), "2".into()),
            ("AGENTEX_DATA_DIR".into(), "from-environment".into()),
        ],
        ..flags(&[("port", "3")])
    };

    let config = good(&sources);

    assert_eq!((config.host.as_str(), config.port), ("::1", 3));
    assert!(matches!(config.store, Store::Sqlite { file } if file.starts_with("from-environment")));
}

#[test]
fn the_file_can_be_named_in_the_environment_and_hold_every_type() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agentex.toml");
    let text = "[server]\nallowed_origins = [\"https://a.example\", \"https://b.example\"]\nstrict_ordering = true\n\
                drain_timeout = 2.5\n[redis]\nurl = 'redis://r'\nstream_ttl_seconds = 0\n";
    std::fs::write(&file, text).unwrap();

    let config = good(&environment(&[("AGENTEX_CONFIG", file.to_str().unwrap())]));

    let both = vec!["https://a.example".to_owned(), "https://b.example".to_owned()];
    assert_eq!(config.http.cors.allowed_origins, AllowedOrigins::Only(both));
    assert!(config.http.strict_ordering);
    assert_eq!(config.drain_timeout, Duration::from_millis(2500));
    assert_eq!((config.redis.unwrap().url.as_str(), config.streams.ttl_seconds), ("redis://r", 0));
}

#[test]
fn a_file_with_unknown_keys_bad_types_or_bad_syntax_is_refused_without_showing_values() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str| {
        let file = folder.path().join("agentex.toml");
        std::fs::write(&file, text).unwrap();
        let found = problems(&Sources { file: Some(file), ..Sources::default() });
        assert!(!found.join("\n").contains("s3cret"), "{found:?}");
        found
    };

    let unknown = refused("top = 's3cret'\n[server]\nprot = 5\nport = 'x-s3cret'\nhost = { s3cret = 1 }\n");
    assert_eq!(unknown.len(), 4, "{unknown:?}");
    for part in ["top (in ", "server.prot (in ", "server.port (in ", "server.host (in "] {
        assert!(unknown.iter().any(|line| line.starts_with(part)), "{part} in {unknown:?}");
    }
    let syntax = refused("[server]\nport = \"s3cret\n");
    assert!(syntax[0].ends_with("line 2: not valid TOML"), "{syntax:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let found = problems(&Sources { file: Some("/nonexistent/agentex.toml".into()), ..Sources::default() });

    assert_eq!(found, ["--config /nonexistent/agentex.toml: cannot be read (entity not found)"]);
}

#[test]
fn everything_wrong_is_reported_at_once_by_name_and_never_by_value() {
    let found = problems(&environment(&[
        ("ENABLE_HEALTH_CHECK_WORKFLOW", "maybe-s3cret"),
        ("HTTPX_READ_TIMEOUT", "abc-s3cret"),
        ("DATABASE_URL", "mysql://u:s3cret@h/d"),
        ("AGENTEX_SECRETS_KEY", "s3cret"),
        ("REDIS_URL", "s3cret"),
        ("RUST_LOG", "s3cret=nonsense=x"),
        ("AGENTEX_LISTEN_HOST", "0.0.0.0"),
        ("TASK_MESSAGE_STORAGE_PHASE", "mongodb"),
        ("AGENTEX_AUTH_URL", "ftp://s3cret"),
        ("AGENTEX_ACP_HOST_OVERRIDE", "s3cret/not a host"),
    ]));

    let names = [
        "AGENTEX_ACP_HOST_OVERRIDE",
        "AGENTEX_AUTH_URL",
        "AGENTEX_LISTEN_HOST",
        "AGENTEX_SECRETS_KEY",
        "DATABASE_URL",
        "ENABLE_HEALTH_CHECK_WORKFLOW",
        "HTTPX_READ_TIMEOUT",
        "REDIS_URL",
        "RUST_LOG",
        "TASK_MESSAGE_STORAGE_PHASE",
    ];
    let mut found_names: Vec<&str> = found.iter().map(|line| line.split(':').next().unwrap()).collect();
    found_names.sort_unstable();
    assert_eq!(found_names, names);
    assert!(!found.join("\n").contains("s3cret"), "{found:?}");
}

/// conventions §11: 54, 56
#[test]
fn a_bad_boolean_or_number_names_its_variable_and_what_is_allowed() {
    assert_eq!(
        problem(&[("ENABLE_HEALTH_CHECK_WORKFLOW", "maybe")]),
        "ENABLE_HEALTH_CHECK_WORKFLOW: expected true/false/1/0"
    );
    assert_eq!(problem(&[("HTTPX_READ_TIMEOUT", "abc")]), "HTTPX_READ_TIMEOUT: expected a number of seconds above 0");
    assert_eq!(problems(&flags(&[("port", "70000")])), ["--port: expected a whole number from 0 to 65535"]);
    good(&environment(&[("RETENTION_CLEANUP_DRY_RUN", "True")]));
}

#[test]
fn the_database_url_picks_the_store() {
    for url in ["postgres://h/d", "postgresql://h/d", "postgresql+asyncpg://h/d"] {
        let config = good(&environment(&[("DATABASE_URL", url), ("READ_ONLY_DATABASE_URL", url)]));
        assert!(matches!(config.store, Store::Postgres { pool_size: 10, read_only_url: Some(_), .. }), "{url}");
    }
    let config = good(&environment(&[("DATABASE_URL", "sqlite:///var/lib/x.db")]));
    assert!(matches!(config.store, Store::Sqlite { file } if file == Path::new("/var/lib/x.db")));
    assert!(problem(&[("READ_ONLY_DATABASE_URL", "postgres://h/d")]).starts_with("READ_ONLY_DATABASE_URL: needs"));
}

#[test]
fn an_open_server_is_reachable_from_outside_only_when_asked_for() {
    for host in ["0.0.0.0", "::", "192.168.1.2", "example.org"] {
        assert!(problem(&[("AGENTEX_LISTEN_HOST", host)]).contains("--allow-unauthenticated"), "{host}");
        let config = good(&environment(&[("AGENTEX_LISTEN_HOST", host), ("AGENTEX_ALLOW_UNAUTHENTICATED", "true")]));
        assert_eq!(config.metrics, Metrics::Off, "metrics stay private unless asked for");
    }
    for host in ["127.0.0.1", "127.0.0.9", "::1", "localhost"] {
        good(&environment(&[("AGENTEX_LISTEN_HOST", host)]));
    }
}

/// conventions §11: 57
#[test]
fn values_that_mean_no_temporal_are_silent_and_an_address_is_a_warning() {
    for none in ["", "false", "False", "null", "None", "undefined"] {
        assert!(good(&environment(&[("TEMPORAL_ADDRESS", none)])).warnings.is_empty(), "{none}");
    }
    let with = good(&environment(&[("TEMPORAL_ADDRESS", "t:7233")]));
    assert_eq!(with.temporal.is_some(), cfg!(feature = "temporal"));
    assert_eq!(with.warnings.is_empty(), cfg!(feature = "temporal"));
}

#[test]
fn forwarding_and_checkpoints_have_their_own_limits() {
    let config = good(&environment(&[
        ("WEBHOOK_REQUEST_TIMEOUT", "2.5"),
        ("AGENTEX_FORWARD_MAX_BODY_BYTES", "7"),
        ("AGENTEX_CHECKPOINT_MAX_BODY_BYTES", "8"),
        ("AGENTEX_PUBLIC_URL", "https://agents.example"),
    ]));

    assert_eq!(config.acp.forward_timeout, Duration::from_millis(2500));
    let HttpOptions { max_body_bytes, max_forward_body_bytes, max_checkpoint_body_bytes, .. } = config.http;
    assert_eq!((max_forward_body_bytes, max_checkpoint_body_bytes, max_body_bytes), (7, 8, 10_485_760));
    assert_eq!(config.settings.public_url.as_deref(), Some("https://agents.example"));
}

#[test]
fn what_is_set_without_effect_is_noted() {
    let config = good(&environment(&[("UVICORN_WORKERS", "8"), ("AGENTEX_LISTEN_PORT", "1")]));

    assert_eq!(config.notes, ["UVICORN_WORKERS has no effect. One process uses all processors."]);
}

#[test]
fn an_empty_variable_is_an_unset_one_except_for_lists() {
    let config = good(&environment(&[
        ("AGENTEX_LISTEN_PORT", ""),
        ("DATABASE_URL", ""),
        ("AGENTEX_DELEGATION_SESSION_COOKIE_NAMES", ""),
    ]));

    assert_eq!(config.port, 5003);
    assert!(config.acp.session_cookie_names.is_empty());
}

#[test]
fn dot_env_counts_in_development_and_wins_over_the_environment_but_not_over_flags() {
    let folder = tempfile::tempdir().unwrap();
    let text = "# comment\n\nexport AGENTEX_LISTEN_PORT = '1'\nAGENTEX_DRAIN_TIMEOUT=\"7\"\nUNRELATED=x\n";
    std::fs::write(folder.path().join(".env"), text).unwrap();
    let sources = |kind: &str| Sources {
        folder: folder.path().to_owned(),
        ..environment(&[("ENVIRONMENT", kind), ("AGENTEX_LISTEN_PORT", "2"), ("AGENTEX_DRAIN_TIMEOUT", "8")])
    };
    let loaded = |sources: Sources| {
        let config = good(&sources);
        (config.port, config.drain_timeout.as_secs())
    };

    assert_eq!(loaded(sources("development")), (1, 7));
    assert_eq!(loaded(sources("production")), (2, 8));
    let with_flag = Sources { flags: [("port", "3".to_owned())].into(), ..sources("development") };
    assert_eq!(loaded(with_flag), (3, 7));
}

#[test]
fn bad_lines_of_dot_env_are_reported_by_number() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "A=1\ns3cret\nAGENTEX_LISTEN_PORT=s3cret\n").unwrap();
    let sources = Sources { folder: folder.path().to_owned(), ..environment(&[("ENVIRONMENT", "development")]) };

    let found = problems(&sources);

    assert_eq!(
        found,
        [".env line 2: expected NAME=value", "AGENTEX_LISTEN_PORT (in .env): expected a whole number from 0 to 65535"]
    );
}

#[test]
fn log_format_follows_the_environment_unless_it_is_given() {
    let json = |pairs: &[(&str, &str)]| good(&environment(pairs)).logs.json;

    assert_eq!(json(&[]), None);
    assert_eq!(json(&[("ENVIRONMENT", "development"), ("AGENTEX_LOG_FORMAT", "json")]), Some(true));
    assert_eq!(json(&[("AGENTEX_LOG_FORMAT", "text")]), Some(false));
}

#[test]
fn metrics_move_to_their_own_listener_when_it_is_named() {
    let config = good(&environment(&[("AGENTEX_METRICS_LISTEN", "0.0.0.0:9090"), ("AGENTEX_METRICS", "false")]));
    assert_eq!(config.metrics, Metrics::On("0.0.0.0:9090".parse().unwrap()));
    assert_eq!(good(&environment(&[("AGENTEX_METRICS", "0")])).metrics, Metrics::Off);
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_text_is_reported_by_name() {
    use std::os::unix::ffi::OsStringExt as _;
    let value = std::ffi::OsString::from_vec(vec![b's', 0xff]);
    let sources = Sources { environment: vec![("AGENTEX_DATA_DIR".into(), value)], ..Sources::default() };

    assert_eq!(problems(&sources), ["AGENTEX_DATA_DIR: must be UTF-8"]);
}

/// retention §8: 17, 18
#[test]
fn retention_is_read_strictly_and_cleans_nothing_unless_told() {
    let defaults = good(&Sources::default());
    assert_eq!(defaults.settings.retention, RetentionSettings::default());
    assert_eq!(defaults.transfer, TransferOptions::default());

    let config = good(&environment(&[
        ("RETENTION_CLEANUP_AGENT_ALLOWLIST", "a, b ,c"),
        ("RETENTION_CLEANUP_ENABLED", " true "),
        ("RETENTION_CLEANUP_DRY_RUN", "0"),
        ("RETENTION_SCOPE", "upstream"),
        ("RETENTION_URL_ALLOWED_PORTS", "443, 8443"),
        ("RETENTION_URL_ALLOWED_HOSTS", "store.example"),
    ]));
    let RetentionSettings { extent, sweep, .. } = config.settings.retention;
    assert_eq!((extent, sweep.enabled, sweep.dry_run), (CleanExtent::Contents, true, false));
    assert_eq!(sweep.agents, ["a", "b", "c"]);
    assert_eq!(
        (config.transfer.allowed_ports, config.transfer.allowed_hosts),
        (vec![443, 8443], vec!["store.example".to_owned()])
    );

    for text in ["True", " true ", "1"] {
        assert!(good(&environment(&[("RETENTION_CLEANUP_DRY_RUN", text)])).settings.retention.sweep.dry_run, "{text}");
    }
    for name in ["RETENTION_CLEANUP_DRY_RUN", "RETENTION_CLEANUP_ENABLED"] {
        for text in ["yes", ""] {
            assert_eq!(problem(&[(name, text)]), format!("{name}: expected true/false/1/0"), "{text}");
        }
    }
    for text in ["0", "65536", "443,x", ","] {
        assert!(
            problem(&[("RETENTION_URL_ALLOWED_PORTS", text)]).starts_with("RETENTION_URL_ALLOWED_PORTS: "),
            "{text}"
        );
    }
}

#[test]
fn what_becomes_of_missed_occurrences_is_a_setting() {
    assert_eq!(good(&Sources::default()).misfire, Misfire::default());

    for (text, policy) in
        [("skip", MisfirePolicy::Skip), ("fire_once", MisfirePolicy::FireOnce), ("catch_up", MisfirePolicy::CatchUp)]
    {
        let given = [("AGENTEX_SCHEDULE_MISFIRE", text), ("AGENTEX_SCHEDULE_MISFIRE_WINDOW_S", "600")];
        let expected = Misfire { policy, window: Duration::from_secs(600), ..Misfire::default() };
        assert_eq!(good(&environment(&given)).misfire, expected);
    }
    let refused = problem(&[("AGENTEX_SCHEDULE_MISFIRE", "always")]);
    assert!(refused.contains("skip") && refused.contains("catch_up"), "{refused}");
}
