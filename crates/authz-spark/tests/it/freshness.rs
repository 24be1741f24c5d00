//! Reading one's own writes.

use agentex_authz::{Authorizer, Operation, ResourceKind, ResourceRef};

use crate::support::{alice, bob, spark};

/// authz §7: 208
#[tokio::test]
async fn every_write_is_seen_by_the_very_next_question() {
    let spark = spark().await;
    for number in 0..20 {
        let task = ResourceRef::task(format!("t{number}"));

        spark.register(&alice(), &task, None).await.unwrap();
        assert!(spark.may(&alice(), Operation::Read, &task).await);
        assert!(spark.may(&alice(), Operation::Cancel, &task).await);
        let listed = spark.list_resources(&alice(), ResourceKind::Task, Operation::Read).await.unwrap();
        assert!(listed.contains(&task.selector));

        spark.grant(&bob(), Operation::Read, &task).await.unwrap();
        assert!(spark.may(&bob(), Operation::Read, &task).await);
        spark.revoke(&bob(), Operation::Read, &task).await.unwrap();
        assert!(!spark.may(&bob(), Operation::Read, &task).await);

        spark.deregister(&alice(), &task).await.unwrap();
        assert!(!spark.may(&alice(), Operation::Read, &task).await);
        let listed = spark.list_resources(&alice(), ResourceKind::Task, Operation::Read).await.unwrap();
        assert!(!listed.contains(&task.selector));
    }
}

/// authz §7: 208
#[tokio::test(flavor = "multi_thread")]
async fn writers_at_the_same_time_each_see_their_own() {
    let spark = std::sync::Arc::new(spark().await);

    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let spark = std::sync::Arc::clone(&spark);
            tokio::spawn(async move {
                for number in 0..10 {
                    let task = ResourceRef::task(format!("t{writer}-{number}"));
                    spark.register(&alice(), &task, None).await.unwrap();
                    assert!(spark.may(&alice(), Operation::Read, &task).await, "{task}");
                    spark.deregister(&alice(), &task).await.unwrap();
                    assert!(!spark.may(&alice(), Operation::Read, &task).await, "{task}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn an_operation_is_decided_on_what_others_wrote_as_well() {
    let spark = spark().await;
    let task = ResourceRef::task("t");
    let elsewhere = spark.another();
    spark.register(&alice(), &task, None).await.unwrap();
    assert!(elsewhere.check(&alice(), Operation::Cancel, &task).await.unwrap().is_allowed());

    spark.revoke(&alice(), Operation::Delete, &task).await.unwrap();

    assert!(!elsewhere.check(&alice(), Operation::Cancel, &task).await.unwrap().is_allowed());
}
