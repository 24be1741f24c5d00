use std::future::Future;
use std::time::Duration;

use spicedb_grpc_tonic::v1::{
    CheckBulkPermissionsPair, CheckBulkPermissionsRequest, CheckBulkPermissionsRequestItem, Consistency, Cursor,
    DeleteRelationshipsRequest, LookupResourcesRequest, LookupResourcesResponse, Precondition,
    ReadRelationshipsRequest, ReadSchemaRequest, RelationshipFilter, RelationshipUpdate, WriteRelationshipsRequest,
    WriteSchemaRequest, ZedToken, delete_relationships_response::DeletionProgress,
    permissions_service_client::PermissionsServiceClient, schema_service_client::SchemaServiceClient,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::failure::lost_connection;
use crate::freshness;
use crate::settings::{InvalidSettings, SparkSettings};

const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

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
            async move {
                let mut answers = permissions.lookup_resources(request).await?.into_inner();
                let mut page = Vec::new();
                while let Some(answer) = answers.message().await? {
                    page.push(answer);
                }
                Ok(page)
            }
        })
        .await
    }

    /// Whether any relationship matches, as of now.
    pub(crate) async fn exists(&self, filter: RelationshipFilter) -> Result<bool, Status> {
        let message = ReadRelationshipsRequest {
            consistency: Some(freshness::newest()),
            relationship_filter: Some(filter),
            optional_limit: 1,
            optional_cursor: None::<Cursor>,
        };
        self.read(|| {
            let (mut permissions, request) = (self.permissions.clone(), self.request(message.clone()));
            async move { Ok(permissions.read_relationships(request).await?.into_inner().message().await?.is_some()) }
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
        let (mut permissions, request) = (self.permissions.clone(), self.request(message));
        let answer = self.within(async move { permissions.write_relationships(request).await });
        Ok(answer.await?.into_inner().written_at)
    }

    /// Deletes what matches, all at once unless SpiceDB says otherwise.
    pub(crate) async fn delete(&self, filter: RelationshipFilter) -> Result<Option<ZedToken>, Status> {
        loop {
            let message =
                DeleteRelationshipsRequest { relationship_filter: Some(filter.clone()), ..Default::default() };
            let (mut permissions, request) = (self.permissions.clone(), self.request(message));
            let answer = self.within(async move { permissions.delete_relationships(request).await });
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
        let request = self.request(WriteSchemaRequest { schema: schema.to_owned() });
        let mut client = self.schema.clone();
        Ok(self.within(async move { client.write_schema(request).await }).await?.into_inner().written_at)
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

    async fn within<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::time::timeout(self.timeout, call)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("SpiceDB did not answer in time")))
    }
}
