use std::fmt;

use serde_json::{Map, Value};

/// Who is calling, as the authentication side stated it: an opaque JSON object that is handed back to the permission
/// service unchanged.
///
/// It may carry credentials, so it is never logged or stored whole and `Debug` shows which members exist, not what they
/// hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Principal(Value);

impl Principal {
    /// Wraps the object an authentication provider returned.
    #[must_use]
    pub const fn from_json(value: Value) -> Self {
        Self(value)
    }

    /// Nobody in particular. Backends other than [`crate::AllowAll`] deny it everything.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self(Value::Null)
    }

    /// The object as it goes to a permission service.
    #[must_use]
    pub const fn as_json(&self) -> &Value {
        &self.0
    }

    /// The user behind the principal, when it names one.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.member("user_id")
    }

    /// The service account behind the principal, when it names one.
    #[must_use]
    pub fn service_account_id(&self) -> Option<&str> {
        self.member("service_account_id")
    }

    /// The account (tenant) the principal acts in.
    #[must_use]
    pub fn account_id(&self) -> Option<&str> {
        self.member("account_id")
    }

    /// Who this is and nothing else: `principal_type`, `user_id`, `service_account_id` and `account_id`, those that are not
    /// null. It holds no credential, so it may be stored; permission services that need one refuse it.
    #[must_use]
    pub fn identity(&self) -> Self {
        let mut identity = Map::new();
        for name in ["principal_type", "user_id", "service_account_id", "account_id"] {
            if let Some(value) = self.0.get(name).filter(|value| !value.is_null()) {
                identity.insert(name.to_owned(), value.clone());
            }
        }
        Self(Value::Object(identity))
    }

    /// Whether a user or service account can be recorded as the owner of what this principal creates.
    #[must_use]
    pub fn is_resolvable_creator(&self) -> bool {
        self.user_id().is_some() || self.service_account_id().is_some()
    }

    fn member(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("user", &self.user_id().is_some())
            .field("service_account", &self.service_account_id().is_some())
            .field("account", &self.account_id().is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_creator_needs_a_non_empty_user_or_service_account() {
        let resolvable = |value| Principal::from_json(value).is_resolvable_creator();

        assert!(resolvable(json!({"user_id": "u"})));
        assert!(resolvable(json!({"service_account_id": "s"})));
        assert!(!resolvable(json!({"user_id": ""})));
        assert!(!resolvable(json!({"user_id": 5})));
        assert!(!resolvable(json!({"account_id": "a"})));
        assert!(!resolvable(json!("user_id")));
        assert!(!Principal::anonymous().is_resolvable_creator());
    }

    /// authz §7: 176
    #[test]
    fn an_identity_has_the_four_members_and_no_credential() {
        let principal = Principal::from_json(json!({
            "user_id": "alice", "service_account_id": null, "account_id": "acme", "principal_type": "user",
            "api_key": "s3cret", "headers": {"cookie": "c"}, "metadata": {"a": 1}
        }));

        assert_eq!(
            *principal.identity().as_json(),
            json!({"user_id": "alice", "account_id": "acme", "principal_type": "user"})
        );
        assert_eq!(*Principal::anonymous().identity().as_json(), json!({}));
    }

    #[test]
    fn debug_output_holds_no_values() {
        let principal = Principal::from_json(json!({"user_id": "alice", "api_key": "s3cret"}));

        let shown = format!("{principal:?}");

        assert!(!shown.contains("s3cret") && !shown.contains("alice"), "{shown}");
    }
}
