//! `agentex authz …` beside and in place of a server.

use agentex_testkit::fake_agent::FakeAgent;
use agentex_testkit::http_client::HttpClient;
use serde_json::json;

use crate::program::{Ended, Folder, create_task, register, run, serve_with};

const ALICE: &str = "alice-0123456789abcdef";

/// A folder with the tokens of alice, and the arguments and the environment of a server and its tools on it.
struct Place {
    folder: Folder,
    data: String,
    tokens: String,
}

impl Place {
    fn new() -> Self {
        let folder = Folder::new();
        let text = format!("[[token]]\ntoken = \"{ALICE}\"\nuser_id = \"alice\"\naccounts = [\"acme\"]\n");
        let (data, tokens) = (folder.data(), folder.file("tokens.toml", &text));
        Self { folder, data, tokens }
    }

    fn environment(&self) -> [(&str, &str); 2] {
        [("AGENTEX_AUTHZ_BACKEND", "local"), ("AGENTEX_TOKENS_FILE", &self.tokens)]
    }

    fn authz(&self, arguments: &[&str]) -> Ended {
        let arguments = [&["authz", "--data-dir", &self.data, "--log", "error"], arguments].concat();
        run(&arguments, &self.environment())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_asked_and_explained_beside_a_running_server() {
    let place = Place::new();
    let server = serve_with(&place.folder, &[], &place.environment()).await;
    let alice = HttpClient::new(server.url()).with_header("authorization", &format!("Bearer {ALICE}"));
    register(&alice, &FakeAgent::start().await).await;
    let task = format!("task:{}", create_task(&alice).await);

    let owner = place.authz(&["check", "--as", "user:alice@acme", "cancel", &task]);
    assert_eq!((owner.code, owner.out.as_str()), (0, "allowed\n"), "{owner:?}");
    for stranger in ["user:bob@acme", "user:alice@other", "user:alice"] {
        let denied = place.authz(&["check", "--as", stranger, "read", &task]);
        assert_eq!((denied.code, denied.out.as_str()), (3, "denied\n"), "{stranger}: {denied:?}");
    }
    let explained = place.authz(&["explain", "--as", "user:alice@acme", "cancel", &task]);
    assert_eq!(explained.code, 0, "{explained:?}");
    assert!(explained.out.contains("yes") && explained.out.contains("#owner"), "{}", explained.out);
    let idle = place.authz(&["intents"]);
    assert_eq!((idle.code, idle.out.as_str()), (0, "0 unfinished, 0 of them failing\n"), "{idle:?}");
    let busy = place.authz(&["intents", "run"]);
    assert_ne!(busy.code, 0, "a server has the relationships in memory: {busy:?}");
    assert!(busy.err.contains("in use") || busy.err.contains("another process"), "{}", busy.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_made_on_the_command_line_registers_its_agent_and_no_other() {
    let place = Place::new();
    let server = serve_with(&place.folder, &[], &place.environment()).await;
    let alice = HttpClient::new(server.url()).with_header("authorization", &format!("Bearer {ALICE}"));
    let agent = FakeAgent::start().await;
    let registered = register(&alice, &agent).await;
    let nobody = HttpClient::new(server.url());
    let body = |name: &str, token: &str| {
        json!({
            "name": name, "description": "again", "acp_url": agent.url(), "acp_type": "sync",
            "principal_context": {"registration_token": token}
        })
    };

    for agent in ["echo", registered["id"].as_str().unwrap()] {
        let made = place.authz(&["token", "--agent", agent]);
        assert_eq!(made.code, 0, "{made:?}");
        let token = made.out.trim();
        assert!(token.starts_with("agxr_"), "{token}");
        let again = nobody.post("/agents/register", &body("echo", token)).await.expect(200);
        assert_eq!(again["agent_api_key"], registered["agent_api_key"]);
        assert_eq!(nobody.post("/agents/register", &body("other", token)).await.status, 401);
    }
    assert_eq!(nobody.post("/agents/register", &body("echo", "agxr_forged")).await.status, 401);
    let unknown = place.authz(&["token", "--agent", "nobody"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("does not exist"), "{}", unknown.err);
}

#[test]
fn rollout_flags_are_set_and_shown_and_a_state_without_meaning_is_refused() {
    let place = Place::new();
    let migrated = run(&["migrate", "--data-dir", &place.data], &[]);
    assert_eq!(migrated.code, 0, "{migrated:?}");

    assert!(place.authz(&["rollout", "show"]).out.starts_with("no account has flags"));
    let refused = place.authz(&["rollout", "set", "acme", "--read", "on"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("dual-write must be on"), "{}", refused.err);
    assert_eq!(place.authz(&["rollout", "set", "acme", "--dual-write", "on"]).code, 0);
    assert_eq!(place.authz(&["rollout", "set", "acme", "--read", "on"]).code, 0);

    assert_eq!(place.authz(&["rollout", "show", "acme"]).out, "acme  dual-write on  read on\n");
    assert_eq!(place.authz(&["rollout", "show"]).out, "acme  dual-write on  read on\n");
    assert_eq!(place.authz(&["rollout", "show", "other"]).out, "other  dual-write off  read off\n");
    assert_eq!(place.authz(&["rollout", "set", "acme"]).code, 1, "nothing to set");
}

#[test]
fn the_matrix_and_the_validation_cases_need_no_store() {
    let matrix = run(&["authz", "matrix"], &[]);
    assert_eq!(matrix.code, 0, "{matrix:?}");
    assert!(matrix.out.contains("owner acting in another account"), "{}", matrix.out);

    let held = run(&["authz", "test"], &[]);
    assert_eq!(held.code, 0, "{held:?}");
    assert!(held.out.contains(" 0 do not "), "{}", held.out);

    let folder = Folder::new();
    let wrong = "
- name: strangers may read
  principals:
    olga: { user: olga, account: acme }
    sam: { user: sam, account: acme }
  given:
    - { as: olga, register: \"task:t\" }
  checks:
    - { as: sam, on: \"task:t\", allow: [read] }
";
    let failed = run(&["authz", "test", &folder.file("wrong.yaml", wrong)], &[]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.out.contains("FAIL") && failed.out.contains("strangers may read"), "{}", failed.out);
    let unreadable = run(&["authz", "test", &folder.file("bad.yaml", "- nonsense: 1\n")], &[]);
    assert_eq!(unreadable.code, 1, "{unreadable:?}");
}

#[test]
fn cases_run_against_the_configured_backend_and_questions_without_one_say_so() {
    let place = Place::new();
    assert_eq!(run(&["migrate", "--data-dir", &place.data], &[]).code, 0);

    for _ in 0..2 {
        let held = place.authz(&["test", "--backend"]);
        assert_eq!(held.code, 0, "twice on one store: {held:?}");
    }
    let off = run(&["authz", "--data-dir", &place.data, "check", "--as", "user:a@b", "read", "task:t"], &[]);
    assert_eq!(off.code, 1);
    assert!(off.err.contains("AGENTEX_AUTHZ_BACKEND"), "{}", off.err);
    let backfill = place.authz(&["backfill", "--account", "acme"]);
    assert_eq!(backfill.code, 1);
    assert!(backfill.err.contains("SpiceDB"), "{}", backfill.err);
    let malformed = place.authz(&["check", "--as", "alice", "share", "message:1"]);
    assert_eq!(malformed.code, 2, "{malformed:?}");
}
