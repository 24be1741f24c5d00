//! The arrows between the crates, held.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each crate of ours may depend on of ours. A crate that is missing here fails the test.
const ALLOWED: [(&str, &[&str]); 20] = [
    ("agentex-authz", &[]),
    ("agentex-authz-oidc", &["agentex-authz"]),
    ("agentex-authz-sgp", &["agentex-authz"]),
    ("agentex-authz-spark", &["agentex-authz"]),
    ("agentex-domain", &["agentex-authz"]),
    ("agentex-app", &["agentex-authz", "agentex-domain"]),
    ("agentex-http", &["agentex-app", "agentex-authz", "agentex-domain"]),
    ("agentex-acp", &["agentex-authz", "agentex-domain"]),
    ("agentex-sqlite", &["agentex-authz", "agentex-domain"]),
    ("agentex-postgres", &["agentex-authz", "agentex-domain"]),
    ("agentex-inprocess", &["agentex-authz", "agentex-domain"]),
    ("agentex-redis", &["agentex-authz", "agentex-domain"]),
    ("agentex-temporal", &["agentex-authz", "agentex-domain"]),
    (
        "agentex",
        &[
            "agentex-acp",
            "agentex-app",
            "agentex-authz",
            "agentex-authz-oidc",
            "agentex-authz-sgp",
            "agentex-authz-spark",
            "agentex-domain",
            "agentex-http",
            "agentex-inprocess",
            "agentex-postgres",
            "agentex-redis",
            "agentex-sqlite",
            "agentex-temporal",
        ],
    ),
    ("agentex-server", &["agentex"]),
    ("agentex-bench", &["agentex-testkit"]),
    ("agentex-compat", &[]),
    ("agentex-spicedb-launcher", &[]),
    ("agentex-testkit", &["agentex-authz", "agentex-domain"]),
    ("agentex-tests", &[]),
];

/// Libraries that would tie the inner crates to a technology.
const OUTER: [&str; 8] = ["axum", "clap", "http", "hyper", "redis", "reqwest", "sqlx", "tonic"];
const INNER: [&str; 3] = ["agentex-authz", "agentex-domain", "agentex-app"];

/// Names of the ordinary (not dev, not build) dependencies of every package of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let ordinary = package["dependencies"].as_array().unwrap().iter().filter(|one| one["kind"].is_null());
            (text(&package["name"]), ordinary.map(|one| text(&one["name"])).collect())
        })
        .collect()
}

#[test]
fn crates_depend_on_each_other_only_along_the_allowed_arrows() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();

    for (name, dependencies) in dependencies() {
        let Some(allowed) = allowed.get(name.as_str()) else { panic!("{name} has no row in ALLOWED") };
        let ours = dependencies.iter().filter(|one| one.starts_with("agentex"));
        let forbidden: Vec<&String> = ours.filter(|one| !allowed.contains(&one.as_str())).collect();
        assert!(forbidden.is_empty(), "{name} must not depend on {forbidden:?}");
    }
}

#[test]
fn the_inner_crates_know_no_technology() {
    let dependencies = dependencies();

    for name in INNER {
        let found: Vec<&str> = OUTER.into_iter().filter(|outer| dependencies[name].contains(*outer)).collect();
        assert!(found.is_empty(), "{name} must not depend on {found:?}");
    }
}
