use crate::Selectors;

/// The answer to one check. An unknown answer is an error of the port, never a decision.
#[must_use = "a decision that nobody looks at protects nothing"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The principal may perform the operation.
    Allow,
    /// The principal may not.
    Deny,
}

impl Decision {
    /// Whether this is [`Decision::Allow`].
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::Allow)
    }
}

/// Which resources of a kind a principal may perform an operation on.
#[must_use = "a list that ignores its scope shows hidden resources"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every resource; no filter applies.
    All,
    /// Exactly these selectors. Empty means none, which is answered without a query.
    Only(Selectors),
}

impl Scope {
    /// Whether nothing is visible, so that a list can be answered without asking the store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Only(ids) if ids.is_empty())
    }

    /// Whether `selector` is inside the scope.
    #[must_use]
    pub fn contains(&self, selector: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(selector),
        }
    }
}
