//! Whether what is hidden can be told from what is absent by how long the refusal takes.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::endpoints::{Address, PARTS, Row, Stage, pod};
use crate::hidden::{absent, claims, closed};
use crate::support::World;

/// Agents, tasks and keys of others beside the one that is hidden.
const CROWD: usize = 100;
const WARM_UP: usize = 50;
/// Measured requests of each kind per operation.
const ROUNDS: usize = 1000;
/// How often an operation is measured before a difference counts.
const TRIES: usize = 3;
/// How many times longer one kind may take than the other.
const MOST_AT_MEDIAN: f64 = 1.5;
const MOST_AT_95_PERCENT: f64 = 2.0;

/// A measurement for the night, on a machine that does nothing else; no part of the tests: `just latency`.
///
/// Asks for hidden and for absent things in turn, without a network in between, and prints what each takes.
#[tokio::test]
#[ignore = "a measurement for a quiet machine: `just latency`"]
async fn refusals_of_hidden_and_of_absent_things_take_as_long() {
    let world = World::with_authorization().await;
    let url = pod().await;
    for number in 0..CROWD {
        Stage::set(&world, &format!("{number:03}"), &url).await;
    }
    let hidden = Stage::set(&world, "999", &url).await.address;
    let nothing = absent(&hidden, &PARTS);
    let rows: Vec<Row> = closed().into_iter().filter(|row| row.needs().next().is_some() && !claims(row)).collect();
    let mut table = String::from(
        "| Operation | hidden p50, p95 (µs) | absent p50, p95 (µs) | times |\n| --- | --- | --- | --- |\n",
    );
    let mut apart = Vec::new();

    for row in &rows {
        let title = row.title();
        // What else the machine does comes and goes; a difference that is ours is there every time.
        let mut is_apart = true;
        for _ in 0..TRIES {
            let (hidden_at, absent_at) = measured(&world, row, &hidden, &nothing).await;
            let times = [0, 1].map(|point| ratio(hidden_at[point], absent_at[point]));
            let shown = |at: [Duration; 2]| format!("{}, {}", at[0].as_micros(), at[1].as_micros());
            let (hidden_at, absent_at) = (shown(hidden_at), shown(absent_at));
            writeln!(table, "| {title} | {hidden_at} | {absent_at} | {:.2}, {:.2} |", times[0], times[1]).unwrap();
            is_apart = times[0] > MOST_AT_MEDIAN || times[1] > MOST_AT_95_PERCENT;
            if !is_apart {
                break;
            }
        }
        if is_apart {
            apart.push(title);
        }
    }

    println!("{table}");
    assert!(apart.is_empty(), "these take too differently: {apart:#?}");
}

/// Median and 95th percentile of both, asked for in turn.
async fn measured(world: &World, row: &Row, hidden: &Address, nothing: &Address) -> ([Duration; 2], [Duration; 2]) {
    let (mut of_hidden, mut of_absent) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for round in 0..WARM_UP + ROUNDS {
        let (one, other) = (taken(world, row, hidden).await, taken(world, row, nothing).await);
        if round >= WARM_UP {
            of_hidden.push(one);
            of_absent.push(other);
        }
    }
    (points(of_hidden), points(of_absent))
}

async fn taken(world: &World, row: &Row, address: &Address) -> Duration {
    let begun = Instant::now();
    row.call(world, "mallory", address).await;
    let taken = begun.elapsed();
    world.calls.take();
    taken
}

/// The median and the 95th percentile.
fn points(mut all: Vec<Duration>) -> [Duration; 2] {
    all.sort_unstable();
    [all[all.len() / 2], all[all.len() * 95 / 100]]
}

/// How many times longer the longer one is.
fn ratio(one: Duration, other: Duration) -> f64 {
    let (one, other) = (one.as_secs_f64(), other.as_secs_f64());
    (one / other).max(other / one)
}
