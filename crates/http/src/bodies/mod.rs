//! What goes over the wire: one module per resource. Answers are built from entities and never are entities; requests are
//! read by hand so that every problem is reported at once.

pub(crate) mod access;
pub(crate) mod agents;
pub(crate) mod api_keys;
pub(crate) mod checkpoints;
pub(crate) mod content;
pub(crate) mod deployments;
pub(crate) mod errors;
pub(crate) mod linear;
pub(crate) mod messages;
pub(crate) mod retention;
pub(crate) mod rpc;
pub(crate) mod schedule_requests;
pub(crate) mod schedules;
pub(crate) mod slack;
pub(crate) mod spans;
pub(crate) mod states;
pub(crate) mod tasks;
pub(crate) mod trackers;
pub(crate) mod updates;

use serde::Serialize;
use utoipa::ToSchema;

/// What was deleted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeleteResponse)]
pub(crate) struct DeleteResponse {
    /// The id of what was deleted, however it was addressed.
    pub(crate) id: String,
    /// For people.
    pub(crate) message: String,
}

/// Describes a set of words in the API document. The values themselves are the domain's.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $wire:literal, $description:literal, $words:expr) => {
        $(#[$doc])*
        pub(crate) enum $name {}

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some($description))
                    .enum_values(Some($words))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed($wire)
            }
        }
    };
}

/// Describes a choice between types in the API document: `OneOfBuilder` where no value fits two of them, else
/// `AnyOfBuilder`.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident, $builder:ident, $description:literal, [$($choice:ty),+ $(,)?]) => {
        $(#[$doc])*
        pub(crate) enum $name {}

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::schema::$builder::new()
                    .description(Some($description))
                    $(.item(utoipa::openapi::Ref::from_schema_name(<$choice as utoipa::ToSchema>::name())))+
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed(stringify!($name))
            }

            fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
                $(
                    schemas.push((
                        <$choice as utoipa::ToSchema>::name().into_owned(),
                        <$choice as utoipa::PartialSchema>::schema(),
                    ));
                    <$choice as utoipa::ToSchema>::schemas(schemas);
                )+
            }
        }
    };
}
pub(crate) use {choice, words};
