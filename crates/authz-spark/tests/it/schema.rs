//! Putting the model into SpiceDB.

use agentex_authz::model::SCHEMA;
use agentex_authz::{Authorizer, AuthzError, Operation, ResourceRef};
use agentex_authz_spark::{SchemaChange, SparkAuthorizer};
use agentex_testkit::services::spicedb::spicedb;
use spicedb_grpc_tonic::v1::WriteSchemaRequest;
use spicedb_grpc_tonic::v1::schema_service_client::SchemaServiceClient;
use tonic::transport::Channel;

use crate::support::{Raw, alice, settings};

async fn write(raw: &Raw, endpoint: &str, schema: String) {
    let channel = Channel::from_shared(endpoint.to_owned()).unwrap().connect().await.unwrap();
    SchemaServiceClient::new(channel).write_schema(raw.request(WriteSchemaRequest { schema })).await.unwrap();
}

#[tokio::test]
async fn the_schema_is_written_when_it_is_missing_or_old_and_only_then() {
    let database = spicedb().await;
    let spark = SparkAuthorizer::new(&settings(&database)).unwrap();

    assert_eq!(spark.ensure_schema().await.unwrap(), SchemaChange::Written);
    assert_eq!(spark.ensure_schema().await.unwrap(), SchemaChange::None);

    let raw = Raw::connect(database.endpoint(), database.token()).await;
    let older = SCHEMA.replace("permission cancel = owner &", "permission cancel = editor &");
    assert_ne!(older, SCHEMA);
    write(&raw, database.endpoint(), older).await;
    assert_eq!(spark.ensure_schema().await.unwrap(), SchemaChange::Written);

    let open = SCHEMA.replace("account == acting_account", "account != \"\" || account == acting_account");
    assert_ne!(open, SCHEMA);
    write(&raw, database.endpoint(), open).await;
    assert_eq!(spark.ensure_schema().await.unwrap(), SchemaChange::Written);
    assert_eq!(spark.ensure_schema().await.unwrap(), SchemaChange::None);
}

#[tokio::test]
async fn definitions_of_others_are_not_dropped() {
    let database = spicedb().await;
    let spark = SparkAuthorizer::new(&settings(&database)).unwrap();
    let raw = Raw::connect(database.endpoint(), database.token()).await;
    write(&raw, database.endpoint(), format!("{SCHEMA}\ndefinition invoice {{\n  relation payer: user\n}}")).await;

    let refused = spark.ensure_schema().await;

    assert!(matches!(refused, Err(AuthzError::Refused)), "{refused:?}");
    raw.write(&["invoice:i#payer@user:alice"]).await;
    spark.register(&alice(), &ResourceRef::agent("a"), None).await.unwrap();
}

#[tokio::test]
async fn without_the_schema_nothing_is_decided() {
    let database = spicedb().await;
    let spark = SparkAuthorizer::new(&settings(&database)).unwrap();
    let agent = ResourceRef::agent("a");

    let check = spark.check(&alice(), Operation::Read, &agent).await;
    assert!(matches!(check, Err(AuthzError::Protocol(_))), "{check:?}");
    let list = spark.list_resources(&alice(), agent.kind, Operation::Read).await;
    assert!(matches!(list, Err(AuthzError::Protocol(_))), "{list:?}");
    let register = spark.register(&alice(), &agent, None).await;
    assert!(matches!(register, Err(AuthzError::Protocol(_))), "{register:?}");
    let deregister = spark.deregister(&alice(), &agent).await;
    assert!(matches!(deregister, Err(AuthzError::Protocol(_))), "{deregister:?}");
}
