use agentex_authz::model::{Object, Relationship, Subject, definition_of};
use agentex_authz::{AuthzError, ResourceKind};
use spicedb_grpc_tonic::v1::{self, ObjectReference};

use crate::authorizer::SparkAuthorizer;
use crate::failure::{from_status, protocol};
use crate::ids;
use crate::relationships as edges;

impl SparkAuthorizer {
    /// Every relationship on every resource of `kind`, sorted: what a comparison with the stored resources needs. Ids
    /// are as they were given. All of it is from one moment, which has every write that was completed before the call,
    /// by whomever.
    ///
    /// It is read in pages and kept in memory, about 200 bytes each; a deadline counts for each page.
    ///
    /// # Errors
    /// [`AuthzError::Protocol`] for a relationship that this crate would not have written: an id that cannot be
    /// decoded, another caveat, an expiry.
    #[tracing::instrument(name = "authz.spark.relationships", skip_all, fields(%kind))]
    pub async fn relationships(&self, kind: ResourceKind) -> Result<Vec<Relationship>, AuthzError> {
        self.client.settle().await;
        let stored = self.client.relationships(edges::of_type(definition_of(kind))).await.map_err(from_status)?;
        let decoded = stored.into_iter().map(|edge| decode(edge).ok_or_else(|| protocol("a relationship is not ours")));
        let mut relationships = decoded.collect::<Result<Vec<_>, _>>()?;
        relationships.sort();
        Ok(relationships)
    }
}

fn decode(stored: v1::Relationship) -> Option<Relationship> {
    let v1::Relationship { resource, relation, subject, optional_caveat, optional_expires_at } = stored;
    if optional_expires_at.is_some() {
        return None;
    }
    let subject = subject?;
    let acting_in = match optional_caveat {
        None => None,
        Some(caveat) => Some(edges::account_acted_in(&caveat)?.into()),
    };
    let of = Some(subject.optional_relation).filter(|relation| !relation.is_empty());
    Some(Relationship {
        resource: object(resource?)?,
        relation: relation.into(),
        subject: Subject { object: object(subject.object?)?, relation: of.map(Into::into) },
        acting_in,
    })
}

fn object(stored: ObjectReference) -> Option<Object> {
    Some(Object::new(&stored.object_type, &ids::decode(&stored.object_id)?))
}
