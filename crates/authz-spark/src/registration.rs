use agentex_authz::{AuthzError, ResourceKind, ResourceRef};
use spicedb_grpc_tonic::v1::{ObjectReference, SubjectReference};
use tonic::Code;

use crate::authorizer::{ATTEMPTS, SparkAuthorizer};
use crate::failure::{from_status, protocol};
use crate::relationships::{self as edges, Caller};

/// What is written about a new resource, all at once.
pub(crate) struct Registration {
    object: ObjectReference,
    edges: Vec<Edge>,
}

struct Edge {
    relation: &'static str,
    subject: SubjectReference,
    /// What the write expects: that the edge is there already, or that nobody is.
    held: bool,
}

impl Registration {
    pub(crate) fn new(
        owner: &Caller<'_>,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
    ) -> Result<Self, AuthzError> {
        let edge = |relation, subject| Edge { relation, subject, held: false };
        let mut edges = vec![edge("owner", owner.subject.clone()), edge("tenant", edges::whole(owner.account.clone()))];
        if let Some(parent) = parent {
            if parent.kind != ResourceKind::Agent || resource.kind == ResourceKind::Agent {
                return Err(protocol("a parent is an agent, and agents have none"));
            }
            edges.push(edge("parent_agent", edges::whole(edges::resource(&parent)?)));
        }
        Ok(Self { object: edges::resource(resource)?, edges })
    }

    /// Writes it if each relation is free or holds the same already.
    pub(crate) async fn write(mut self, spark: &SparkAuthorizer) -> Result<(), AuthzError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let touches = self.edges.iter().map(|edge| edges::touch(&self.object, edge.relation, edge.subject.clone()));
            let expected = self.edges.iter().map(|edge| match edge.held {
                true => edges::must_exist(edges::exactly(&self.object, edge.relation, &edge.subject)),
                false => edges::must_not_exist(edges::any(&self.object, edge.relation)),
            });
            let refused = match spark.write(touches.collect(), expected.collect()).await {
                Ok(()) => return Ok(()),
                Err(status) if status.code() == Code::FailedPrecondition => status,
                Err(status) => return Err(from_status(status)),
            };
            // A precondition cannot say "nobody else", so this may be a repetition.
            self.look(spark).await?;
            if self.edges.iter().all(|edge| edge.held) {
                return Ok(());
            }
            if attempt == ATTEMPTS {
                return Err(AuthzError::Busy(refused.into()));
            }
        }
    }

    /// Finds out which edges are there. One with somebody else in its place is a refusal.
    ///
    /// One read of one state: from two, a registration of the same owner that comes in between would look like
    /// somebody else's.
    async fn look(&mut self, spark: &SparkAuthorizer) -> Result<(), AuthzError> {
        let there = spark.client.relationships(edges::everything(&self.object)).await.map_err(from_status)?;
        for edge in &mut self.edges {
            let mut subjects =
                there.iter().filter(|other| other.relation == edge.relation).filter_map(|other| other.subject.as_ref());
            let taken = subjects.clone().next().is_some();
            edge.held = subjects.any(|subject| *subject == edge.subject);
            if taken && !edge.held {
                return Err(AuthzError::Refused);
            }
        }
        Ok(())
    }
}
