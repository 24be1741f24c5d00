use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $make:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A new, never used id.
            #[must_use]
            pub fn generate() -> Self {
                Self($make)
            }

            /// The id as callers and stores see it. Ids are opaque text; nothing may be read out of them.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The id as owned text.
            #[must_use]
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

#[expect(clippy::disallowed_methods, reason = "the typed-id constructors are where ids are made")]
pub(crate) fn uuid_v4() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[expect(clippy::disallowed_methods, reason = "the typed-id constructors are where ids are made")]
fn uuid_v7() -> String {
    uuid::Uuid::now_v7().to_string()
}

typed_id!(
    /// Names one agent.
    AgentId,
    uuid_v4()
);
typed_id!(
    /// Names one task.
    TaskId,
    uuid_v4()
);
typed_id!(
    /// Names one message. New ones are time-ordered; imported ones keep whatever id they had.
    MessageId,
    uuid_v7()
);
typed_id!(
    /// Names one state of a task. New ones are time-ordered; imported ones keep whatever id they had.
    StateId,
    uuid_v7()
);
typed_id!(
    /// Names one event.
    EventId,
    uuid_v4()
);
typed_id!(
    /// Names one span. Whoever reports it may bring one.
    SpanId,
    uuid_v4()
);
typed_id!(
    /// Names the row of one agent API key (not the key itself).
    ApiKeyId,
    uuid_v4()
);
typed_id!(
    /// Names one deployment of an agent. Registering agents bring their own.
    DeploymentId,
    uuid_v4()
);
typed_id!(
    /// Names one entry of the history of deployments. New ones are time-ordered; imported ones keep whatever id they had.
    DeploymentHistoryId,
    uuid_v7()
);
typed_id!(
    /// Names one unfinished change of the authorization graph.
    IntentId,
    uuid_v7()
);
typed_id!(
    /// Names the record of how far an agent has processed a task's events.
    TrackerId,
    uuid_v4()
);
typed_id!(
    /// Names one thing that was said in a chat and is not carried out yet.
    GatewayEventId,
    uuid_v7()
);
typed_id!(
    /// Names one run schedule.
    RunScheduleId,
    uuid_v4()
);
