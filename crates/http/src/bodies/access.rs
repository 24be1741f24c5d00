use agentex_authz::model::Explanation;
use serde::Serialize;
use utoipa::ToSchema;

/// A decision and how it comes about.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccessExplanation)]
pub(crate) struct AccessBody {
    /// `allow` or `deny`.
    decision: &'static str,
    /// What was decided.
    statement: String,
    /// What the decision rests on.
    because: Vec<ReasonBody>,
}

/// A statement and what it rests on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccessReason)]
pub(crate) struct ReasonBody {
    /// What is said.
    statement: String,
    /// Whether it is true.
    holds: bool,
    /// What it rests on.
    #[schema(no_recursion)]
    because: Vec<ReasonBody>,
}

impl From<Option<Explanation>> for AccessBody {
    fn from(explanation: Option<Explanation>) -> Self {
        let Some(Explanation { statement, holds, because }) = explanation else {
            let statement = "authorization is off: everything is allowed".to_owned();
            return Self { decision: "allow", statement, because: Vec::new() };
        };
        let decision = if holds { "allow" } else { "deny" };
        Self { decision, statement, because: because.into_iter().map(ReasonBody::from).collect() }
    }
}

impl From<Explanation> for ReasonBody {
    fn from(explanation: Explanation) -> Self {
        let Explanation { statement, holds, because } = explanation;
        Self { statement, holds, because: because.into_iter().map(Self::from).collect() }
    }
}
