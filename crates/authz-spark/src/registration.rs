use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use agentex_authz::{AuthzError, ResourceKind, ResourceRef};
use spicedb_grpc_tonic::v1::{ObjectReference, SubjectReference};
use tonic::Code;

use crate::authorizer::SparkAuthorizer;
use crate::failure::{from_status, protocol};
use crate::relationships::{self as edges, Caller};

/// How often it starts over when its look does not explain why its write was refused: the resource changed in between,
/// or many write at once and SpiceDB gave up on putting them in order.
const ATTEMPTS: u32 = 40;
/// The longest pause after the first attempt; it grows for some attempts, so that the others get done.
const PAUSE: Duration = Duration::from_millis(5);
/// How often it grows.
const GROWTH: u32 = 10;

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
                Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::Aborted) => status,
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
            tokio::time::sleep(some_of(PAUSE * attempt.min(GROWTH))).await;
        }
    }

    /// Finds out which edges are there. One with somebody else in its place is a refusal.
    async fn look(&mut self, spark: &SparkAuthorizer) -> Result<(), AuthzError> {
        for edge in &mut self.edges {
            let exactly = edges::exactly(&self.object, edge.relation, &edge.subject);
            edge.held = spark.client.exists(exactly).await.map_err(from_status)?;
            let any = edges::any(&self.object, edge.relation);
            if !edge.held && spark.client.exists(any).await.map_err(from_status)? {
                return Err(AuthzError::Refused);
            }
        }
        Ok(())
    }
}

/// A part of `longest` by chance, so that writers who met do not meet again.
fn some_of(longest: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish() % 1000;
    longest.mul_f64(f64::from(u32::try_from(chance).unwrap_or_default()) / 1000.0)
}
