use std::process::Stdio;
use std::time::Duration;

use agentex_testkit::tripwire::{Trip, Tripwire};
use futures::StreamExt as _;
use tokio::process::Command;

use super::changes::{Change, fake_agent, made};
use super::world::{CREDENTIAL, Home, Place, files_with};

/// What the child is told: where, which change, at which point, under which name.
const TASK: &str = "AGENTEX_CRASH_TASK";
/// Only every nth point is tried; the long run tries all of them everywhere.
const STRIDE: &str = "AGENTEX_CRASH_STRIDE";
const CHILD: &str = "durability::aborts::the_process_that_dies";
/// No change has as many.
const MOST_POINTS: usize = 200;

/// Dies, in the middle of one change, at one point of it. Not a test by itself: the others run it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process that the tests of this file start; alone it does nothing"]
async fn the_process_that_dies() {
    let Ok(task) = std::env::var(TASK) else { return };
    let [change, at, tag, place] = task.splitn(4, '\n').collect::<Vec<_>>()[..] else { panic!("not a task: {task}") };
    let change = Change::parse(change);
    let wire = Tripwire::new(Trip::Die);
    let world = Place::from_text(place).open().await;
    let product = world.wired(&wire).await;
    let agent = fake_agent().await;
    let call = change.prepare(&product, "alice", tag, &agent).await;

    wire.arm(at.parse().unwrap());
    let answer = made(&product, "alice", call).await;

    answer.ok();
    println!("survived {}", wire.passed().len());
}

/// How a child ended.
enum End {
    /// By the wire, at this point.
    Died(String),
    /// The wire was behind the end: there were so many points.
    Survived(usize),
}

async fn child(change: Change, at: usize, tag: &str, place: &Place) -> End {
    let task = format!("{}\n{at}\n{tag}\n{}", change.name(), place.to_text());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", CHILD, "--ignored", "--nocapture", "--test-threads=1"]).env(TASK, task);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let died = err.lines().find_map(|line| line.strip_prefix("died "));
    let survived = out.lines().find_map(|line| line.split_once("survived ")?.1.trim().parse().ok());
    match (died, survived) {
        (Some(point), None) if output.status.code().is_none() => End::Died(point.to_owned()),
        (None, Some(points)) if output.status.success() => End::Survived(points),
        _ => panic!("{change:?} at {at} ended with {}:\n{out}\n{err}", output.status),
    }
}

fn stride(otherwise: usize) -> usize {
    std::env::var(STRIDE).ok().and_then(|stride| stride.parse().ok()).unwrap_or(otherwise)
}

/// Crashes at every point of every change, each followed by a restart.
///
/// authz §7: 212, 213, 214, 216, 217
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_every_crash_is_made_good_by_the_restart() {
    let crashes: Vec<usize> = futures::stream::iter(Change::ALL)
        .map(|change| async move {
            let home = Home::sqlite().await;
            let place = home.place();
            let Place::Sqlite(file) = &place else { unreachable!("it was made so") };
            let mut crashes = 0;
            for at in (0..MOST_POINTS).step_by(stride(1)) {
                let end = child(change, at, &format!("at{at}"), &place).await;
                assert!(files_with(CREDENTIAL, file).is_empty(), "{change:?} at {at} stored a credential");
                let world = place.open().await;
                match end {
                    End::Died(point) => {
                        crashes += 1;
                        world.settle(&format!("{change:?} died {point} ({at})")).await;
                        world.close().await;
                    }
                    End::Survived(points) => {
                        let audit = world.audit().await;
                        assert!(audit.is_clean(), "{change:?} without a crash: {audit}");
                        assert!(!files_with("alice", file).is_empty(), "owners are stored by their ids");
                        assert!(points >= 8 && points <= at, "{change:?} has only {points} points");
                        world.close().await;
                        return crashes;
                    }
                }
            }
            panic!("{change:?} has more than {MOST_POINTS} points");
        })
        .buffer_unordered(2)
        .collect()
        .await;

    println!("SQLite and the local graph: {} crashes, 0 orphans, 0 missing", crashes.iter().sum::<usize>());
}

/// All processes crash on one database, so that each also starts among the ruins of others.
async fn crashes_among_ruins(home: Home, stride: usize) -> usize {
    let place = home.place();
    let crashes: Vec<usize> = futures::stream::iter(Change::ALL)
        .map(|change| {
            let place = place.clone();
            async move {
                let mut crashes = 0;
                for at in (0..MOST_POINTS).step_by(stride) {
                    match child(change, at, &format!("at{at}"), &place).await {
                        End::Died(_) => crashes += 1,
                        End::Survived(_) => return crashes,
                    }
                }
                panic!("{change:?} has more than {MOST_POINTS} points");
            }
        })
        .buffer_unordered(3)
        .collect()
        .await;
    let world = place.open().await;
    let ruins = world.stores.intents.list(1000).await.unwrap();
    assert!(!ruins.is_empty(), "crashes leave something to do");
    let stored = serde_json::to_string(&ruins.iter().map(|intent| intent.owner.as_json()).collect::<Vec<_>>()).unwrap();
    assert!(stored.contains("alice") && !stored.contains(CREDENTIAL), "{stored}");
    let audit = world.settle("crashes everywhere").await;
    assert!(audit.rows > Change::ALL.len(), "{audit}");
    world.close().await;
    crashes.iter().sum()
}

/// authz §7: 212, 213, 214, 216, 217
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_and_spicedb_every_crash_is_made_good_by_the_restart() {
    let crashes = crashes_among_ruins(Home::spark().await, stride(1)).await;

    println!("PostgreSQL and SpiceDB: {crashes} crashes, 0 orphans, 0 missing");
}

/// authz §7: 212, 213, 214, 216, 217
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_and_the_local_graph_every_crash_is_made_good_by_the_restart() {
    let crashes = crashes_among_ruins(Home::postgres().await, stride(3)).await;

    println!("PostgreSQL and the local graph: {crashes} crashes, 0 orphans, 0 missing");
}
