use agentex_domain::ports::RepeatedWrite;
use agentex_domain::{CheckpointWrite, TaskId};

use crate::database::migrated;

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
    let database = migrated().await;
    let (checkpoints, thread) = (&database.stores.checkpoints, TaskId::generate());
    database
        .run(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN IF NEW.idx = 1 THEN RAISE EXCEPTION ''refused''; END IF; RETURN NEW; END';
             CREATE TRIGGER refuse BEFORE INSERT ON checkpoint_writes FOR EACH ROW EXECUTE FUNCTION refuse();",
        )
        .await;
    for repeated in [RepeatedWrite::Keeps, RepeatedWrite::Replaces] {
        checkpoints.put_writes(&thread, "", "cp", &[write(0), write(1)], repeated).await.unwrap_err();

        let stored: i64 =
            sqlx::query_scalar("SELECT count(*) FROM checkpoint_writes").fetch_one(&database.sql).await.unwrap();
        assert_eq!(stored, 0);
    }
    assert!(checkpoints.put_writes(&thread, "", "cp", &[write(0)], RepeatedWrite::Keeps).await.unwrap());
}
