use agentex_testkit::tripwire::{Trip, Tripwire};
use tokio::net::TcpListener;

use super::changes::{Change, fake_agent, made, register};
use super::world::{CREDENTIAL, Home, Place, files_with};

/// The client is gone while the product waits for a call, at every call there is. What it wanted is either all there,
/// row and edges, or not at all.
///
/// authz §7: 212, 213, 214, 215, 216, 217
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_leaves_all_of_its_change_or_nothing() {
    let home = Home::sqlite().await;
    let place = home.place();
    let Place::Sqlite(file) = &place else { unreachable!("it was made so") };
    let world = place.open().await;
    let wire = Tripwire::new(Trip::Hang);
    let product = world.wired(&wire).await;
    let agent = fake_agent().await;
    let mut vanished = 0;

    for change in Change::ALL {
        for at in 0.. {
            wire.disarm();
            let call = change.prepare(&product, "alice", &format!("at{at}"), &agent).await;
            wire.arm(at);
            let point = tokio::select! {
                answer = made(&product, "alice", call) => {
                    answer.ok();
                    None
                }
                point = wire.tripped() => Some(point),
            };
            wire.disarm();
            let Some(point) = point else { break };

            vanished += 1;
            assert!(files_with(CREDENTIAL, file).is_empty(), "{change:?} stored a credential");
            world.settle(&format!("the client of {change:?} vanished {point}")).await;
        }
    }

    assert!(vanished > 100, "{vanished}");
    println!("{vanished} clients vanished, 0 orphans, 0 missing");
}

/// The same over a real connection, which the client closes while the authorizer is slow.
///
/// authz §7: 215
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_while_the_authorizer_is_slow_leaves_all_or_nothing() {
    let home = Home::sqlite().await;
    let world = home.place().open().await;
    let wire = Tripwire::new(Trip::Hang);
    let product = world.wired(&wire).await;
    let agent = fake_agent().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = product.router();
    tokio::spawn(async move { axum::serve(listener, router).await });

    for at in 0.. {
        let call = register(&format!("agent-{at}"), &agent);
        let client = reqwest::Client::builder().build().unwrap();
        let request = client.post(format!("{url}{}", call.path)).header("x-api-key", "alice").json(&call.body);
        wire.arm(at);
        let finished = tokio::select! {
            response = request.send() => {
                assert_eq!(response.unwrap().status(), 200);
                true
            }
            _ = wire.tripped() => false,
        };
        wire.disarm();
        drop(client);

        let audit = world.settle(&format!("the connection was closed at point {at}")).await;
        if finished {
            assert!(at > 8 && audit.rows > 2, "{audit}");
            return;
        }
    }
}
