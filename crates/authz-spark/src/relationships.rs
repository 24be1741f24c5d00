//! Our words in those of the schema, and those as messages.

use agentex_authz::model::{
    Schema, account_of, creation_permission, definition_of, is_id, role_granted_by, subject_of,
};
use agentex_authz::{AuthzError, Check, Operation, Principal, ResourceRef};
use prost_types::{Struct, Value, value::Kind};
use spicedb_grpc_tonic::v1::{
    ContextualizedCaveat, ObjectReference, Precondition, Relationship, RelationshipFilter, RelationshipUpdate,
    SubjectFilter, SubjectReference, precondition, relationship_update, subject_filter::RelationFilter,
};

use crate::failure::protocol;
use crate::ids;

/// Who asks, and in which account.
pub(crate) struct Caller<'a> {
    pub(crate) subject: SubjectReference,
    pub(crate) account: ObjectReference,
    pub(crate) account_id: &'a str,
}

impl<'a> Caller<'a> {
    /// `None` for a principal that may do nothing: one that is not exactly one user or service account, or that acts in
    /// no account.
    pub(crate) fn of(principal: &'a Principal) -> Option<Self> {
        let (subject, account_id) = (subject(principal)?, account_of(principal)?);
        Some(Self { subject, account: object("account", account_id)?, account_id })
    }

    /// The object and the permission that a check is about; `None` for what nobody may do.
    pub(crate) fn question(&self, schema: &Schema, check: &Check) -> Option<(ObjectReference, &'static str)> {
        let Check { operation, resource } = check;
        if resource.selector == "*" {
            let permission = creation_permission(resource.kind).filter(|_| *operation == Operation::Create)?;
            return Some((self.account.clone(), permission));
        }
        let (definition, permission) = (definition_of(resource.kind), operation.as_str());
        let asked = is_id(&resource.selector) && has(schema, definition, permission);
        asked.then(|| Some((object(definition, &resource.selector)?, permission)))?
    }
}

/// Whether the object type has the permission.
pub(crate) fn has(schema: &Schema, definition: &str, permission: &str) -> bool {
    schema.definitions.get(definition).is_some_and(|found| found.permissions.contains_key(permission))
}

/// The user or service account behind the principal; `None` when it names both or neither.
fn subject(principal: &Principal) -> Option<SubjectReference> {
    let subject = subject_of(principal)?;
    Some(whole(object(&subject.kind, &subject.id)?))
}

/// The object `kind:id`; `None` when no such object can be stored.
fn object(kind: &str, id: &str) -> Option<ObjectReference> {
    Some(ObjectReference { object_type: kind.to_owned(), object_id: ids::encode(id)? })
}

/// A single resource, for writes.
pub(crate) fn resource(resource: &ResourceRef) -> Result<ObjectReference, AuthzError> {
    let object = object(definition_of(resource.kind), &resource.selector).filter(|_| is_id(&resource.selector));
    object.ok_or_else(|| protocol("the selector does not name one resource"))
}

/// The relationship that an explicit edge between the two is.
pub(crate) fn role(
    principal: &Principal,
    operation: Operation,
    on: &ResourceRef,
) -> Result<(ObjectReference, &'static str, SubjectReference), AuthzError> {
    let subject = subject(principal).ok_or_else(|| protocol("not exactly one user or service account"))?;
    let role = role_granted_by(operation, on.kind).ok_or_else(|| protocol("no role holds the operation"))?;
    Ok((resource(on)?, role, subject))
}

/// The context of a question asked by somebody who acts in the account.
pub(crate) fn acting_in(account_id: &str) -> Struct {
    context("acting_account", account_id)
}

pub(crate) fn touch(resource: &ObjectReference, relation: &str, subject: SubjectReference) -> RelationshipUpdate {
    update(relationship_update::Operation::Touch, resource, relation, subject, None)
}

pub(crate) fn removal(resource: &ObjectReference, relation: &str, subject: SubjectReference) -> RelationshipUpdate {
    update(relationship_update::Operation::Delete, resource, relation, subject, None)
}

/// Makes everybody who acts in the account a member of it.
pub(crate) fn open_account(account: &ObjectReference, account_id: &str) -> [RelationshipUpdate; 2] {
    ["user", "service_account"].map(|kind| {
        let everybody = ObjectReference { object_type: kind.to_owned(), object_id: "*".to_owned() };
        let caveat =
            ContextualizedCaveat { caveat_name: "acting_in".to_owned(), context: Some(context("account", account_id)) };
        update(relationship_update::Operation::Touch, account, "member", whole(everybody), Some(caveat))
    })
}

/// The account that a membership under the caveat is limited to; `None` for another caveat or one that names none.
pub(crate) fn account_acted_in(caveat: &ContextualizedCaveat) -> Option<&str> {
    let context = caveat.context.as_ref().filter(|_| caveat.caveat_name == "acting_in")?;
    match context.fields.get("account")?.kind.as_ref()? {
        Kind::StringValue(account) => Some(account),
        _ => None,
    }
}

/// The object itself as a subject.
pub(crate) fn whole(object: ObjectReference) -> SubjectReference {
    SubjectReference { object: Some(object), optional_relation: String::new() }
}

/// Everything on all objects of the type.
pub(crate) fn of_type(definition: &str) -> RelationshipFilter {
    RelationshipFilter { resource_type: definition.to_owned(), ..Default::default() }
}

/// Everything on the object.
pub(crate) fn everything(object: &ObjectReference) -> RelationshipFilter {
    RelationshipFilter { optional_resource_id: object.object_id.clone(), ..of_type(&object.object_type) }
}

/// Everything on the object under this relation.
pub(crate) fn any(object: &ObjectReference, relation: &str) -> RelationshipFilter {
    RelationshipFilter { optional_relation: relation.to_owned(), ..everything(object) }
}

/// The one relationship between the two.
pub(crate) fn exactly(object: &ObjectReference, relation: &str, subject: &SubjectReference) -> RelationshipFilter {
    let of = subject.object.clone().unwrap_or_default();
    let filter = SubjectFilter {
        subject_type: of.object_type,
        optional_subject_id: of.object_id,
        optional_relation: Some(RelationFilter { relation: subject.optional_relation.clone() }),
    };
    RelationshipFilter { optional_subject_filter: Some(filter), ..any(object, relation) }
}

pub(crate) fn must_not_exist(filter: RelationshipFilter) -> Precondition {
    Precondition { operation: precondition::Operation::MustNotMatch.into(), filter: Some(filter) }
}

pub(crate) fn must_exist(filter: RelationshipFilter) -> Precondition {
    Precondition { operation: precondition::Operation::MustMatch.into(), filter: Some(filter) }
}

fn update(
    operation: relationship_update::Operation,
    resource: &ObjectReference,
    relation: &str,
    subject: SubjectReference,
    optional_caveat: Option<ContextualizedCaveat>,
) -> RelationshipUpdate {
    let relationship = Relationship {
        resource: Some(resource.clone()),
        relation: relation.to_owned(),
        subject: Some(subject),
        optional_caveat,
        optional_expires_at: None,
    };
    RelationshipUpdate { operation: operation.into(), relationship: Some(relationship) }
}

fn context(name: &str, value: &str) -> Struct {
    let value = Value { kind: Some(Kind::StringValue(value.to_owned())) };
    Struct { fields: [(name.to_owned(), value)].into() }
}
