//! Every method of the SDK's generated client, with typed answers.

use std::collections::BTreeSet;

use crate::support::{Deployment, Sdk, SdkAgent, User};

/// How many different methods the programme calls that answer; `tasks.query_workflow` is refused without a workflow engine.
const METHODS: usize = 79;

// checkpoints §5: 8, 16, 18
#[tokio::test(flavor = "multi_thread")]
async fn every_method_of_the_generated_client_works_on_the_embedded_preset() {
    every_method(&Deployment::embedded().await).await;
}

// checkpoints §5: 8, 16, 18
#[tokio::test(flavor = "multi_thread")]
async fn every_method_of_the_generated_client_works_on_postgres_and_redis() {
    every_method(&Deployment::replicas().await).await;
}

async fn every_method(deployment: &Deployment) {
    let (_sync, _later) = tokio::join!(
        SdkAgent::start(Sdk::Newest, "sync_agent.py", "every", deployment),
        SdkAgent::start(Sdk::Newest, "async_agent.py", "every-later", deployment),
    );

    let answer = User::nobody(Sdk::Newest, deployment).program("every_resource.py", &["--agent", "every"]).await;

    let done: BTreeSet<&str> = answer["done"].as_array().unwrap().iter().map(|call| call.as_str().unwrap()).collect();
    assert_eq!(done.len(), METHODS, "{done:#?}");
}
