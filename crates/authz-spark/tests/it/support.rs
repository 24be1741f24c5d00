use std::ops::Deref;
use std::time::Duration;

use agentex_authz::{Authorizer, Operation, Principal, ResourceRef};
use agentex_authz_spark::{SparkAuthorizer, SparkSettings};
use agentex_testkit::services::spicedb::{TestSpiceDb, spicedb};
use serde_json::json;
use spicedb_grpc_tonic::v1::permissions_service_client::PermissionsServiceClient;
use spicedb_grpc_tonic::v1::{
    Consistency, ContextualizedCaveat, ObjectReference, ReadRelationshipsRequest, Relationship, RelationshipFilter,
    RelationshipUpdate, SubjectReference, WriteRelationshipsRequest, consistency::Requirement, relationship_update,
};
use tonic::Request;
use tonic::transport::Channel;

/// An authorizer on an empty SpiceDB that has the schema.
pub(crate) struct Spark {
    authorizer: SparkAuthorizer,
    pub(crate) database: TestSpiceDb,
}

impl Deref for Spark {
    type Target = SparkAuthorizer;

    fn deref(&self) -> &SparkAuthorizer {
        &self.authorizer
    }
}

impl Spark {
    pub(crate) fn settings(&self) -> SparkSettings {
        settings(&self.database)
    }

    /// Another process, so to say.
    pub(crate) fn another(&self) -> SparkAuthorizer {
        SparkAuthorizer::new(&self.settings()).unwrap()
    }

    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect(self.database.endpoint(), self.database.token()).await
    }

    pub(crate) async fn may(&self, who: &Principal, operation: Operation, resource: &ResourceRef) -> bool {
        self.check(who, operation, resource).await.unwrap().is_allowed()
    }
}

/// With a deadline that also holds on a machine that is busy with other things while the engine starts.
pub(crate) fn settings(database: &TestSpiceDb) -> SparkSettings {
    let settings = SparkSettings::new(database.endpoint()).with_token(database.token());
    SparkSettings { timeout: Duration::from_secs(30), ..settings }
}

pub(crate) async fn spark() -> Spark {
    let database = spicedb().await;
    let authorizer = SparkAuthorizer::new(&settings(&database)).unwrap();
    authorizer.ensure_schema().await.unwrap();
    Spark { authorizer, database }
}

pub(crate) fn user(id: &str, account: &str) -> Principal {
    Principal::from_json(json!({"user_id": id, "account_id": account}))
}

pub(crate) fn alice() -> Principal {
    user("alice", "acme")
}

pub(crate) fn bob() -> Principal {
    user("bob", "acme")
}

/// SpiceDB's own interface.
#[derive(Clone)]
pub(crate) struct Raw {
    client: PermissionsServiceClient<Channel>,
    token: String,
}

impl Raw {
    pub(crate) async fn connect(endpoint: &str, token: &str) -> Self {
        let channel = Channel::from_shared(endpoint.to_owned())
            .unwrap()
            .timeout(Duration::from_secs(30))
            .connect()
            .await
            .unwrap();
        Self { client: PermissionsServiceClient::new(channel), token: token.to_owned() }
    }

    pub(crate) fn client(&self) -> PermissionsServiceClient<Channel> {
        self.client.clone()
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        request
    }

    /// Writes relationships nobody asks about, without a caveat: `agent:a#viewer@user:u`.
    pub(crate) async fn write(&self, relationships: &[&str]) {
        let updates = relationships.iter().map(|text| touch(parse(text))).collect();
        let message = WriteRelationshipsRequest { updates, ..Default::default() };
        self.client().write_relationships(self.request(message)).await.unwrap();
    }

    /// Every relationship on objects of the type, as `agent:a#viewer@user:u`, sorted.
    pub(crate) async fn relationships(&self, kind: &str) -> Vec<String> {
        let message = ReadRelationshipsRequest {
            consistency: Some(fully()),
            relationship_filter: Some(RelationshipFilter { resource_type: kind.to_owned(), ..Default::default() }),
            ..Default::default()
        };
        let mut answers = self.client().read_relationships(self.request(message)).await.unwrap().into_inner();
        let mut found = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            found.push(shown(&answer.relationship.unwrap()));
        }
        found.sort();
        found
    }
}

pub(crate) fn fully() -> Consistency {
    Consistency { requirement: Some(Requirement::FullyConsistent(true)) }
}

pub(crate) fn touch(relationship: Relationship) -> RelationshipUpdate {
    RelationshipUpdate { operation: relationship_update::Operation::Touch.into(), relationship: Some(relationship) }
}

pub(crate) fn object(kind: &str, id: &str) -> ObjectReference {
    ObjectReference { object_type: kind.to_owned(), object_id: id.to_owned() }
}

pub(crate) fn parse(text: &str) -> Relationship {
    let (resource, subject) = text.split_once('@').unwrap();
    let (resource, relation) = resource.split_once('#').unwrap();
    let (subject, of) = subject.split_once('#').unwrap_or((subject, ""));
    let at = |text: &str| text.split_once(':').map(|(kind, id)| object(kind, id)).unwrap();
    Relationship {
        resource: Some(at(resource)),
        relation: relation.to_owned(),
        subject: Some(SubjectReference { object: Some(at(subject)), optional_relation: of.to_owned() }),
        ..Default::default()
    }
}

fn shown(relationship: &Relationship) -> String {
    let at = |object: &ObjectReference| format!("{}:{}", object.object_type, object.object_id);
    let subject = relationship.subject.as_ref().unwrap();
    let of = if subject.optional_relation.is_empty() { "" } else { "#" };
    format!(
        "{}#{}@{}{of}{}",
        at(relationship.resource.as_ref().unwrap()),
        relationship.relation,
        at(subject.object.as_ref().unwrap()),
        subject.optional_relation
    )
}

/// Admits everybody to the account under the caveat, without saying what it compares with.
pub(crate) async fn write_vague_membership(spark: &Spark, account: &str) {
    let caveat = ContextualizedCaveat { caveat_name: "acting_in".to_owned(), context: None };
    let member = parse(&format!("account:{account}#member@user:*"));
    let updates = vec![touch(Relationship { optional_caveat: Some(caveat), ..member })];
    let raw = spark.raw().await;
    let message = WriteRelationshipsRequest { updates, ..Default::default() };
    raw.client().write_relationships(raw.request(message)).await.unwrap();
}
