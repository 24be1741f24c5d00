//! How the port's words map onto the schema's.

use super::graph::{Object, Relationship, Subject};
use crate::{Operation, Principal, ResourceKind};

/// Longest id that is accepted, in bytes.
const MAX_ID_BYTES: usize = 1024;

/// The schema's name for a kind of resource.
#[must_use]
pub const fn definition_of(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Agent => "agent",
        ResourceKind::Task => "task",
        ResourceKind::ApiKey => "agent_api_key",
        ResourceKind::Schedule => "agent_schedule",
    }
}

/// The permission on the account that lets somebody create a resource of `kind`; `None` for kinds whose creation is a
/// matter of their agent.
#[must_use]
pub const fn creation_permission(kind: ResourceKind) -> Option<&'static str> {
    match kind {
        ResourceKind::Agent => Some("create_agent"),
        ResourceKind::Task => Some("create_task"),
        ResourceKind::ApiKey | ResourceKind::Schedule => None,
    }
}

/// The role that an explicit grant of `operation` on a resource of `kind` stands for.
#[must_use]
pub const fn role_granted_by(operation: Operation, kind: ResourceKind) -> Option<&'static str> {
    match (operation, kind) {
        (Operation::Read, _) => Some("viewer"),
        (Operation::Update, _) | (Operation::Execute, ResourceKind::Agent) => Some("editor"),
        (Operation::Create | Operation::Delete | Operation::Cancel, _) => Some("owner"),
        (Operation::Execute, ResourceKind::Task) => Some("owner"),
        (Operation::Execute, ResourceKind::ApiKey | ResourceKind::Schedule) => None,
    }
}

/// Who a principal is in the graph: its user or its service account, not both and not neither.
#[must_use]
pub fn subject_of(principal: &Principal) -> Option<Object> {
    let (kind, id) = match (principal.user_id(), principal.service_account_id()) {
        (Some(user), None) => ("user", user),
        (None, Some(account)) => ("service_account", account),
        _ => return None,
    };
    is_id(id).then(|| Object::new(kind, id))
}

/// The account a principal acts in, when it names one that can be one.
#[must_use]
pub fn account_of(principal: &Principal) -> Option<&str> {
    principal.account_id().filter(|id| is_id(id))
}

/// Whether `text` can name one object: not empty, not the wildcard, at most 1024 bytes, no control characters.
#[must_use]
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text != "*" && text.len() <= MAX_ID_BYTES && !text.chars().any(char::is_control)
}

/// The relationships that make an account admit whoever acts in it.
#[must_use]
pub fn admission_to(account: &str) -> [Relationship; 2] {
    ["user", "service_account"].map(|kind| Relationship {
        resource: Object::new("account", account),
        relation: "member".into(),
        subject: Subject::object(Object::new(kind, "*")),
        acting_in: Some(account.into()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_subject_is_a_user_or_a_service_account_but_not_both() {
        let subject = |value| subject_of(&Principal::from_json(value)).map(|object| object.to_string());

        assert_eq!(subject(json!({"user_id": "u"})), Some("user:u".into()));
        assert_eq!(subject(json!({"service_account_id": "s"})), Some("service_account:s".into()));
        assert_eq!(subject(json!({"user_id": "u", "service_account_id": ""})), Some("user:u".into()));
        for nobody in
            [json!({"user_id": "u", "service_account_id": "s"}), json!({}), json!({"user_id": 1}), json!(null)]
        {
            assert_eq!(subject(nobody.clone()), None, "{nobody}");
        }
    }

    /// As an owner, `user:*` would be everybody.
    #[test]
    fn the_wildcard_and_other_odd_texts_name_nobody() {
        for odd in ["*", "", "a\nb", "a\0", &"x".repeat(1025)] {
            let principal = Principal::from_json(json!({"user_id": odd, "account_id": odd}));
            assert_eq!(subject_of(&principal), None, "{odd:?}");
            assert_eq!(account_of(&principal), None, "{odd:?}");
        }
        assert!(is_id("run-schedule::a::b") && is_id("grüße") && is_id("**"));
    }
}
