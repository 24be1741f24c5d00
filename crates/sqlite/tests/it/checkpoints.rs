use agentex_domain::ports::RepeatedWrite;
use agentex_domain::{CheckpointWrite, TaskId};

use crate::{Fixture, connect};

fn write(index: i32) -> CheckpointWrite {
    CheckpointWrite {
        step_id: "step".to_owned(),
        index,
        channel: "messages".to_owned(),
        kind: None,
        blob: vec![1],
        path: String::new(),
    }
}

/// checkpoints §5: 20
#[tokio::test]
async fn of_writes_of_which_the_second_fails_none_is_stored() {
    let fixture = Fixture::new().await;
    let (checkpoints, thread) = (fixture.stores().checkpoints, TaskId::generate());
    let mut beside = connect(&fixture.path()).await;
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON checkpoint_writes WHEN NEW.idx = 1
                  BEGIN SELECT RAISE(ABORT, 'refused'); END";
    sqlx::query(refuse).execute(&mut beside).await.unwrap();
    for repeated in [RepeatedWrite::Keeps, RepeatedWrite::Replaces] {
        checkpoints.put_writes(&thread, "", "cp", &[write(0), write(1)], repeated).await.unwrap_err();

        let stored: i64 =
            sqlx::query_scalar("SELECT count(*) FROM checkpoint_writes").fetch_one(&mut beside).await.unwrap();
        assert_eq!(stored, 0);
    }
    assert!(checkpoints.put_writes(&thread, "", "cp", &[write(0)], RepeatedWrite::Keeps).await.unwrap());
}
