use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use spicedb_grpc_tonic::v1::{
    CheckBulkPermissionsPair, CheckBulkPermissionsRequest, CheckBulkPermissionsRequestItem, Consistency,
    DeleteRelationshipsRequest, LookupResourcesRequest, LookupResourcesResponse, ObjectReference, Precondition,
    ReadRelationshipsRequest, ReadRelationshipsResponse, ReadSchemaRequest, Relationship, RelationshipFilter,
    RelationshipUpdate, SubjectReference, WriteRelationshipsRequest, WriteSchemaRequest, ZedToken,
    delete_relationships_response::DeletionProgress, permissions_service_client::PermissionsServiceClient,
    schema_service_client::SchemaServiceClient,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::failure::lost_connection;
use crate::freshness;
use crate::settings::{InvalidSettings, SparkSettings};

const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
const READ_PAGE: u32 = 1_000;
/// How often a write is sent again that SpiceDB gave up on because it met others.
const REPETITIONS: u32 = 10;
/// The longest pause before the first repetition; it grows with each.
const PAUSE: Duration = Duration::from_millis(5);

/// The calls to SpiceDB, each with its deadline and our key. Connects when first used, and again after a failure.
#[derive(Clone)]
pub(crate) struct Client {
    permissions: PermissionsServiceClient<Channel>,
    schema: SchemaServiceClient<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

impl Client {
    pub(crate) fn new(settings: &SparkSettings) -> Result<Self, InvalidSettings> {
        let url = settings.endpoint.as_str();
        let tls = url.starts_with("https://");
        if !tls && !url.starts_with("http://") {
            return Err(InvalidSettings::Endpoint);
        }
        let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| InvalidSettings::Endpoint)?;
        if tls {
            let config = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint.tls_config(config).map_err(|error| InvalidSettings::Tls(error.into()))?;
        }
        let authorization = match &settings.token {
            Some(token) => {
                let mut value =
                    MetadataValue::try_from(format!("Bearer {token}")).map_err(|_| InvalidSettings::Token)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let channel = endpoint
            .connect_timeout(settings.timeout)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(settings.timeout)
            .connect_lazy();
        Ok(Self {
            permissions: PermissionsServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            schema: SchemaServiceClient::new(channel),
            authorization,
            timeout: settings.timeout,
        })
    }

    pub(crate) async fn check(
        &self,
        items: Vec<CheckBulkPermissionsRequestItem>,
        consistency: Consistency,
    ) -> Result<Vec<CheckBulkPermissionsPair>, Status> {
        let message = CheckBulkPermissionsRequest { consistency: Some(consistency), items, with_tracing: false };
        let answer = self.read(|| {
            let (mut permissions, request) = (self.permissions.clone(), self.request(message.clone()));
            async move { permissions.check_bulk_permissions(request).await.map(Response::into_inner) }
        });
        Ok(answer.await?.pairs)
    }

    /// One page of a lookup.
    pub(crate) async fn lookup(
        &self,
        message: &LookupResourcesRequest,
    ) -> Result<Vec<LookupResourcesResponse>, Status> {
        self.read(|| {
            let (mut permissions, request) = (self.permissions.clone(), self.request(message.clone()));
            async move { all(permissions.lookup_resources(request).await?.into_inner()).await }
        })
        .await
    }

    /// Whether any relationship matches, as of now.
    pub(crate) async fn exists(&self, filter: RelationshipFilter) -> Result<bool, Status> {
        Ok(!self.page(&reading(filter, 1)).await?.is_empty())
    }

    /// Every relationship that matches, as of one moment, which is now.
    pub(crate) async fn relationships(&self, filter: RelationshipFilter) -> Result<Vec<Relationship>, Status> {
        let mut message = reading(filter, READ_PAGE);
        let mut found = Vec::new();
        loop {
            let page = self.page(&message).await?;
            let is_last = page.len() < READ_PAGE as usize;
            // SpiceDB answers what follows a cursor from the state the cursor was made in.
            message.optional_cursor = page.last().and_then(|answer| answer.after_result_cursor.clone());
            found.extend(page.into_iter().filter_map(|answer| answer.relationship));
            if is_last {
                return Ok(found);
            }
            if message.optional_cursor.is_none() {
                return Err(Status::out_of_range("SpiceDB gave no cursor"));
            }
        }
    }

    async fn page(&self, message: &ReadRelationshipsRequest) -> Result<Vec<ReadRelationshipsResponse>, Status> {
        self.read(|| {
            let (mut permissions, request) = (self.permissions.clone(), self.request(message.clone()));
            async move { all(permissions.read_relationships(request).await?.into_inner()).await }
        })
        .await
    }

    pub(crate) async fn write(
        &self,
        updates: Vec<RelationshipUpdate>,
        optional_preconditions: Vec<Precondition>,
    ) -> Result<Option<ZedToken>, Status> {
        let message =
            WriteRelationshipsRequest { updates, optional_preconditions, optional_transaction_metadata: None };
        let answer = self.change(|| {
            let (mut permissions, request) = (self.permissions.clone(), self.request(message.clone()));
            async move { permissions.write_relationships(request).await }
        });
        Ok(answer.await?.into_inner().written_at)
    }

    /// Deletes what matches, all at once unless SpiceDB says otherwise.
    pub(crate) async fn delete(&self, filter: RelationshipFilter) -> Result<Option<ZedToken>, Status> {
        loop {
            let message =
                DeleteRelationshipsRequest { relationship_filter: Some(filter.clone()), ..Default::default() };
            let answer = self.change(|| {
                let (mut permissions, request) = (self.permissions.clone(), self.request(message.clone()));
                async move { permissions.delete_relationships(request).await }
            });
            let answer = answer.await?.into_inner();
            if answer.deletion_progress() != DeletionProgress::Partial {
                return Ok(answer.deleted_at);
            }
        }
    }

    /// The stored schema; `None` when there is none.
    pub(crate) async fn read_schema(&self) -> Result<Option<String>, Status> {
        let answer = self.read(|| {
            let (mut schema, request) = (self.schema.clone(), self.request(ReadSchemaRequest {}));
            async move { schema.read_schema(request).await }
        });
        match answer.await {
            Ok(answer) => Ok(Some(answer.into_inner().schema_text)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    pub(crate) async fn write_schema(&self, schema: &str) -> Result<Option<ZedToken>, Status> {
        let message = WriteSchemaRequest { schema: schema.to_owned() };
        let answer = self.change(|| {
            let (mut client, request) = (self.schema.clone(), self.request(message.clone()));
            async move { client.write_schema(request).await }
        });
        Ok(answer.await?.into_inner().written_at)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }

    /// Does a read, and once more when the connection turns out to be gone: a SpiceDB that was restarted is noticed at
    /// the next call only.
    async fn read<T, F>(&self, call: impl Fn() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.within(async {
            match call().await {
                Err(status) if lost_connection(&status) => call().await,
                answer => answer,
            }
        })
        .await
    }

    /// Does a write, and again when SpiceDB could not put it in order with others that ran meanwhile: nothing was
    /// written then. All of it has one deadline.
    async fn change<T, F>(&self, call: impl Fn() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let answer = self.within(async {
            for repetition in 1..=REPETITIONS {
                match call().await {
                    Err(status) if status.code() == Code::Aborted => {
                        tokio::time::sleep(some_of(PAUSE * repetition)).await;
                    }
                    answer => return answer,
                }
            }
            call().await
        });
        let answer = answer.await?;
        self.settle().await;
        Ok(answer)
    }

    /// Waits until a read of the newest state has every write that was completed before.
    ///
    /// SpiceDB looks up once which state is the newest for all who ask at the same time, so whoever joins a look-up
    /// that began before a write is answered without it, in spite of asking fully consistent. This joins what is under
    /// way and throws the answer away; a look-up that is joined later began later.
    pub(crate) async fn settle(&self) {
        if let Err(status) = self.check(vec![probe()], freshness::newest()).await {
            // The write was done all the same. When this has no answer, the look-up that it joined has none either.
            tracing::debug!(error = %status, "no answer to the question after a write");
        }
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::time::timeout(self.timeout, call)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("SpiceDB did not answer in time")))
    }
}

/// A question that costs little and has no answer of interest.
fn probe() -> CheckBulkPermissionsRequestItem {
    let nobody = |kind: &str| ObjectReference { object_type: kind.to_owned(), object_id: "-".to_owned() };
    CheckBulkPermissionsRequestItem {
        resource: Some(nobody("account")),
        permission: "belongs".to_owned(),
        subject: Some(SubjectReference { object: Some(nobody("user")), optional_relation: String::new() }),
        context: None,
    }
}

fn reading(filter: RelationshipFilter, limit: u32) -> ReadRelationshipsRequest {
    ReadRelationshipsRequest {
        consistency: Some(freshness::newest()),
        relationship_filter: Some(filter),
        optional_limit: limit,
        optional_cursor: None,
    }
}

async fn all<T>(mut answers: Streaming<T>) -> Result<Vec<T>, Status> {
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

/// A part of `longest` by chance, so that writers who met do not meet again.
fn some_of(longest: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish() % 1000;
    longest.mul_f64(f64::from(u32::try_from(chance).unwrap_or_default()) / 1000.0)
}
