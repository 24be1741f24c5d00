use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use agentex_testkit::server_process::ServerProcess;
use agentex_testkit::services::{postgres, redis};

const NO_ENV: [(&str, &str); 0] = [];
/// What a server does as far as the tools can see: it names its URL, and takes its time to stop.
const SERVER: &str = "trap 'echo draining; exit 7' TERM
    echo starting >&2; echo no url yet; echo \"listening on http://127.0.0.1:$PORT\"
    while :; do sleep 0.05; done";

#[tokio::test]
async fn a_server_is_ready_when_it_names_its_url_and_ends_with_its_exit_code() {
    let mut server = ServerProcess::start("/bin/sh", ["-c", SERVER], [("PORT", "4321")]).await;
    assert_eq!(server.url(), "http://127.0.0.1:4321");
    server.wrote("starting", Duration::from_secs(5)).await;

    assert_eq!(server.terminate().await, Some(7));

    assert_eq!(server.wrote("draining", Duration::from_secs(5)).await, "draining");
}

#[tokio::test]
async fn a_killed_server_has_no_exit_code() {
    let mut server = ServerProcess::start("/bin/sh", ["-c", SERVER], [("PORT", "1")]).await;

    server.kill9();

    assert_eq!(server.exit_code().await, None);
    assert!(!server.output().contains("draining"));
}

#[tokio::test]
#[should_panic(expected = "out of order")]
async fn a_server_that_does_not_start_fails_the_test_with_its_output() {
    ServerProcess::start("/bin/sh", ["-c", "echo out of order >&2; exit 1"], NO_ENV).await;
}

fn testenv() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testenv"));
    // Services of its own, whatever this test runs under.
    command.env_remove(postgres::URL_VARIABLE).env_remove(redis::URL_VARIABLE);
    command
}

#[test]
fn testenv_runs_a_command_with_the_services_and_returns_its_exit_code() {
    let script = "echo $AGENTEX_TEST_POSTGRES_URL $AGENTEX_TEST_REDIS_URL; exit 3";

    let output = testenv().args(["run", "--", "sh", "-c", script]).output().unwrap();

    assert_eq!(output.status.code(), Some(3));
    let urls = String::from_utf8(output.stdout).unwrap();
    assert!(urls.starts_with("postgres://postgres@127.0.0.1:") && urls.contains(" redis://127.0.0.1:"), "{urls}");
    let usage = testenv().output().unwrap();
    assert_eq!(usage.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&usage.stderr).contains("usage: testenv run"));
}

/// Nothing may be left running when the tests are killed.
#[tokio::test]
async fn services_die_with_the_process_that_started_them() {
    // What a killed process leaves goes with this folder. The account that PostgreSQL runs as must get through it.
    let files = tempfile::tempdir().unwrap();
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = testenv()
        .args(["run", "sh", "-c", "echo $AGENTEX_TEST_REDIS_URL; read line"])
        .env("TMPDIR", files.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let client = ::redis::Client::open(url.trim()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let ping = || ::redis::cmd("PING").clone();
    let () = ping().query_async(&mut connection).await.unwrap();

    child.kill().unwrap();
    child.wait().unwrap();

    let gone = async { while ping().query_async::<()>(&mut connection).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}
