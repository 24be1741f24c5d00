//! The table as a page of the documentation, and whether it is whole.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use agentex_authz::Operation;

use super::{Ask, PARTS, Row, Thing, Unseen, table};

const INTRODUCTION: &str = "\
# Endpoints and permissions

Printed from the table in `crates/http/tests/it/endpoints/table.rs`, which the tests drive. Do not edit:
`UPDATE_ENDPOINTS=1 cargo nextest run -p agentex-http endpoints`.

- **Who** gets as far as the use case: `principal`, whoever authenticates, and agents with their key; `registration`, also pods
  that bring a registration token, and anybody where registering takes no credential; `ingress`, whoever proves itself by the
  request: an external key, a signature, or credentials, and only with the last a permission is asked for; `signature`, the chat
  application that is configured, whose requests ask nothing: what is said is stored, and the turn that comes of it asks as the
  bot what the call of an agent asks. Health, metrics and the API document are open.
- **Asks**, in order. What is joined by `+` goes to the permission service in one round trip. `list` limits what is answered,
  `look` decides about a part of the answer.
- **Found by**: what of the request leads to the resource asked about.
- **Hidden**: the answer to a caller who may not read the resource; the same bytes as for one that never existed, was deleted, or
  belongs elsewhere. *id* and *name* stand for `Item with id|name '…' does not exist.` with what the caller sent.
- **Forbidden**: the answer to a caller who may read it and not do this. A denial is followed by one `read` to tell the two apart,
  whether the resource is there or not. `n/a` where reading is all it takes.
- Whenever the permission service does not answer: 503.
- Whether a refusal takes as long for what is hidden as for what is absent is measured apart, on a machine that does nothing else:
  `just latency`.
- With `own` scope agents are asked about here, not at the permission service; see [authorization.md](authorization.md).
";

/// The table is committed as a page, so that changes of what is asked are seen in review.
#[test]
fn the_committed_table_of_endpoints_is_the_one_the_tests_drive() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/endpoints.md");
    let printed = page();

    if std::env::var_os("UPDATE_ENDPOINTS").is_some() {
        std::fs::write(&path, &printed).unwrap();
    }

    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == printed, "docs/endpoints.md is stale: run this test with UPDATE_ENDPOINTS=1 and commit it");
}

#[test]
fn every_operation_of_the_document_has_a_row_and_every_row_an_operation() {
    let document = serde_json::to_value(agentex_http::openapi()).unwrap();
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        operations.extend(item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
    }
    let rows: BTreeSet<(String, String)> = table().into_iter().map(|row| (row.method.to_owned(), row.path)).collect();

    let uncovered: Vec<_> = operations.difference(&rows).collect();
    let unknown: Vec<_> = rows.difference(&operations).collect();

    assert!(uncovered.is_empty(), "add to the table of endpoints what these ask: {uncovered:?}");
    assert!(unknown.is_empty(), "the API has no such operations: {unknown:?}");
}

#[test]
fn every_row_is_told_apart() {
    let mut titles: Vec<String> = table().iter().map(Row::title).collect();
    titles.sort_unstable();
    let all = titles.len();
    titles.dedup();
    assert_eq!(titles.len(), all);
}

fn page() -> String {
    let mut page = format!("{INTRODUCTION}\n| Operation | Who | Asks | Found by | Hidden | Forbidden |\n");
    page.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for row in table() {
        let case = if row.case.is_empty() { String::new() } else { format!("<br>{}", row.case) };
        let calls: Vec<String> = row.asks.iter().map(|call| asked(call)).collect();
        let (mut found, mut hidden, mut forbidden) = (Vec::new(), Vec::new(), Vec::new());
        for ask in row.asks.iter().flatten() {
            match ask {
                Ask::Needs(operation, thing, unseen) => {
                    found.push(found_by(&row, *thing));
                    hidden.push(told(*unseen));
                    forbidden.push(if *operation == Operation::Read { "n/a" } else { "403" });
                }
                Ask::Creates(_) => forbidden.push("403"),
                Ask::Lists(_) => hidden.push("n/a: list"),
                Ask::Looks(..) | Ask::Explains(..) => {}
            }
        }
        hidden.dedup();
        forbidden.dedup();
        if forbidden.contains(&"403") {
            forbidden.retain(|word| *word != "n/a");
        }
        let or = |words: Vec<&str>| if words.is_empty() { "n/a".to_owned() } else { words.join(", ") };
        found.dedup();
        let found = or(found.iter().map(String::as_str).collect());
        let (hidden, forbidden) = (or(hidden), or(forbidden));
        let Row { method, path, policy, .. } = &row;
        let calls = if calls.is_empty() { "nothing".to_owned() } else { calls.join("; then ") };
        writeln!(page, "| `{method} {path}`{case} | {policy} | {calls} | {found} | {hidden} | {forbidden} |").unwrap();
    }
    page
}

fn asked(call: &[Ask]) -> String {
    let asks: Vec<String> = call
        .iter()
        .map(|ask| match ask {
            Ask::Needs(operation, thing, _) => format!("`{} {operation}`", word(*thing)),
            Ask::Creates(kind) => format!("`{kind}:* create`"),
            Ask::Lists(kind) => format!("list `{kind} read`"),
            Ask::Looks(operation, thing) => format!("look `{} {operation}`", word(*thing)),
            Ask::Explains(..) => "the decision in question".to_owned(),
        })
        .collect();
    asks.join(" + ")
}

fn word(thing: Thing) -> &'static str {
    match thing {
        Thing::Agent | Thing::NewAgent => "agent",
        Thing::Task => "task",
        Thing::Key => "api_key",
        Thing::Schedule => "schedule",
    }
}

/// Where in the request the thing is named.
fn found_by(row: &Row, thing: Thing) -> String {
    let kind = match thing {
        Thing::Agent | Thing::NewAgent => "agent",
        Thing::Task => "task",
        Thing::Key => "key",
        Thing::Schedule => "schedule",
    };
    let path = if thing == Thing::Key {
        row.path.replace("{id}", "{key_id}").replace("{name}", "{key_name}")
    } else if thing == Thing::Schedule {
        row.path.replace("{name}", "{schedule_name}")
    } else {
        row.path.clone()
    };
    let places = [("path", path.as_str()), ("query", row.query), ("body", row.body.unwrap_or_default())];
    for (place, text) in places {
        for part in PARTS.iter().filter(|part| part.starts_with(kind)) {
            if text.contains(&format!("{{{part}}}")) {
                let how = if part.ends_with("_id") { "id" } else { "name" };
                return format!("{place}: {kind} {how}");
            }
        }
    }
    let below = row.path.rsplit_once('{').and_then(|(_, part)| part.strip_suffix("_id}"));
    format!("path: the {}'s {kind}", below.expect("something in the path leads to what is asked about"))
}

fn told(unseen: Unseen) -> &'static str {
    match unseen {
        Unseen::Id(_) => "404 *id*",
        Unseen::Name(_) | Unseen::Claimed(_) => "404 *name*",
        Unseen::Taken => "409 `Agent name '…' is not available.`",
        Unseen::KeyGone => "404 `Agent api_key not found.`",
        Unseen::DeploymentGone => "404 `Deployment … not found for agent …`",
        Unseen::HistoryGone => "404 `Deployment not found:` *id*",
        Unseen::NoAgent => "404 `Agent … not found or has no ACP URL.`",
        Unseen::ScheduleGone(_) => "404 `Run schedule '…' for agent '…' does not exist.`",
        Unseen::NoSchedules => "200 without schedules",
        Unseen::Empty => "200 `[]`",
    }
}
