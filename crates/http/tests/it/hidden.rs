//! Nobody can tell what is hidden from what does not exist: by status, headers, bytes, or by how much was asked.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::endpoints::{Address, Ask, PARTS, Row, Stage, Thing, Unseen, masked, pod, shown, table};
use crate::support::{Authorization, Setup, World};
use agentex_authz::{Operation, ResourceRef};

const BACKENDS: [Authorization; 2] = [Authorization::Graph, Authorization::StrictRules];

/// A server on which alice may do what she owns, or everything where there is no model, and nobody else anything.
async fn world(authorization: Authorization) -> World {
    let world = World::with(Setup { authorization, ..Setup::default() }).await;
    world.rules.allow_only("alice");
    world
}

/// An answer, and the calls it took.
type Seen = ((u16, Vec<(String, String)>, String), Vec<String>);

/// What a caller can tell a request's outcome by, without the ids that the server found itself.
async fn seen(world: &World, user: &str, row: &Row, address: &Address) -> Seen {
    world.calls.take();
    let answer = row.call(world, user, address).await;
    let calls = world.calls.questions();
    (shown(&answer), calls.iter().map(|call| masked(call, |_| "ID".to_owned())).collect())
}

/// The same without what the caller typed.
async fn seen_without_words(world: &World, user: &str, row: &Row, address: &Address) -> Seen {
    let ((status, headers, body), calls) = seen(world, user, row, address).await;
    let body = address.0.iter().fold(body, |body, (part, text)| body.replace(text, &format!("{{{part}}}")));
    ((status, headers, body), calls)
}

/// Whether a free name would be taken by the request.
pub(crate) fn claims(row: &Row) -> bool {
    let names_task = row.path.ends_with("/rpc") && row.body.is_some_and(|body| body.contains("{fresh}"));
    names_task || row.needs().any(|(_, _, unseen)| matches!(unseen, Unseen::Claimed(_) | Unseen::Taken))
}

/// Rows that tell a stranger nothing. Names are unique, so making something tells which are taken, and that is all.
pub(crate) fn closed() -> Vec<Row> {
    let is_closed = |row: &Row| match row.asks.first().map(|call| call[0]) {
        Some(Ask::Needs(_, _, unseen)) => !matches!(unseen, Unseen::Claimed(_)),
        Some(Ask::Lists(_)) => true,
        Some(Ask::Creates(_) | Ask::Looks(..) | Ask::Explains(..)) | None => false,
    };
    table().into_iter().filter(is_closed).collect()
}

/// Compares a server that has something with one that has nothing, for the same request.
fn assert_alike(row: &Row, user: &str, why: &str, here: &Seen, there: &Seen) {
    let title = row.title();
    assert_eq!(here.0, there.0, "{title} as {user}: {why} differs from absent");
    if claims(row) {
        // Whether the one check is about the task or about making one depends on what is there.
        assert_eq!(here.1.len(), there.1.len(), "{title} as {user}: {why}: {:?} {:?}", here.1, there.1);
    } else {
        assert_eq!(here.1, there.1, "{title} as {user}: {why} asks something else than absent");
    }
}

/// authz §7: 72, 73, 85, 106, 112, 136, 157
#[tokio::test]
async fn strangers_cannot_tell_hidden_and_deleted_from_absent() {
    for backend in BACKENDS {
        let (full, empty) = (world(backend).await, world(backend).await);
        let stage = Stage::set(&full, "s", &pod().await).await;
        let address = &stage.address;
        // Where there is no model there are no accounts.
        let strangers =
            if backend == Authorization::Graph { &["mallory", "alice@elsewhere"][..] } else { &["mallory"] };

        for row in closed() {
            for user in strangers {
                let here = seen(&full, user, &row, address).await;
                assert_alike(&row, user, "hidden", &here, &seen(&empty, user, &row, address).await);
            }
        }

        for path in ["/agent_api_keys/{key_id}", "/tasks/{task_id}", "/agents/{agent_id}"] {
            let path = PARTS
                .iter()
                .fold(path.to_owned(), |path, part| path.replace(&format!("{{{part}}}"), address.part(part)));
            full.call_as("alice", "DELETE", &path, None).await.ok();
        }

        let former_owner = (backend == Authorization::Graph).then_some("alice");
        for row in closed() {
            // Whoever may create agents may bring a deleted one back, by name or by id.
            if row.path == "/agents/register" {
                continue;
            }
            for user in strangers.iter().copied().chain(former_owner) {
                let here = seen(&full, user, &row, address).await;
                assert_alike(&row, user, "deleted", &here, &seen(&empty, user, &row, address).await);
            }
        }
    }
}

/// Other ids and names of the same length, which nothing has.
pub(crate) fn absent(address: &Address, parts: &[&'static str]) -> Address {
    parts.iter().enumerate().fold(address.clone(), |address, (number, part)| {
        let present = address.part(part);
        let other = if part.ends_with("_id") {
            format!("{number:x}eeeeeee-eeee-4eee-8eee-eeeeeeeeeeee")
        } else {
            format!("{}z", &present[..present.len() - 1])
        };
        address.with(part, &other)
    })
}

pub(crate) const OF_TASKS_AND_KEYS: [&str; 9] =
    ["task_id", "task_name", "message_id", "state_id", "event_id", "tracker_id", "span_id", "key_id", "key_name"];

/// Who may use an agent cannot tell which tasks and keys of others it has.
///
/// authz §7: 72, 73
#[tokio::test]
async fn who_sees_the_agent_cannot_tell_hidden_tasks_and_keys_from_absent_ones() {
    let world = world(Authorization::Graph).await;
    let stage = Stage::set(&world, "s", &pod().await).await;
    let agent = ResourceRef::agent(stage.id(Thing::Agent));
    world.share("bob", Operation::Update, agent).await;
    let nothing = absent(&stage.address, &OF_TASKS_AND_KEYS);
    let mut compared = 0;

    for row in table().iter().filter(|row| !claims(row)) {
        if !row.needs().any(|(_, thing, _)| matches!(thing, Thing::Task | Thing::Key)) {
            continue;
        }
        let hidden = seen_without_words(&world, "bob", row, &stage.address).await;
        let absent = seen_without_words(&world, "bob", row, &nothing).await;
        assert_eq!(hidden, absent, "{}", row.title());
        assert!(matches!(hidden.0.0, 200 | 404), "{}: {hidden:?}", row.title());
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
}

/// What belongs to another agent or task is absent under this one, even for somebody who may see both.
///
/// authz §7: 132, 137, 138
#[tokio::test]
async fn what_belongs_elsewhere_is_absent_here() {
    for backend in BACKENDS {
        let world = world(backend).await;
        let url = pod().await;
        let (here, there) = (Stage::set(&world, "1", &url).await, Stage::set(&world, "2", &url).await);
        let moved = |parts: &[&'static str]| {
            parts.iter().fold(here.address.clone(), |address, part| address.with(part, there.address.part(part)))
        };
        let mut compared = 0;
        for row in table().iter().filter(|row| !claims(row)) {
            let rpc = row.path.ends_with("/rpc") && row.needs().any(|(_, thing, _)| thing == Thing::Task);
            let parts: &[&'static str] = if rpc {
                &["task_id", "task_name"]
            } else if row.path.starts_with("/agents/{agent_id}/deployments/") {
                &["deployment_id"]
            } else if row.method == "PUT" && row.path.starts_with("/messages/") {
                &["message_id"]
            } else if row.path.starts_with("/agents/{agent_id}/schedules/{schedule_id}") {
                &["schedule_id"]
            } else if row.path.starts_with("/agents/{agent_id}/schedules/name/") {
                &["schedule_name"]
            } else if row.path == "/agent_api_keys/name/{name}" {
                &["key_name"]
            } else {
                continue;
            };
            let foreign = seen_without_words(&world, "alice", row, &moved(parts)).await.0;
            let nothing = seen_without_words(&world, "alice", row, &absent(&here.address, parts)).await.0;
            assert_eq!(foreign, nothing, "{backend:?} {}", row.title());
            assert_eq!(foreign.0, 404, "{}", row.title());
            compared += 1;
        }
        assert!(compared > 15, "{compared}");

        // A name that a task of another agent has is neither made nor taken over.
        let named = |row: &Row| row.needs().any(|(_, _, unseen)| unseen == Unseen::Claimed("task_name"));
        for row in table().iter().filter(|row| named(row)) {
            let answer = seen(&world, "alice", row, &moved(&["task_name"])).await.0;
            assert_eq!(answer.0, 404, "{}", row.title());
        }
        let path = format!("/tasks/{}", there.id(Thing::Task));
        let untouched = world.call_as("alice", "GET", &path, None).await.ok();
        assert_eq!((&untouched["status"], &untouched["name"]), (&json!("RUNNING"), &json!("task 2")));
    }
}

/// authz §7: 74
#[tokio::test]
async fn no_refusal_by_name_holds_an_id() {
    for backend in BACKENDS {
        let world = world(backend).await;
        let stage = Stage::set(&world, "s", &pod().await).await;
        let mut compared = 0;
        for row in closed() {
            let request = format!("{}{}", row.path, row.query) + row.body.unwrap_or_default();
            if request.contains("_id}") || request.contains("{id}") || !request.contains("name}") {
                continue;
            }
            let ((status, headers, body), _) = seen(&world, "mallory", &row, &stage.address).await;
            assert!(matches!(status, 200 | 404), "{}: {status}", row.title());
            let told = format!("{headers:?} {body}");
            assert_eq!(masked(&told, |_| "ID".to_owned()), told, "{}", row.title());
            compared += 1;
        }
        assert!(compared > 20, "{compared}");
    }
}

/// Names and ids as nobody would choose them.
fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => any::<String>(),
        2 => "[ -~]{1,40}",
        1 => "\\PC{1,60}",
        1 => "[a-z0-9-]{1,20}",
        1 => proptest::collection::vec(any::<char>(), 250..1100).prop_map(String::from_iter),
        1 => "[a\\x00-\\x1f\\x7f]{1,8}",
        1 => proptest::sample::select(vec!["*", "", ".", "..", "a/b", "%2F", "name", "register", "'; --", "agent:*", "é"])
            .prop_map(str::to_owned),
    ]
}

/// Whatever is asked for, a stranger gets the same answer from a server that has it and from one that has nothing.
///
/// authz §7: 72, 73
#[test]
fn no_text_makes_a_hidden_thing_show() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (backend, cases) in BACKENDS.into_iter().zip([12, 6]) {
        let (full, empty, stage) = runtime.block_on(async {
            let (full, empty) = (world(backend).await, world(backend).await);
            let stage = Stage::set(&full, "s", &pod().await).await;
            (full, empty, stage)
        });
        let rows = closed();
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&odd_text(), |text| {
            runtime.block_on(async {
                // Only what is valid comes into being; the rest is asked for all the same.
                let rpc = format!("/agents/{}/rpc", stage.id(Thing::Agent));
                let task = json!({"method": "task/create", "params": {"name": text}});
                full.call_as("alice", "POST", &rpc, Some(task)).await;
                let key = json!({"agent_id": stage.id(Thing::Agent), "name": text});
                full.call_as("alice", "POST", "/agent_api_keys", Some(key)).await;
                let described = json!({"name": text, "description": "d"});
                full.call_as("alice", "POST", "/agents/register-build", Some(described)).await;
                for (number, row) in rows.iter().enumerate() {
                    // Half of the time below an agent that is there.
                    let mut address = Address::everywhere(&text);
                    if number % 2 == 0 {
                        address = address.with("agent_id", stage.address.part("agent_id"));
                        address = address.with("agent_name", stage.address.part("agent_name"));
                    }
                    let here = seen(&full, "mallory", row, &address).await;
                    assert_alike(row, "mallory", "hidden", &here, &seen(&empty, "mallory", row, &address).await);
                }
            });
            Ok(())
        });
        outcome.unwrap();
    }
}
