use agentex_testkit::build::{agent, at, new_task};

use crate::Fixture;

/// retention §8: 20
#[tokio::test]
async fn a_task_of_several_agents_is_a_shared_candidate() {
    let fixture = Fixture::new().await;
    let stores = fixture.stores();
    let (one, other) = (agent("a"), agent("b"));
    for agent in [&one, &other] {
        stores.agents.insert(agent, None).await.unwrap();
    }
    let task = new_task(&one);
    stores.tasks.insert(&task, None).await.unwrap();
    fixture
        .behind_its_back(
            "INSERT INTO task_agents (task_id, agent_id, created_at)
             SELECT tasks.id, agents.id, 0 FROM tasks JOIN agents ON agents.name = 'b'",
        )
        .await;

    let found = stores.retention.candidates(&["a".to_owned()], at(50), None, 10).await.unwrap();

    assert_eq!(found.iter().map(|found| (&found.task_id, found.is_shared)).collect::<Vec<_>>(), [(&task.id, true)]);
}
