//! Commands that run to their end.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use crate::program::{Folder, run, serve};

#[test]
fn help_of_every_command_teaches_by_example_and_names_its_variables() {
    for (command, variable) in [
        ("serve", "AGENTEX_LISTEN_PORT"),
        ("worker", "TEMPORAL_ADDRESS"),
        ("migrate", "DATABASE_URL"),
        ("doctor", "REDIS_URL"),
        ("openapi", "AGENTEX_CONFIG"),
    ] {
        let help = run(&[command, "--help"], &[]);
        assert_eq!(help.code, 0);
        assert!(help.out.contains(&format!("agentex {command}")) && help.out.contains("Example"), "{}", help.out);
        assert!(help.out.contains(variable), "{variable} in {}", help.out);
    }
    assert!(run(&["--help"], &[]).out.contains("flags win over the environment"));
}

#[test]
fn without_a_command_the_help_is_shown() {
    let shown = run(&[], &[]);

    assert!(shown.err.contains("Usage: agentex"), "{shown:?}");
    assert_eq!(shown.code, 2);
}

/// temporal §7: 2
#[test]
fn a_worker_without_temporal_says_so_and_ends() {
    let folder = Folder::new();
    for address in ["", "false", "None"] {
        let refused = run(&["worker", "--data-dir", &folder.data()], &[("TEMPORAL_ADDRESS", address)]);

        assert_eq!((refused.code, refused.out.as_str()), (2, ""));
        assert!(refused.err.contains("Temporal is not properly configured"), "{}", refused.err);
    }
    assert!(!Path::new(&folder.data()).exists());
}

#[test]
fn a_good_configuration_is_validated_without_opening_anything() {
    let folder = Folder::new();
    let data = folder.data();
    let file = folder.file("agentex.toml", "[server]\nport = 1\n[log]\nfilter = \"debug\"\n");

    let validated = run(
        &["serve", "--validate", "--config", &file, "--data-dir", &data],
        &[
            ("REDIS_URL", "redis://nowhere.invalid"),
            ("RETENTION_CLEANUP_DRY_RUN", "True"),
            ("TEMPORAL_ADDRESS", "false"),
        ],
    );

    assert_eq!((validated.code, validated.out.as_str(), validated.err.as_str()), (0, "configuration ok\n", ""));
    assert!(!Path::new(&data).exists());
}

#[test]
fn everything_wrong_with_a_configuration_is_listed_at_once_without_values() {
    let folder = Folder::new();
    let file = folder.file("agentex.toml", "[server]\nprot = \"s3cret\"\n[redis]\nurl = \"s3cret\"\n");

    for validate in [&["--validate"][..], &[]] {
        let arguments = [&["serve", "--config", &file, "--port", "s3cret", "--host", "0.0.0.0"], validate].concat();
        let refused = run(
            &arguments,
            &[
                ("ENABLE_HEALTH_CHECK_WORKFLOW", "s3cret"),
                ("DATABASE_URL", "http://s3cret"),
                ("AGENTEX_SECRETS_KEY", "s3cret"),
            ],
        );

        assert_eq!((refused.code, refused.out.as_str()), (2, ""));
        assert_eq!(refused.err.lines().count(), 7, "{}", refused.err);
        for name in [
            "server.prot (in ",
            "--host: ",
            "--port: ",
            "DATABASE_URL: ",
            "redis.url (in ",
            "AGENTEX_SECRETS_KEY: ",
            "ENABLE_HEALTH_CHECK_WORKFLOW: expected true/false/1/0",
        ] {
            assert!(refused.err.lines().any(|line| line.starts_with(name)), "{name} in {}", refused.err);
        }
        assert!(!refused.err.contains("s3cret"), "{}", refused.err);
    }
}

#[test]
fn an_address_that_others_can_reach_is_refused_unless_asked_for() {
    let refused = run(&["serve", "--validate", "--host", "0.0.0.0"], &[]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.starts_with("--host: ") && refused.err.contains("--allow-unauthenticated"), "{}", refused.err);

    for (arguments, environment) in [
        (&["serve", "--validate", "--host", "0.0.0.0", "--allow-unauthenticated"][..], &[][..]),
        (&["serve", "--validate", "--host", "0.0.0.0"][..], &[("AGENTEX_ALLOW_UNAUTHENTICATED", "true")][..]),
    ] {
        assert_eq!(run(arguments, environment).code, 0);
    }
}

#[test]
fn authorization_that_was_asked_for_is_never_left_out_silently() {
    for (set, named) in [
        (("AGENTEX_AUTHZ_BACKEND", "spark"), "AGENTEX_SPICEDB_ENDPOINT: "),
        (("AGENTEX_AUTHZ_BACKEND", "local"), "AGENTEX_AUTHN: "),
        (("AGENTEX_TOKENS_FILE", "tokens.toml"), "AGENTEX_TOKENS_FILE: needs AGENTEX_AUTHZ_BACKEND"),
    ] {
        let folder = Folder::new();
        let refused = run(&["serve", "--data-dir", &folder.data()], &[set]);

        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.err.lines().any(|line| line.starts_with(named)), "{}", refused.err);
        assert!(!Path::new(&folder.data()).exists());
    }
}

#[test]
fn a_taken_port_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = Folder::new();

    let refused = run(&["serve", "--port", &port, "--data-dir", &folder.data()], &[]);

    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert_eq!(refused.err.lines().count(), 1, "{}", refused.err);
    assert!(
        refused.err.contains(&format!("127.0.0.1 port {port}")) && refused.err.contains("in use"),
        "{}",
        refused.err
    );
    assert!(!Path::new(&folder.data()).exists(), "nothing is touched before the port is ours");
}

#[test]
fn the_openapi_document_is_printed_with_a_version_agents_accept() {
    let printed = run(&["openapi"], &[]);

    assert_eq!(printed.code, 0);
    let document: Value = serde_json::from_str(&printed.out).unwrap();
    let version = document["info"]["version"].as_str().unwrap();
    let numbers: Vec<u64> = version.split('.').map(|number| number.parse().unwrap()).collect();
    assert!(numbers >= vec![0, 1, 0], "{version}");
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document["paths"].as_object().is_some_and(|paths| paths.contains_key("/agents/register")));
}

#[test]
fn migrating_says_how_many_migrations_that_took() {
    let folder = Folder::new();
    let data = folder.data();

    let first = run(&["migrate", "--data-dir", &data], &[]);
    let second = run(&["migrate", "--data-dir", &data], &[]);

    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.out.ends_with("applied\n"), "{first:?}");
    assert_eq!((second.code, second.out.as_str()), (0, "the schema is up to date\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_a_fresh_folder_healthy_and_leaves_it_alone() {
    let folder = Folder::new();
    let data = folder.data();

    let fresh = run(&["doctor", "--port", "0", "--data-dir", &data], &[]);

    assert_eq!(fresh.code, 0, "{fresh:?}");
    for check in ["configuration", "data folder", "store", "clock", "port"] {
        assert!(
            fresh.out.lines().any(|line| line.starts_with(&format!("ok    {check}: "))),
            "{check} in {}",
            fresh.out
        );
    }
    assert!(!Path::new(&data).exists());

    let mut server = serve(&folder, &[]).await;
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let beside = run(&["doctor", "--port", &port, "--data-dir", &data], &[]);
    assert_eq!(beside.code, 1);
    assert!(beside.out.contains("ok    store: sqlite answers and has its tables"), "{}", beside.out);
    assert!(beside.out.contains(&format!("FAIL  port: cannot listen on 127.0.0.1 port {port}")), "{}", beside.out);
    assert_eq!(server.terminate().await, Some(0));
}

#[test]
fn the_doctor_names_what_fails() {
    let folder = Folder::new();
    let in_the_way = folder.file("data", "");
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let redis = format!("redis://:s3cret@{unused}");

    let sick = run(&["doctor", "--port", "0", "--data-dir", &in_the_way], &[("REDIS_URL", redis.as_str())]);

    assert_eq!(sick.code, 1);
    for check in ["data folder", "redis"] {
        assert!(sick.out.lines().any(|line| line.starts_with(&format!("FAIL  {check}: "))), "{check} in {}", sick.out);
    }
    assert!(!format!("{sick:?}").contains("s3cret"));

    let misconfigured = run(&["doctor"], &[("REDIS_STREAM_MAXLEN", "many")]);
    assert_eq!(misconfigured.code, 1);
    assert!(misconfigured.out.starts_with("FAIL  configuration: REDIS_STREAM_MAXLEN: "), "{}", misconfigured.out);
}
