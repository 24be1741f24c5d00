//! Compares rows with edges: after everything has settled, each must have exactly what the other says.

use std::collections::BTreeSet;
use std::fmt;

use agentex_authz::model::{Object, Relationship, Subject, account_of, definition_of, subject_of};
use agentex_authz::{Authorizer, Check, Decision, Operation, ResourceKind, ResourceRef};
use agentex_domain::ports::Stores;
use agentex_domain::{Intent, Ownership, RunSchedule, TaskStatus};

const KINDS: [ResourceKind; 4] =
    [ResourceKind::Agent, ResourceKind::Task, ResourceKind::ApiKey, ResourceKind::Schedule];
const PAGE: u32 = 500;
const MOST_INTENTS: u32 = 1000;

/// What a comparison found. Everything but the counts should be empty.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    /// Live agents, tasks, API keys and run schedules with a recorded owner.
    pub rows: usize,
    /// Edges on agents, tasks, API keys and schedules.
    pub edges: usize,
    /// Live rows that nobody is recorded to own.
    pub unowned: Vec<ResourceRef>,
    /// Records of owners whose row is gone.
    pub stale: Vec<ResourceRef>,
    /// Edges that no live row accounts for.
    pub orphans: Vec<Relationship>,
    /// Edges that a live row should have and has not.
    pub missing: Vec<Relationship>,
    /// Live rows that their owner may not read.
    pub unreadable: Vec<ResourceRef>,
    /// Live run schedules without a clock or without an agent.
    pub unmended: Vec<ResourceRef>,
    /// What is unfinished.
    pub intents: Vec<Intent>,
}

impl Audit {
    /// Whether rows and edges agree, every row has an owner who can read it, and nothing is unfinished.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let Self { rows: _, edges: _, unowned, stale, orphans, missing, unreadable, unmended, intents } = self;
        unowned.is_empty()
            && stale.is_empty()
            && orphans.is_empty()
            && missing.is_empty()
            && unreadable.is_empty()
            && unmended.is_empty()
            && intents.is_empty()
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, edges, unowned, stale, orphans, missing, unreadable, unmended, intents } = self;
        write!(f, "{rows} rows, {edges} edges, {} orphans, {} missing", orphans.len(), missing.len())?;
        orphans.iter().try_for_each(|edge| write!(f, "\n  orphan {}", shown(edge)))?;
        missing.iter().try_for_each(|edge| write!(f, "\n  missing {}", shown(edge)))?;
        unowned.iter().try_for_each(|row| write!(f, "\n  unowned {row}"))?;
        stale.iter().try_for_each(|row| write!(f, "\n  owner of a row that is gone: {row}"))?;
        unreadable.iter().try_for_each(|row| write!(f, "\n  not readable by its owner: {row}"))?;
        unmended.iter().try_for_each(|row| write!(f, "\n  without a clock or an agent: {row}"))?;
        intents.iter().try_for_each(|intent| write!(f, "\n  unfinished {}: {}", intent.step.as_str(), intent.resource))
    }
}

fn shown(edge: &Relationship) -> String {
    format!("{}#{}@{}", edge.resource, edge.relation, edge.subject)
}

/// Compares the live rows of a store with the edges of an authorization graph, whichever keeps them.
///
/// A row is accounted for by its recorded owner: it needs an edge to the owner, to the owner's account and to the
/// parent, and nothing else may be there. So nothing must have been shared before, and everything created by somebody.
///
/// # Panics
/// When the store or the authorizer fails.
pub async fn rows_and_edges(stores: &Stores, edges: Vec<Relationship>, authorizer: &dyn Authorizer) -> Audit {
    let mut audit = Audit {
        intents: stores.intents.list(MOST_INTENTS).await.unwrap(),
        unmended: unmended(stores).await,
        ..Audit::default()
    };
    let kinds: Vec<&str> = KINDS.into_iter().map(definition_of).collect();
    let edges: BTreeSet<Relationship> =
        edges.into_iter().filter(|edge| kinds.contains(&&*edge.resource.kind)).collect();
    audit.edges = edges.len();

    let mut expected = BTreeSet::new();
    for kind in KINDS {
        audit.unowned.extend(unowned(stores, kind).await);
        for ownership in owned(stores, kind).await {
            if is_live(stores, &ownership.resource).await {
                audit.rows += 1;
                expected.extend(edges_of(&ownership));
                if !is_readable(authorizer, &ownership).await {
                    audit.unreadable.push(ownership.resource);
                }
            } else {
                audit.stale.push(ownership.resource);
            }
        }
    }
    audit.orphans = edges.difference(&expected).cloned().collect();
    audit.missing = expected.difference(&edges).cloned().collect();
    audit
}

/// Live run schedules that the embedded scheduler does not know, or whose agent is gone: what a crash leaves to the next start.
///
/// # Panics
/// When the store fails.
pub async fn unmended(stores: &Stores) -> Vec<ResourceRef> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = stores.run_schedules.page(after, PAGE).await.unwrap();
        after = page.last().map(|last| last.id.clone());
        for RunSchedule { id, agent_id, .. } in &page {
            let agent = stores.agents.find(agent_id).await.unwrap();
            let clock = stores.timers.find(&format!("agent-run-schedule:{id}")).await.unwrap();
            if clock.is_none() || agent.is_none_or(|agent| agent.is_deleted()) {
                found.push(RunSchedule::resource(agent_id, id));
            }
        }
        if page.len() < PAGE as usize {
            return found;
        }
    }
}

async fn owned(stores: &Stores, kind: ResourceKind) -> Vec<Ownership> {
    let mut all: Vec<Ownership> = Vec::new();
    loop {
        let after = all.last().map(|last| last.resource.selector.clone());
        let page = stores.owners.page(kind, after, PAGE).await.unwrap();
        let last = page.len() < PAGE as usize;
        all.extend(page);
        if last {
            return all;
        }
    }
}

async fn unowned(stores: &Stores, kind: ResourceKind) -> Vec<ResourceRef> {
    let mut all: Vec<ResourceRef> = Vec::new();
    loop {
        let after = all.last().map(|last| last.selector.clone());
        let page = stores.owners.unowned(kind, after, PAGE).await.unwrap();
        let last = page.len() < PAGE as usize;
        all.extend(page.into_iter().map(|selector| ResourceRef { kind, selector }));
        if last {
            return all;
        }
    }
}

async fn is_live(stores: &Stores, resource: &ResourceRef) -> bool {
    let id = resource.selector.as_str();
    match resource.kind {
        ResourceKind::Agent => stores.agents.find(&id.into()).await.unwrap().is_some_and(|agent| !agent.is_deleted()),
        ResourceKind::Task => {
            stores.tasks.find(&id.into()).await.unwrap().is_some_and(|task| task.status != TaskStatus::Deleted)
        }
        ResourceKind::ApiKey => stores.api_keys.find(&id.into()).await.unwrap().is_some(),
        // Of workflow schedules no store knows.
        ResourceKind::Schedule => match id.strip_prefix("run-schedule::").and_then(|rest| rest.rsplit_once("::")) {
            Some((_, row)) => {
                let found = stores.run_schedules.find(&row.into()).await.unwrap();
                found.is_some_and(|schedule| schedule.deleted_at.is_none())
            }
            None => false,
        },
    }
}

fn edges_of(ownership: &Ownership) -> Vec<Relationship> {
    let resource = object(&ownership.resource);
    let edge = |relation: &str, subject: Object| Relationship {
        resource: resource.clone(),
        relation: relation.into(),
        subject: Subject::object(subject),
        acting_in: None,
    };
    let owner = subject_of(&ownership.owner).expect("an owner is a user or a service account");
    let account = account_of(&ownership.owner).expect("an owner acts in an account");
    let mut edges = vec![edge("owner", owner), edge("tenant", Object::new("account", account))];
    // Agents have no parent; everything else has one, whether or not it was recorded.
    if ownership.resource.kind != ResourceKind::Agent {
        let parent = ownership.parent.as_ref().expect("tasks, keys and schedules have a parent");
        edges.push(edge("parent_agent", object(parent)));
    }
    edges
}

fn object(resource: &ResourceRef) -> Object {
    Object::new(definition_of(resource.kind), &resource.selector)
}

async fn is_readable(authorizer: &dyn Authorizer, ownership: &Ownership) -> bool {
    let check = Check { operation: Operation::Read, resource: ownership.resource.clone() };
    authorizer.check_many(&ownership.owner, &[check]).await.unwrap() == [Decision::Allow]
}
